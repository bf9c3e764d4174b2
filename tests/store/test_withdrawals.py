"""What a replica gives up: it is gone with all that it was found by, and does not come again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from icure_sync.ids import DocId
from icure_sync.replication.wire import Revision
from icure_sync.store import Store, schema
from icure_sync.store.withdrawals import Teller
from tests.replicas import revision

JOHN, JIM = DocId("john"), DocId("jim")
BODY = b'{"type":"Patient","delegations":{"hcp-b":[]},"encryptedSelf":"x"}'
NOTICE = b'{"type":"Patient","notice":true,"delegations":{"hcp-b":[]}}'
MARK = b'"notice":true'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replica.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path, bytes(32))
    yield store
    store.close()


def shared(doc_id: DocId) -> list[Revision]:
    """Two leaves, and a notice beside the one that stands above the others."""
    return [
        revision(doc_id, "1-a", body=BODY),
        revision(doc_id, "2-a", "1-a", body=BODY),
        revision(doc_id, "2-b", "1-a", body=BODY),
        revision(doc_id, "3-c", "2-a", "1-a", body=NOTICE, deleted=True),
    ]


def test_only_what_has_a_notice_beside_a_body_is_told(store: Store):
    store.documents.apply([*shared(JOHN), revision("bare", "1-c", body=NOTICE, deleted=True)])
    store.documents.apply([revision("plain", "1-a", body=BODY), revision("live", "1-a", body=NOTICE)])
    told, through = store.withdrawals.told(0, MARK)
    assert (told, through) == ([JOHN], store.documents.update_seq())
    assert store.withdrawals.told(through, MARK) == ([], through)
    store.withdrawals.withdraw(JOHN)
    assert store.withdrawals.told(0, MARK)[0] == []


def test_nothing_but_tombstones_is_left_and_nothing_finds_it(store: Store):
    store.documents.apply([*shared(JOHN), *shared(JIM)])
    for doc_id in (JOHN, JIM):
        store.search.index(doc_id, "Patient", "keats")
        store.contests.wait(doc_id, 1)
        store.withdrawals.wait(doc_id)
    store.reviews.put(store.documents.update_seq(), [JOHN, JIM])
    store.withdrawals.withdraw(JOHN)
    assert [leaf.body for leaf in store.documents.leaves(JOHN)] == [NOTICE]
    assert store.documents.displaced(JOHN) == ()
    assert store.search.find("keats") == [JIM]
    assert store.reviews.ids() == [JIM]
    assert store.contests.waiting(1) == [JIM]
    assert store.documents.ids_of_type("Patient") == [JIM]
    assert (store.withdrawals.waiting(), store.withdrawals.is_waiting(JOHN)) == ([JIM], False)
    assert (store.withdrawals.has_gone(JOHN), store.withdrawals.has_gone(JIM)) == (True, False)
    assert store.check() == []


def test_what_went_is_missing_only_together_with_something_new(store: Store):
    store.documents.apply([*shared(JOHN), revision("plain", "1-a", body=BODY)])
    store.withdrawals.withdraw(JOHN)
    _, _, other, told = shared(JOHN)
    known = {JOHN: [other.rev, told.rev]}
    assert store.documents.missing(known).keys() == {JOHN}
    assert store.withdrawals.still_missing(store.documents.missing(known)) == {}
    new = revision(JOHN, "4-d", "3-d", "2-a", "1-a").rev
    missing = store.withdrawals.still_missing(store.documents.missing({JOHN: [*known[JOHN], new]}))
    assert missing[JOHN].revs == (other.rev, new)
    elsewhere = {DocId("other"): [other.rev]}
    assert store.withdrawals.still_missing(store.documents.missing(elsewhere)).keys() == elsewhere.keys()
    store.withdrawals.stay(JOHN)
    assert store.withdrawals.still_missing(store.documents.missing(known)).keys() == {JOHN}
    assert not store.withdrawals.has_gone(JOHN)


def test_the_servers_that_told_of_a_document_are_kept_until_it_goes(store: Store):
    store.documents.apply([*shared(JOHN), *shared(JIM)])
    clinic, hub = Teller("c" * 32, "clinic.example/db"), Teller("d" * 32, "")
    store.withdrawals.tell([JOHN, JIM], clinic)
    store.withdrawals.tell([JOHN], hub)
    store.withdrawals.tell([JOHN], hub)
    assert (store.withdrawals.tellers(JOHN), store.withdrawals.tellers(JIM)) == ([clinic, hub], [clinic])
    store.withdrawals.withdraw(JOHN)
    assert (store.withdrawals.tellers(JOHN), store.withdrawals.tellers(JIM)) == ([], [clinic])


def test_a_server_is_known_again_by_its_log_or_by_its_address():
    clinic = Teller("c" * 32, "clinic.example/db")
    assert clinic.is_same(Teller("c" * 32, "clinic.example/moved"))
    assert clinic.is_same(Teller("e" * 32, "clinic.example/db"))
    assert not clinic.is_same(Teller("e" * 32, "stick.example/db"))
    assert not Teller("", "").is_same(Teller("", ""))


def test_a_file_of_an_earlier_schema_has_nothing_withdrawn(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        before = schema.MIGRATIONS[: schema.MIGRATIONS.index(schema._WITHDRAWALS)]
        patch.setattr(schema, "MIGRATIONS", before)
        old = Store.open(path, bytes(32))
        old.documents.apply(shared(JOHN))
        old.close()
    store = Store.open(path, bytes(32))
    assert (store.withdrawals.waiting(), store.withdrawals.tellers(JOHN)) == ([], [])
    store.withdrawals.withdraw(JOHN)
    assert store.withdrawals.has_gone(JOHN)
    store.close()
