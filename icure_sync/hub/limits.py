"""Sizes, timings and costs of the hub, each with its reason. Knows nothing else."""

from __future__ import annotations

from typing import Final

MAX_JSON_BODY: Final = 64 * 2**20  # bytes of one JSON request, unpacked: a batch of eight of the largest documents
MAX_VALUES: Final = 1_000_000  # JSON values in one request: each takes about a hundred bytes of memory at its worst
MAX_DOCUMENT_DEPTH: Final = 256  # levels of a document: devices take 64; our own readers recurse, and must come back
MAX_SMALL_BODY: Final = 64 * 2**10  # bytes of a login: nothing longer is honest
MAX_ATTACHMENT: Final = 2**30  # bytes of one attachment: CouchDB's default max_attachment_size
MAX_DATABASE_NAME: Final = 238  # characters: CouchDB's own limit
MAX_CONTENT_TYPE: Final = 1_000  # characters: what fits a header with room to spare
MAX_HEADER: Final = 16 * 2**10  # bytes of the request line (a long document id) or of one header
MAX_INFO_KEYS: Final = 100  # databases described in one answer: CouchDB's default max_db_number_for_dbs_info_req
MAX_BULK_IDS: Final = 100_000  # ids or revisions named in one request: a bound on the answer's bookkeeping

ANSWER_CHUNK: Final = 256 * 2**10  # bytes gathered before they are sent: one system call each
MIN_PACKED: Final = 4 * 2**10  # bytes of JSON that are worth packing: less fits a few network packets anyway
PACKED_INLINE: Final = 32 * 2**10  # bytes packed without a thread of their own: half a thousandth of a second
PACKING_LEVEL: Final = 1  # of zlib: sealed bodies are base64, of which every level saves the same quarter
PAGE_ROWS: Final = 256  # rows read in one visit to a store's thread: others get their turn in between
QUICK_SELECTOR: Final = 4 * 2**10  # bytes of a selector that is asked for feeds that sleep: some tens of conditions
ARRIVALS: Final = 64  # rows, or leaves of one row, read at once for feeds that sleep, documents and all
VIEW_ROWS: Final = 5_000  # rows of a view read in one visit: ids alone, some hundredths of a second
MAX_OFFSET: Final = 2_000  # rows counted for the offset of a view's answer: beyond that it is not known
PAGE_BYTES: Final = 2**20  # bytes of documents read in one such visit
PAGE_SECONDS: Final = 0.05  # that a query or a filter takes in one such visit: a selector may be long, a tree wide
MAX_QUERIES: Final = 1_000  # listings asked for in one request: all are read before the first is answered
MAX_QUERY: Final = 2**20  # bytes of one query or selector: tens of thousands of ids; it is read in one go
SCAN_WARNING: Final = 10  # documents looked at for each one found, beyond which a query warns: CouchDB's default

MAX_CONNECTIONS: Final = 5_000  # at once: a device has one to three; each takes some tens of kilobytes
RESERVED_FILES: Final = 100  # open files kept for databases and logs
HEADER_SECONDS: Final = 60.0  # for the head of a first request: a bad line takes seconds
IDLE_SECONDS: Final = 300.0  # between two requests: CouchDB's; clients' pools keep connections for a minute or two
BODY_SECONDS: Final = 60.0  # that a body may fall behind MIN_BODY_RATE: pauses of a bad line
MIN_BODY_RATE: Final = 100  # bytes a second of a body: a tenth of the slowest line that is worth serving
GOODBYE_SECONDS: Final = 1.0  # for the refusal of a slow body to arrive, before the connection ends
STALL_SECONDS: Final = 300.0  # without one byte taken of what waits for a client: the system's own buffers hide minutes

FEED_TIMEOUT: Final = 60.0  # seconds a quiet feed waits: CouchDB's default changes_timeout
HEARTBEAT: Final = 60.0  # seconds between blank lines when a client says heartbeat=true: CouchDB's default
MIN_HEARTBEAT: Final = 0.05  # seconds: more blank lines than that are an attack
FEED_LINGER: Final = 2.0  # seconds that open requests get to finish when the hub closes

SESSION_SECONDS: Final = 600  # life of a login cookie: CouchDB's default, renewed while it is used
FAILURES_BEFORE_LOCK: Final = 5  # wrong passwords for one name from one address: CouchDB's default
LOCK_SECONDS: Final = 300.0  # for so long then: CouchDB's default
LOCK_ENTRIES: Final = 10_000  # (name, address) pairs remembered: a bound on what strangers make us keep
KNOWN_LOGINS: Final = 1_000  # verified logins remembered: passwords as keyed hashes; cookies, begun anew when full
PASSWORD_ROUNDS: Final = 600_000  # PBKDF2-HMAC-SHA256: CouchDB 3.5's default and OWASP's figure
MIN_PASSWORD_ROUNDS: Final = 1_000  # a stored hash below this, or above MAX, is not believed
MAX_PASSWORD_ROUNDS: Final = 2_000_000

REVS_LIMIT: Final = 1_000  # generations of history kept: CouchDB's default
HIGHEST_LIMIT: Final = 2**31  # that may be set for these: beyond what there can be, and within what a store counts to
MAX_PURGED_IDS: Final = 100  # documents of one request to purge: CouchDB's default
MAX_PURGED_REVS: Final = 1_000  # their revisions: CouchDB's default
PURGED_INFOS_LIMIT: Final = 1_000  # records of purges that a compaction keeps: CouchDB's default
