"""What this device has written, and the highest heads seen: counted with the write, kept across openings."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from icure_sync.crypto.devices import Count
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import Store, schema
from icure_sync.store.device_heads import HeadRow, ServerRow, Sighting
from icure_sync.store.files import create_database
from tests.store.conftest import KEY
from tests.store.revisions import revision

PHONE = HeadRow("phone", HcpId("hcp-a"), Rev("3-cc"), 7, "d" * 64, bytes(32), 10)


def add(store: Store, *writes: tuple[str, str]) -> None:
    with store.transaction():
        for doc_id, rev in writes:
            store.writes.add(DocId(doc_id), Rev(rev))


def test_every_write_makes_the_chain_longer(store: Store):
    assert store.writes.count() == Count()
    add(store, ("john", "1-aa"), ("john", "2-bb"))
    assert store.writes.count() == Count().then("john", "1-aa").then("john", "2-bb")


def test_a_write_that_is_taken_back_counts_not(store: Store):
    with suppress(RuntimeError), store.transaction():
        store.writes.add(DocId("john"), Rev("1-aa"))
        raise RuntimeError
    assert store.writes.count() == Count()


def test_the_highest_head_of_a_device_takes_the_place_of_the_one_before(store: Store):
    assert store.device_heads.get("phone") is None
    later = HeadRow("phone", HcpId("hcp-a"), Rev("4-dd"), 9, "e" * 64, bytes(32), 20)
    laptop = HeadRow("laptop", HcpId("hcp-b"), Rev("1-aa"), 1, "f" * 64, bytes(32), 30)
    for row in (PHONE, later, laptop):
        store.device_heads.put(row)
    assert store.device_heads.get("phone") == later
    assert store.device_heads.all() == [laptop, later]


def test_what_a_server_had_is_remembered_by_its_name(store: Store):
    heads = store.device_heads
    heads.meet(ServerRow("one", "http://clinic/db", 10))
    heads.meet(ServerRow("two", "", 20))
    heads.meet(ServerRow("one", "http://clinic/db", 30))
    assert heads.servers() == [ServerRow("one", "http://clinic/db", 30), ServerRow("two", "", 20)]
    here, there = Sighting("one", "phone", Rev("3-cc"), 7), Sighting("two", "phone", Rev("4-dd"), 9)
    heads.saw([Sighting("one", "phone", Rev("1-aa"), 1), here, there])
    assert heads.sightings(["one"]) == [here]
    assert heads.sightings(["one", "two"]) == [here, there]
    heads.forget([here])
    assert heads.sightings(["one"]) == []


def test_live_leaves_that_nobody_has_looked_at_are_found_by_their_type(store: Store):
    def document(name: str, rev: str, *, type_: str = "DeviceHead", deleted: bool = False) -> Revision:
        return Revision(DocId(name), (Rev(rev),), b'{"type":"%s"}' % type_.encode(), deleted)

    store.documents.apply(
        [
            document("one", "1-aa"),
            document("one", "1-bb"),
            document("seen", "1-aa"),
            document("gone", "1-aa", deleted=True),
            document("other", "1-aa", type_="Patient"),
            revision("plain", "1a"),
        ]
    )
    store.documents.mark_verified(DocId("seen"), Rev("1-aa"), 1)
    assert store.device_heads.unseen("DeviceHead") == ["one"]
    for rev in ("1-aa", "1-bb"):
        store.documents.mark_verified(DocId("one"), Rev(rev), 2)
    assert store.device_heads.unseen("DeviceHead") == []


def test_an_older_file_has_written_nothing_yet(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[: schema.MIGRATIONS.index(schema._DEVICES)])
        create_database(path, KEY)
    store = Store.open(path, KEY)
    assert (store.writes.count(), store.device_heads.all(), store.device_heads.servers()) == (Count(), [], [])
    add(store, ("john", "1-aa"))
    assert store.writes.count().counter == 1
    assert store.check() == []
    store.close()
