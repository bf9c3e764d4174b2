"""Attachment bytes: in and out in pieces, kept once, found through revisions, dropped when nothing needs them."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.errors import NotFound
from icure_sync.ids import DocId
from icure_sync.replication.wire import Attachment
from icure_sync.store import Blob, Lacking, Store
from icure_sync.store.limits import CHUNK_BYTES, DROPPED_CHUNKS, STAGED_BYTES
from tests.store.revisions import KEY, rev, revision

DOC = DocId("scan")


def stub(blob: Blob, name: str = "scan.pdf", digest: str | None = None) -> dict[str, Attachment]:
    return {name: Attachment(name, "application/pdf", blob.length, digest or blob.digest, 1)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 3 * CHUNK_BYTES), st.data())
def test_bytes_come_back_whole_and_in_ranges(store: Store, edges: list[bytes], size: int, data: st.DataObject):
    pieces = [*edges, bytes(size), b"end"]
    whole = b"".join(pieces)
    blob = store.attachments.put(pieces)
    assert blob.sha256 == hashlib.sha256(whole).digest()
    assert blob.digest == "md5-" + base64.b64encode(hashlib.md5(whole).digest()).decode()
    assert blob.length == len(whole)
    start = data.draw(st.integers(0, len(whole) + 1))
    length = data.draw(st.integers(0, len(whole) + 1))
    assert b"".join(store.attachments.read(blob)) == whole
    assert b"".join(store.attachments.read(blob, start)) == whole[start:]
    assert b"".join(store.attachments.read(blob, start, length)) == whole[start : start + length]
    assert all(len(piece) <= CHUNK_BYTES for piece in store.attachments.read(blob))


def test_an_empty_attachment_is_one(store: Store):
    blob = store.attachments.put([])
    assert (blob.length, list(store.attachments.read(blob))) == (0, [])


def test_the_same_bytes_are_kept_once(store: Store):
    content = bytes(range(256)) * 4_096
    blobs = {store.attachments.put([content[:cut], content[cut:]]) for cut in range(0, len(content), 100_000)}
    assert len(blobs) == 1
    while store.attachments.drop():
        pass
    assert store._database.value("SELECT sum(length(bytes)) FROM chunks") == len(content)
    assert b"".join(store.attachments.read(blobs.pop())) == content


def test_a_large_attachment_streams_in_bounded_memory(store: Store):
    size = 64 * 2**20

    def pieces() -> Iterator[bytes]:
        for number in range(size // 2**16):
            yield number.to_bytes(4, "big") * 2**14

    tracemalloc.start()
    blob = store.attachments.put(pieces())
    digest = hashlib.sha256()
    for piece in store.attachments.read(blob):
        digest.update(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (blob.length, blob.sha256) == (size, digest.digest())
    assert peak < 4 * STAGED_BYTES


def test_other_work_goes_on_between_the_pieces_of_an_upload(store: Store):
    upload = store.attachments.begin()
    upload.write(b"first ")
    store.documents.apply([revision("john", "1a")])
    upload.write(b"second")
    assert b"".join(store.attachments.read(upload.finish())) == b"first second"


def link(store: Store, blob: Blob, digits: str = "a", generation: int = 1) -> None:
    store.attachments.link(DOC, rev(generation, digits), "scan.pdf", blob)


def test_a_revision_has_the_bytes_that_are_linked_to_it(store: Store):
    blob = store.attachments.put([b"scan"])
    store.documents.apply([revision("scan", "1a", files=stub(blob))])
    assert store.attachments.find(DOC, rev(1, "a"), "scan.pdf") is None  # a digest alone opens nobody's bytes
    link(store, blob)
    assert store.attachments.find(DOC, rev(1, "a"), "scan.pdf") == blob
    assert store.attachments.find(DOC, rev(1, "a"), "other.pdf") is None
    found = store.documents.get(DOC)
    assert found is not None
    assert found.attachments == stub(blob)
    assert store.attachments.lacking() == []


def test_bytes_that_come_after_the_revision_are_linked(store: Store):
    content = b"what a server compressed: its digest is of other bytes"
    described = stub(Blob(b"", "md5-of-something-else", len(content)))
    store.documents.apply([revision("scan", "1a", files=described)])
    (lacking,) = store.attachments.lacking()
    assert (lacking.id, lacking.rev, lacking.stub) == (DOC, rev(1, "a"), described["scan.pdf"])
    assert store.attachments.find(DOC, rev(1, "a"), "scan.pdf") is None
    blob = store.attachments.put([content])
    store.attachments.link(DOC, rev(1, "a"), "scan.pdf", blob)
    assert store.attachments.lacking() == []
    assert store.attachments.find(DOC, rev(1, "a"), "scan.pdf") == blob
    store.documents.apply([revision("scan", "2b", "1a", files=described)])  # the next revision shows the same stub
    assert store.attachments.find(DOC, rev(2, "b"), "scan.pdf") == blob


def test_what_is_lacking_comes_in_pages_to_the_end(store: Store):
    names = [f"scan-{number}" for number in range(3)]
    for name in names:
        files = {each: Attachment(each, "image/png", 1, "md5-x", 1) for each in ("back", "front")}
        store.documents.apply([revision(name, "1a", files=files)])
    found: list[Lacking] = []
    while page := store.attachments.lacking(found[-1] if found else None, limit=4):
        found += page
    assert [(each.id, each.stub.name) for each in found] == [
        (name, side) for name in names for side in ("back", "front")
    ]


def test_only_a_described_attachment_can_be_linked_and_only_to_bytes_that_are_here(store: Store):
    blob = store.attachments.put([b"scan"])
    store.documents.apply([revision("scan", "1a", files=stub(blob))])
    with pytest.raises(NotFound):
        store.attachments.link(DOC, rev(1, "a"), "other.pdf", blob)
    with pytest.raises(NotFound):
        store.attachments.link(DOC, rev(1, "a"), "scan.pdf", Blob(b"x" * 32, "md5-x", 4))
    with pytest.raises(NotFound):
        list(store.attachments.read(Blob(b"x" * 32, "md5-x", 4)))


@pytest.mark.parametrize(("length", "revpos"), [(-1, 1), (2**70, 1), (4, 2**70), (4, -1)])
def test_a_stub_with_impossible_numbers_is_refused_and_the_others_are_not(store: Store, length: int, revpos: int):
    bad = {"scan": Attachment("scan", "image/png", length, "md5-x", revpos)}
    (refusal,) = store.documents.apply([revision("scan", "1a", files=bad), revision("john", "1a")])
    assert refusal.id == DOC
    assert store.documents.count() == 1


def collect(store: Store) -> int:
    """Drops everything that nothing needs; returns the number of visits that it took."""
    store.attachments.release()
    return sum(1 for _ in iter(store.attachments.drop, False))


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that no revision names are not waited for."""
    monkeypatch.setattr("icure_sync.store.attachments.FRESH_SECONDS", 0)


