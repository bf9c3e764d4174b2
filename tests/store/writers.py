"""A process that writes to a store until it is killed, and says what was acknowledged. Run as a script by test_kill.

It is warmed up once: for each line on its standard input, `<path> <seed>`, it forks a writer and prints
`pid <n>`; the writer prints a line for each write after it has returned, and `gone` follows its end.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store import Store

KEY = bytes(range(32))
PAYLOAD = b'{"type":"Patient","delegations":{"hcp-a":[],"hcp-b":[]},"secretForeignKeys":["s"],"note":"%s"}'


def body(number: int) -> bytes:
    return PAYLOAD % (str(number).encode() * 200)


def content(number: int) -> bytes:
    return random.Random(number).randbytes(40_000)


def hashed(generation: int, number: int) -> Rev:
    return Rev(f"{generation}-{number:032x}")


def write_until_killed(path: Path, seed: int) -> None:
    store = Store.open(path, KEY)
    number = seed * 1_000
    while True:
        number += 1
        turn(store, number)


def turn(store: Store, number: int) -> None:
    """One of each kind of write, each acknowledged once it has returned."""
    doc_id, first, second = DocId(f"doc-{number}"), hashed(1, number), hashed(2, number)
    store.documents.apply([Revision(doc_id, (first,), body(number))])
    say("document", doc_id, first)
    store.documents.write(doc_id, second, body(number), first)
    say("document", doc_id, second)
    batch = [Revision(DocId(f"doc-{number}-{each}"), (second, first), body(number)) for each in range(20)]
    store.documents.apply([*batch, Revision(doc_id, (hashed(2, number + 1), first), body(number))])
    say("batch", doc_id, hashed(2, number + 1))
    with store.transaction():
        store.settings.put("last", number)
        store.search.index(doc_id, "Patient", f"word{number}")
        store.documents.mark_verified(doc_id, second, 1)
        store.documents.prune(doc_id, [first])
    say("setting", doc_id, number)
    blob = store.attachments.put([content(number)])
    files = {"scan": Attachment("scan", "image/png", blob.length, blob.digest, 3)}
    with store.transaction():
        store.documents.write(doc_id, hashed(3, number), body(number), second, attachments=files)
        store.attachments.link(doc_id, hashed(3, number), "scan", blob)
    say("attachment", doc_id, hashed(3, number))
    if number % 5 == 0:
        store.compact()
        say("compacted", doc_id, number)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main() -> None:
    for line in sys.stdin:
        path, seed = line.split()
        child = os.fork()
        if child == 0:
            write_until_killed(Path(path), int(seed))
        say("pid", child)
        os.waitpid(child, 0)
        say("gone")


if __name__ == "__main__":
    main()
