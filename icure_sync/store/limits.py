"""Sizes and limits of the store, each with its reason. Knows nothing else."""

from __future__ import annotations

MAX_ID = 4_096  # characters of a document id: it must fit a request line of CouchDB's HTTP server, escaped
REVS_LIMIT = 1_000  # generations kept per leaf: CouchDB's default `_revs_limit`
MAX_GENERATION_JUMP = 100_000  # beyond what is known of the document: a forged generation would win for ever
MAX_TERM = 256  # characters of an index term: types, secret ids and Hcp ids are shorter; the rest is not looked up

PAGE_BYTES = 8_192  # measured: a fifth less CPU per document than with 4,096, and smaller files
CACHE_KIB = 32_768  # decrypted pages in memory; enough for the inner pages of a million documents
WAL_PAGES = 4_000  # of the write-ahead log, then it goes into the file: index pages are written once for many batches
WAL_BYTES = 64 * 2**20  # the log is cut back to this after a large transaction

CHUNK_BYTES = 256 * 1024  # of an attachment, per row: memory stays small, and so does the number of rows
STAGED_BYTES = 2**20  # of an attachment between two commits: two such blocks are in memory, and others wait for one
DROPPED_CHUNKS = 64  # of attachments that nothing needs, in one visit: others wait for a few hundredths of a second
FRESH_SECONDS = 3_600  # that bytes are kept before a revision names them: the rest of its request may take long
TIDY_SECONDS = 3_600.0  # between two roundings-up of bytes that nothing needs, in a store that stays open for months
ARRIVED_SECONDS = 14 * 86_400  # that a file waits for the others of its revision: a device may be away for so long
ARRIVED_BYTES = 4 * 2**30  # of such files in all: a few of the largest; beyond that the oldest are fetched again

MAX_WORDS = 32  # of one search; the rest of a longer text is ignored

BUILD_ROWS = 256  # documents put into an index that is being built, in one visit: others wait for a tenth of a second
BUILD_BYTES = 2**20  # of their bodies
DROPPED_ROWS = 512  # of an index that is no more, removed along with one write

PRUNED_BODIES = 256  # displaced bodies dropped in one visit of a compaction: some hundredths of a second
PRUNED_BYTES = 8 * 2**20  # of them in one visit, if they are large: their pages are read, since they are chains
STEMMED_TREES = 2_000  # documents whose trees are looked at in one visit
FREED_PAGES = 500  # cut off the file in one visit: 4 MB
SCAN_BYTES = 2**20  # of an index's rows, read in one visit: a field may be as large as a document

TRAIL_SECONDS = 1.0  # that what was read waits to be written to the trail: what a crash can lose of it
GATHERED_ACTS = 10_000  # that wait at most, if the disk takes none: some megabytes
TRAIL_WINDOW = 2_000  # rows of the trail looked through in one visit: some hundredths of a second