@pytest.mark.parametrize("size", [1, STAGED_BYTES + 1])
def test_an_upload_that_is_given_up_leaves_nothing(store: Store, size: int):
    def broken() -> Iterator[bytes]:
        yield bytes(size)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.attachments.put(broken())
    collect(store)
    assert store._database.rows("SELECT * FROM blobs") == store._database.rows("SELECT * FROM chunks") == []


@pytest.mark.usefixtures("no_patience")
def test_a_large_file_is_dropped_in_many_short_visits(store: Store):
    visit = DROPPED_CHUNKS * CHUNK_BYTES
    blob = store.attachments.put(bytes([number]) * 2**20 for number in range(2 * visit // 2**20 + 1))
    assert collect(store) == 3
    with pytest.raises(NotFound):
        list(store.attachments.read(blob))
    assert store._database.rows("SELECT * FROM blobs") == store._database.rows("SELECT * FROM chunks") == []


def test_a_file_that_is_being_dropped_can_come_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    content = [bytes([number]) * 2**20 for number in range(DROPPED_CHUNKS * CHUNK_BYTES // 2**20 + 1)]
    with monkeypatch.context() as patch:
        patch.setattr("icure_sync.store.attachments.FRESH_SECONDS", 0)
        store.attachments.put(content)
        store.attachments.release()
        assert store.attachments.drop()  # a part of it
    again = store.attachments.put(content)
    collect(store)
    assert b"".join(store.attachments.read(again)) == b"".join(content)


@pytest.mark.usefixtures("no_patience")
def test_compaction_drops_bytes_that_no_revision_needs(store: Store):
    old, new = store.attachments.put([b"old"]), store.attachments.put([b"new"])
    store.documents.apply([revision("scan", "1a", files=stub(old))])
    link(store, old)
    store.documents.apply([revision("scan", "2b", "1a", files=stub(new))])
    link(store, new, "b", 2)
    store.compact()
    assert b"".join(store.attachments.read(new)) == b"new"
    with pytest.raises(NotFound):
        list(store.attachments.read(old))
    store.purges.purge({DOC: [rev(2, "b")]})
    store.compact()
    with pytest.raises(NotFound):
        list(store.attachments.read(new))
    assert store.check() == []


def test_compaction_spares_bytes_whose_revision_is_on_the_way(store: Store, monkeypatch: pytest.MonkeyPatch):
    waiting = store.attachments.put([b"waiting"])
    upload = store.attachments.begin()
    upload.write(bytes(STAGED_BYTES))
    for _ in range(3):
        store.compact()
    assert b"".join(store.attachments.read(waiting)) == b"waiting"
    monkeypatch.setattr("icure_sync.store.attachments.FRESH_SECONDS", 0)
    store.compact()
    assert upload.finish().length == STAGED_BYTES
    with pytest.raises(NotFound):
        list(store.attachments.read(waiting))


def test_an_upload_cut_short_is_dropped_after_the_next_opening(store: Store, path: Path):
    kept, other = store.attachments.put([b"kept"]), store.attachments.put([b"nobody's"])
    store.documents.apply([revision("scan", "1a", files=stub(kept))])
    link(store, kept)
    store.attachments.begin().write(bytes(2 * STAGED_BYTES))
    store.close()
    again = Store.open(path, KEY)
    assert b"".join(again.attachments.read(other)) == b"nobody's"
    collect(again)
    assert again._database.rows("SELECT sha256 FROM blobs") == [(kept.sha256,)]
    assert again._database.value("SELECT count(*) FROM chunks") == 1
    again.close()
