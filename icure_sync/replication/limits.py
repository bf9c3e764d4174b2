"""The sizes, timings and bounds of a replication, each with its reason. Owns numbers, nothing else."""

from __future__ import annotations

# Checkpoints
MAX_SESSIONS = 50  # entries of one replication log: CouchDB's own bound; the document stays under 10 KB
RECENT_SESSIONS = 8  # kept whatever their age: the last few minutes of a busy sync
CHECKPOINT_SECONDS = 5.0  # between two checkpoints of one attempt: what a crash makes to be compared again
LIVE_CHECKPOINT_SECONDS = 30.0  # the same for what trickles in live: little to compare again, and many devices
ECHO_CHECKPOINT_SECONDS = 300.0  # the same where nothing went over: what the other side has only moved the place
TRICKLE = 100  # documents: fewer than that since the last checkpoint are a trickle
LOG_FIGHT_SECONDS = 600.0  # in which the restarts of an attempt are counted: a live one may last for months
MAX_LOG_RESTARTS = 3  # a log that changes under an attempt more often than that is being fought over

# Refused documents
MAX_RECORDED = 10_000  # refusals kept for retry; with more than that the checkpoint waits instead
MAX_REASON = 500  # characters of a server's own words that are kept

# Reading a feed
FIRST_ROWS = 100  # rows of the first page: on a slow link, documents move before the whole feed was read
MOST_ROWS = 2_000  # rows of later ones: about 300 KB of answer, and no more batches cut short at its end
QUIET_SECONDS = 300.0  # a feed that says nothing for so long is asked how far it is: each time costs the server a scan
SEQ_INTERVAL = 100  # rows between two seqs: a server's packed seq costs it more than the row itself
INDEX_LEAST = 1_000  # documents: of fewer, the feed takes less time and fewer requests than an index
OWN_MOST = 100  # documents that a device may have before its first sync by the index: they are asked for, too
INDEX_PAYS = 100_000  # documents: from here on, one device's first feed costs a CouchDB more than its index

# Batches
FIRST_BATCH = 20  # documents: small enough for slow links, large enough to be measured
MAX_BATCH = 1_000  # documents: beyond it a request is not cheaper per document any more
BATCH_BYTES = 2 * 1024 * 1024  # what a batch should weigh: several are in memory at once
BATCH_SECONDS = 2.0  # what a batch should take: a failure costs no more than that to repeat
AUDIT_BATCH = 100  # documents that a head audit asks for at once, whatever they weigh: a larger answer is halved
MAX_GROWTH = 4.0  # from one batch or page to the next, so that one lucky batch does not fill the memory

# The pipeline
PAGES_AHEAD = 2  # pages of a feed read and not yet compared
BATCHES_AHEAD = 1  # batches compared and not yet asked for: more would be sized by what is no longer true
CARRIERS = 4  # batches being fetched or written at once: hides latency, and bounds the bodies in memory

# Live sync
MAX_ECHOES = 10_000  # revisions of which a live push remembers that they have just been pulled: a megabyte or two
STEADY_SECONDS = 10.0  # of waiting for changes after which the end of an attempt is not one more failure in a row
UNASKED = 20  # revisions that a live push sends without asking: what was just written, the other side lacks
HEAD_SECONDS = 300.0  # between two heads of a device in a live sync: each goes to every device of everybody
LINGER_SECONDS = 5.0  # that a live sync gets to finish what is under way when it is told to stop

# Documents
MAX_DOCUMENT = 8_000_000  # bytes: CouchDB's default max_document_size

# Retries
BACKOFF_FIRST = 0.5  # seconds before the first repetition
BACKOFF_MOST = 60.0  # seconds: a network that returns is noticed within a minute
LOCKED_SECONDS = 300.0  # CouchDB locks an account for five minutes after five wrong passwords
ASKED_MOST = 3_600.0  # seconds of `Retry-After` that are kept: a maintenance page's "tomorrow" is a guess
MAX_PATIENCE = 60.0  # seconds of `Retry-After` that an attempt sits out itself; longer ones end it

# Reports
PROGRESS_SECONDS = 0.1  # between two reports of progress: ten a second are smooth, and cheap
