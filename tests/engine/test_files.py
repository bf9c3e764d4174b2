"""Files on their way between devices and servers: many, oddly named, sent once, fetched once, fetched late."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from icure_sync import CouchPeer, Document, Hub
from icure_sync.engine.exchange import Exchange
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.errors import PeerError, Unreachable
from icure_sync.ids import DocId, Rev
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.trouble import ServerFailed
from icure_sync.replication.wire import Attachment, Refusal, Revision
from icure_sync.store import Store
from tests.engine.conftest import OpenReplica
from tests.replicas import digest, rev, revision
from tests.servers import REAL_SERVERS, fresh_database

KEY = bytes(32)
ADMIN = ("admin", "hub-pw-1")
LARGE = bytes(range(256)) * 2_000  # too much to go inline
ODD_NAMES = (
    "a b.pdf",
    " leading",
    "trailing ",
    "..",
    ".",
    "a/b/c",
    "/a",
    "a%2Fb",
    "%",
    "a+b&c=d?e#f;g",
    'quo"te',
    "back\\slash",
    "ünïcødé 🩻.png",
    "日本",
    "x" * 200,
    "tab\there",
    "line\nbreak",
    "~-_.!*'()",
    "a_",
    ":@$,",
)


@asynccontextmanager
async def database(kind: str, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if kind == "hub":
        async with Hub(folder / "hub", admin=ADMIN) as hub:
            server = hub.url.replace("//", "//{}:{}@".format(*ADMIN))
            async with fresh_database(server) as url:
                yield url
    else:
        async with fresh_database(request.getfixturevalue("couchdb_url")) as url:
            yield url


@pytest.fixture(params=("hub", *REAL_SERVERS))
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with database(request.param, tmp_path, request) as each:
        yield each


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "device.db", KEY)
    yield store
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "other.db", KEY)
    yield store
    store.close()


def keyless(store: Store, name: str) -> Exchange:
    return Exchange(store, name, None, lambda: 0)


async def held(store: Store, doc_id: str, revision_id: Rev) -> dict[str, bytes]:
    """The attachments of a revision here, with their bytes."""
    found = await store.run(store.documents.get, DocId(doc_id), revision_id)
    assert found is not None
    peer = LocalPeer(store)
    return {
        name: b"".join([piece async for piece in peer.attachment(found.id, found.rev, name)])
        for name in found.attachments
    }


async def take(store: Store, taken: Revision, files: dict[str, bytes]) -> None:
    source = MemoryPeer()
    source.put(taken, files)
    assert await LocalPeer(store).write([taken], source) == []


@pytest.mark.parametrize("size", [10, 20_000])
async def test_a_document_with_many_oddly_named_files_goes_from_keyless_replica_to_keyless_replica(
    url: str, device: Store, other: Store, size: int
):
    """With small files inline, with larger ones as parts."""
    names = (*ODD_NAMES, *(f"scan-{number}" for number in range(500 - len(ODD_NAMES) if size == 10 else 10)))
    files = {name: hashlib.sha256(name.encode()).digest() * (size // 32 + 1) for name in names}
    await take(device, revision("scans", rev(1, 1), files=files), files)
    assert (await keyless(device, "from").push(CouchPeer(url), None)).refused == ()
    assert (await keyless(other, "to").pull(CouchPeer(url), None)).refused == ()
    assert await held(other, "scans", rev(1, 1)) == files


async def test_a_file_of_a_record_goes_with_it_when_it_is_shared_and_is_sent_once(
    url: str, open_replica: OpenReplica, monkeypatch: pytest.MonkeyPatch
):
    sent: Counter[str] = Counter()
    real = LocalPeer.attachment

    async def counted(self: LocalPeer, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        sent[doc_id] += 1
        async for piece in real(self, doc_id, rev, name):
            yield piece

    monkeypatch.setattr(LocalPeer, "attachment", counted)
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await b.sync(CouchPeer(url))
    await a.sync(CouchPeer(url))
    document = await a.save(Document(name="Scans"))
    small, large = await a.attach(document, "small", b"small"), await a.attach(document, "large", LARGE)
    await a.push(CouchPeer(url))
    await a.share(document, with_="hcp-b", include_linked=True)
    await a.push(CouchPeer(url))
    assert sent == {small.id: 1, large.id: 1}
    await b.pull(CouchPeer(url))
    (theirs,) = [each async for each in b.find(Document)]
    contents = {
        each.name: b"".join([piece async for piece in b.read_attachment(each)])
        async for each in b.attachments_of(theirs)
    }
    assert contents == {"small": b"small", "large": LARGE}


async def test_a_server_that_never_saw_the_first_revision_gets_the_bytes_with_the_second(url: str, device: Store):
    files = {"small": b"small", "large": LARGE}
    first = revision("scan", rev(1, 1), files=files)
    second = Revision(DocId("scan"), (rev(2, 1), rev(1, 1)), b"{}", False, first.attachments)
    await take(device, first, files)
    await take(device, second, files)
    small = revision("note", rev(1, 1), files={"small": b"small"})
    await take(device, small, {"small": b"small"})
    await take(device, Revision(small.id, (rev(2, 1), rev(1, 1)), b"{}", False, small.attachments), {"small": b"small"})
    assert (await keyless(device, "from").push(CouchPeer(url), None)).refused == ()
    async with CouchPeer(url) as peer:
        got = {
            name: b"".join([piece async for piece in peer.attachment(DocId("scan"), rev(2, 1), name)]) for name in files
        }
    assert got == files


async def test_a_device_that_lacks_bytes_fetches_them_before_it_has_to_send_them(url: str, device: Store):
    """A stub is refused (412) by a server that has not the bytes; then the device must have them."""
    files = {"small": b"small", "large": LARGE}
    first = revision("scan", rev(1, 1), files=files)
    second = Revision(DocId("scan"), (rev(2, 1), rev(1, 1)), b"{}", False, first.attachments)
    device.documents.apply([second])
    exchange = keyless(device, "from")
    (refusal,) = (await exchange.push(CouchPeer(url), None)).refused
    assert (refusal.id, refusal.error) == ("scan", "bad_attachment")
    elsewhere = MemoryPeer()
    elsewhere.put(second, files)
    await exchange.pull(elsewhere, None)
    assert await held(device, "scan", rev(2, 1)) == files
    assert (await exchange.push(CouchPeer(url), None)).refused == ()


class Slow(MemoryPeer):
    """Breaks off at one file, and counts what it was asked for."""

    def __init__(self, breaks_at: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.breaks_at = breaks_at

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        self.asked.append(name)
        async for piece in super().attachment(doc_id, rev, name):
            yield piece
            if name == self.breaks_at:
                raise Unreachable("read", "gone", "again")


@pytest.mark.parametrize(
    "error", [ServerFailed("read it", "unknown_error", "badarg"), Unreachable("read", "gone", "again")]
)
async def test_bytes_that_a_source_does_not_give_do_not_keep_anything_else_from_coming(device: Store, error: PeerError):
    class Damaged(MemoryPeer):
        async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
            if doc_id == "bad":
                raise error
            async for piece in super().attachment(doc_id, rev, name):
                yield piece

    source = Damaged()
    for name in ("bad", "good"):
        lacking = revision(name, rev(1, 1), files={"f": b"f"})
        device.documents.apply([lacking])
        source.put(lacking, {"f": b"f"})
    source.put(revision("new", rev(1, 1)))
    assert (await keyless(device, "from").pull(source, None)).documents == 1
    came = device.attachments.find(DocId("good"), rev(1, 1), "f") is not None
    assert came is isinstance(error, ServerFailed)  # a broken line is not tried for each file


async def test_many_files_that_a_source_does_not_have_keep_none_behind_them_from_coming(device: Store):
    absent = [revision(f"scan-{number}", rev(1, 1), files={"f": b"f"}) for number in range(501)]
    here = revision("here", rev(1, 1), files={"f": b"f"})
    device.documents.apply([*absent, here])
    source = MemoryPeer()
    source.put(here, {"f": b"f"})
    await keyless(device, "from").pull(source, None)
    assert device.attachments.find(here.id, here.rev, "f") is not None


async def test_a_source_without_the_revision_is_asked_for_no_bytes(device: Store):
    device.documents.apply([revision("scan", rev(1, 1), files={"f": b"f"})])
    source = Slow("")
    await keyless(device, "from").pull(source, None)
    assert source.asked == []


async def test_after_a_restart_only_the_files_that_did_not_come_are_fetched(tmp_path: Path):
    files = {name: name.encode() * 100_000 for name in ("first", "second", "third")}
    several = revision("scans", rev(1, 1), files=files)
    source = Slow("third")
    source.put(several, files)
    for _ in range(2):
        store = Store.open(tmp_path / "device.db", KEY)
        with pytest.raises(Unreachable):
            await LocalPeer(store).write([several], source)
        await store.tidy()
        store.close()
    assert source.asked == ["first", "second", "third", "third"]
    source.breaks_at = ""
    store = Store.open(tmp_path / "device.db", KEY)
    assert await LocalPeer(store).write([several], source) == []
    assert source.asked[4:] == ["third"]
    assert await held(store, "scans", rev(1, 1)) == files
    assert store._database.rows("SELECT * FROM arrivals") == []
    store.close()


async def test_a_file_that_came_is_checked_again_against_the_revision_that_comes(tmp_path: Path):
    """What came for a revision is worth nothing if the document names other bytes after all."""
    right = b"right" * 10
    stub = Attachment("f", "text/plain", len(right), digest(right), 1)
    other = Attachment("g", "text/plain", 1, digest(b"g"), 1)
    unsaid = Revision(DocId("a"), (rev(1, 1),), b"{}", False, {"f": stub, "g": other})
    said = b'{"files":{"f":{"sha256":"%s"}}}' % hashlib.sha256(right).hexdigest().encode()
    source = Slow("g")
    source.put(unsaid, {"f": b"wrong" * 10, "g": b"g"})
    store = Store.open(tmp_path / "device.db", KEY)
    with pytest.raises(Unreachable):
        await LocalPeer(store).write([unsaid], source)
    honest = Slow("")
    truth = Revision(DocId("a"), (rev(1, 1),), said, False, {"f": stub, "g": other})
    honest.put(truth, {"f": right, "g": b"g"})
    assert await LocalPeer(store).write([truth], honest) == []
    assert honest.asked == ["f", "g"]
    assert await held(store, "a", rev(1, 1)) == {"f": right, "g": b"g"}
    store.close()


async def test_when_one_file_is_not_given_the_others_wait_for_it(tmp_path: Path):
    files = {"first": b"1", "second": b"2"}
    several = revision("scans", rev(1, 1), files=files)
    source = Slow("")
    source.put(several, {"first": b"1"})
    store = Store.open(tmp_path / "device.db", KEY)
    (refusal,) = await LocalPeer(store).write([several], source)
    assert isinstance(refusal, Refusal)
    source.remove(several.id)
    source.put(several, files)
    assert await LocalPeer(store).write([several], source) == []
    assert source.asked.count("first") == 1
    store.close()
