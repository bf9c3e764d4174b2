"""SIGKILL at random moments of all kinds of writes: nothing acknowledged is lost, and the file is sound."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from icure_sync.ids import DocId, Rev
from icure_sync.store import Store
from tests.nurseries import Nursery, nursery_of
from tests.store import writers
from tests.store.revisions import KEY

FILES = 8  # each killed KILLS times, so that the checks stay short
KILLS = 25
LONGEST = 0.04  # seconds from the fork to the kill; opening takes a few thousandths of that


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with nursery_of("tests.store.writers") as opened:
        yield opened


def kill_a_writer(nursery: Nursery, path: Path, seed: int, delay: float) -> list[list[str]]:
    """What a writer acknowledged before it was killed."""
    acknowledged: list[list[str]] = []
    killer: threading.Timer | None = None
    for words in nursery.raised(path, seed):
        if words[0] == "pid":
            killer = threading.Timer(delay, os.kill, (int(words[1]), signal.SIGKILL))
            killer.start()
        else:
            acknowledged.append(words)
    assert killer is not None
    killer.join()
    return acknowledged


def assert_kept(store: Store, kind: str, doc_id: DocId, what: str) -> None:
    number = int(doc_id.split("-")[1])
    tree = store.documents.tree(doc_id)
    assert tree is not None
    if kind in ("setting", "compacted"):
        assert store.settings.get("last") >= int(what)
        assert store.search.find(f"word{number}") == [doc_id]
        return
    assert Rev(what) in tree
    leaves = store.documents.leaves(doc_id)
    assert [leaf.rev for leaf in leaves] == [leaf.rev for leaf in tree.leaves()]
    assert all(leaf.body == writers.body(number) for leaf in leaves)
    if kind == "batch":
        assert all(store.documents.get(DocId(f"{doc_id}-{each}")) is not None for each in range(20))
    if kind == "attachment":
        blob = store.attachments.find(doc_id, Rev(what), "scan")
        assert blob is not None
        assert b"".join(store.attachments.read(blob)) == writers.content(number)


@pytest.mark.parametrize("file", range(FILES))
def test_a_killed_process_loses_no_write_that_had_returned(nursery: Nursery, tmp_path: Path, file: int):
    chance = random.Random(file)
    path = tmp_path / "replica.db"
    acknowledged: list[list[str]] = []
    for kill in range(1, KILLS + 1):
        seed = file * KILLS + kill
        acknowledged += kill_a_writer(nursery, path, seed, chance.uniform(0.0, LONGEST))
        if kill < KILLS and chance.random() < 0.5:
            continue  # the next writer recovers by itself
        store = Store.open(path, KEY)
        assert store.check() == []
        for kind, doc_id, what in acknowledged:
            assert_kept(store, kind, DocId(doc_id), what)
        store.close()
    assert acknowledged
