"""The timeouts and sizes of the CouchDB client, each with its reason. Owns numbers, nothing else."""

from __future__ import annotations

CONNECT_SECONDS = 20.0  # to a connection, with name, proxy and TLS: several round trips of 2 s latency fit
SILENCE_SECONDS = 60.0  # without a byte of an answer: no total limit, a slow link may take as long as it needs
FEED_SILENCE_SECONDS = 300.0  # the same for a feed: a server may scan a million documents before the first row passes
SENDING_SECONDS = (
    300.0  # for the other side to take one piece: on a line of 1 KB/s, with what the socket holds before it
)

HEARTBEAT_SECONDS = 20.0  # between two signs of life of a feed: intermediaries drop what is silent for a minute
SHORTEST_HEARTBEAT_SECONDS = 2.0  # where something on the way cuts what is silent for less
CUT_ALIKE = 0.25  # two silences that ended in a cut differ by no more, of the longer: one clock has ended both
CUT_HEARTBEATS = 0.4  # of such a silence, from then on: two signs of life in it, even if one is late
WATCHDOG_HEARTBEATS = 2.5  # heartbeats without a byte: one may be late, two are not
EARLY_ANSWER = 0.5  # of the time that a longpoll was given: an answer without rows before that is the feed's end
FEED_PAUSE_SECONDS = 5.0  # before such an end is told: a server that answers at once is asked no more often

NETWORK_SETTLES = 2.0  # seconds from a change of the network until it can be used: addresses come before routes

CONNECTIONS = 8  # at once to one server: as many requests as one replication has under way; feeds come on top

MAX_ANSWER = 32 * 1024 * 1024  # bytes of one answer held in memory; a request that gets more is made smaller
MAX_REFUSAL = 64 * 1024  # bytes of an answer that says no: more is not an explanation
MAX_WORDS = 300  # characters of the server's own words that go into an error

SESSION_SECONDS = 60.0  # since the last new cookie: a CouchDB that still knows it sends one every minute of use

LISTED_ROWS = 10_000  # rows of one page of an index: about 1 MB of answer

REQUEST_BYTES = 4 * 1024 * 1024  # bytes of documents in one `_bulk_docs`: one lost costs no more than that
GZIP_BYTES = 2 * 1024  # bytes of a text that is compressed on the way: less fits into one or two packets as it is
GZIP_LEVEL = 1  # sealed documents to 0.53 at 54 MB/s; level 6 gives 0.51 at 40
INLINE_BYTES = 256 * 1024  # bytes of attachments of one revision sent inside its JSON; more is streamed
PIECE = 64 * 1024  # bytes of a streamed attachment held at once
BOUNDARY_BYTES = 16  # random bytes of a multipart boundary: no attachment holds it but by a chance of 2^-128
