"""Damage, full disks, read-only files: a typed error, nothing acknowledged lost, no clear text on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from icure_sync.ids import DocId, HcpId, Kid, Rev
from icure_sync.replication.wire import Attachment
from icure_sync.store import Pin, Store
from icure_sync.store.limits import PAGE_BYTES
from tests.store.revisions import KEY, revision, snapshot, without_privileges

JOHN = DocId("john")


def fill(store: Store, documents: int = 60) -> list[DocId]:
    """Documents, each acknowledged by itself. Returns their ids in order."""
    for number in range(documents):
        store.documents.apply([revision(f"doc-{number}", "1a", type="Patient", note="x" * 500)])
    return [DocId(f"doc-{number}") for number in range(documents)]


# No clear text


def test_no_clear_text_is_on_the_disk(store: Store, path: Path):
    canary = "canary-in-the-mine"
    blob = store.attachments.put([canary.encode() * 10])
    files = {canary: Attachment(canary, canary, blob.length, blob.digest, 1)}
    store.documents.apply([revision(canary, "1a", type=canary, delegations={canary: []}, files=files, note=canary)])
    store.attachments.link(DocId(canary), Rev("1-" + "a" * 32), canary, blob)
    store.documents.mark_verified(DocId(canary), Rev("1-" + "a" * 32), 1, canary)
    store.search.index(DocId(canary), canary, f"{canary} canaryword")
    store.local.put(canary, {canary: canary})
    store.settings.put(canary, canary)
    store.hcp_keys.put(Kid(canary), HcpId(canary), HcpId(canary), SymmetricKey(canary.encode()))
    store.pins.put(Pin(HcpId(canary), canary.encode(), Rev(canary)))
    assert store.documents.ids(canary) != []
    while_open = on_disk(path.parent)
    store.close()
    for content in (while_open, on_disk(path.parent)):
        assert set(content) >= {path.name}
        for name, held in content.items():
            for word in (b"canary", b"mine", b"CREATE TABLE", b"SQLite format", KEY):
                assert word not in held, name


def on_disk(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# Damage


def test_every_damaged_page_is_noticed(path: Path):
    store = Store.open(path, KEY)
    fill(store)
    store.close()
    sound = path.read_bytes()
    for page in range(len(sound) // PAGE_BYTES):
        damaged = bytearray(sound)
        damaged[page * PAGE_BYTES + 1_000] ^= 0x10
        path.write_bytes(damaged)
        assert problems(path), f"page {page}"


def problems(path: Path) -> list[str]:
    try:
        store = Store.open(path, KEY)
    except StoreCorrupt as error:
        return [error.wrong]
    found = store.check()
    store.close()
    return found


def test_reading_a_damaged_page_is_an_error_and_the_others_can_be_read(path: Path):
    store = Store.open(path, KEY)
    ids = fill(store)
    store.close()
    outcomes = set()
    sound = path.read_bytes()
    for page in range(1, len(sound) // PAGE_BYTES):
        damaged = bytearray(sound)
        damaged[page * PAGE_BYTES + 1_000] ^= 0x10
        path.write_bytes(damaged)
        outcomes.add(readable(path, ids))
    assert max(outcomes) == len(ids)
    assert any(0 < outcome < len(ids) for outcome in outcomes)


def readable(path: Path, ids: list[DocId]) -> int:
    """How many documents can be read, each one right or an error."""
    count = 0
    try:
        store = Store.open(path, KEY)
    except StoreCorrupt:
        return 0
    for doc_id in ids:
        try:
            assert store.documents.get(doc_id) == revision(doc_id, "1a", type="Patient", note="x" * 500)
            count += 1
        except StoreCorrupt:
            pass
    store.close()
    return count


def test_a_page_put_in_the_place_of_another_is_noticed(path: Path):
    store = Store.open(path, KEY)
    fill(store)
    store.close()
    content = bytearray(path.read_bytes())
    content[-PAGE_BYTES:] = content[-2 * PAGE_BYTES : -PAGE_BYTES]
    path.write_bytes(content)
    assert problems(path)


@pytest.mark.parametrize("size", [1, 100, PAGE_BYTES - 1, PAGE_BYTES, 5 * PAGE_BYTES])
def test_a_file_cut_short_is_noticed(path: Path, size: int):
    store = Store.open(path, KEY)
    fill(store)
    store.close()
    os.truncate(path, size)
    assert problems(path)


def test_tables_that_disagree_are_noticed(store: Store):
    fill(store, 3)
    blob = store.attachments.put([b"scan"])
    store.documents.apply([revision("scan", "1a", files={"a": Attachment("a", "b", 4, blob.digest, 1)})])
    store.attachments.link(DocId("scan"), Rev("1-" + "a" * 32), "a", blob)
    run = store._database.run
    broken: list[str] = [
        "UPDATE documents SET head = 77 WHERE id = 'doc-0'",
        "UPDATE documents SET live = 2 WHERE id = 'doc-0'",
        "UPDATE revisions SET leaf = 0 WHERE number = 1",
        "INSERT INTO revisions VALUES (99, 99, '1-a', 1, 0, 0, 0, '', x'7b7d')",
        "INSERT INTO terms VALUES (99, 0, 'Patient')",
        "UPDATE revisions SET files = 1 WHERE number = 1",
        "DELETE FROM blobs",
        "DELETE FROM chunks",
        "UPDATE counters SET live = live + 1",
        "UPDATE counters SET update_seq = 1",
    ]
    assert store.check() == []
    for statement in broken:
        run("SAVEPOINT trial")
        run(statement)
        assert store.check() != [], statement
        run("ROLLBACK TO trial")
        run("RELEASE trial")
    assert store.check() == []


# The write-ahead log


@pytest.fixture
def crashed(path: Path, tmp_path: Path) -> Iterator[Callable[[int], tuple[Path, Path]]]:
    """A store with 40 commits in its log, as crashes leave it: each call gives another copy, database and log."""
    store = Store.open(path, KEY)
    store._database.row("PRAGMA wal_checkpoint(TRUNCATE)")
    fill(store, 40)

    def copy(number: int) -> tuple[Path, Path]:
        copied = snapshot(path, tmp_path / f"crash-{number}")
        return copied, copied.with_name(copied.name + "-wal")

    yield copy
    store.close()


def prefix_length(path: Path) -> int:
    """How many of the commits are there; they must be the first ones, and the file sound."""
    store = Store.open(path, KEY)
    ids = [change.id for change in store.documents.changes()]
    assert ids == [f"doc-{number}" for number in range(len(ids))]
    assert store.check() == []
    store.close()
    return len(ids)


def test_a_crash_loses_no_commit(crashed: Callable[[int], tuple[Path, Path]]):
    assert prefix_length(crashed(0)[0]) == 40


def test_a_log_cut_anywhere_leaves_a_prefix_of_the_commits(crashed: Callable[[int], tuple[Path, Path]]):
    size = crashed(0)[1].stat().st_size
    lengths = []
    for number, cut in enumerate(range(0, size, size // 30), 1):
        database, log = crashed(number)
        os.truncate(log, cut)
        lengths.append(prefix_length(database))
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert len(set(lengths)) > 10


def test_a_log_damaged_or_overgrown_anywhere_leaves_a_prefix_of_the_commits(
    crashed: Callable[[int], tuple[Path, Path]],
):
    size = crashed(0)[1].stat().st_size
    for number, position in enumerate(range(100, size, size // 15), 1):
        database, log = crashed(number)
        content = bytearray(log.read_bytes())
        content[position] ^= 0x01
        log.write_bytes(content + os.urandom(5_000))
        assert prefix_length(database) < 40


# No room


@dataclass(frozen=True)
class Disk:
    """A folder whose room can be taken away and given back."""

    folder: Path
    take: Callable[[Store], None]
    give: Callable[[Store], None]


def mounted(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system where one can be mounted; else SQLite's own limit on pages."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder):
        limit = "PRAGMA max_page_count = {}"
        yield Disk(
            folder,
            lambda store: store._database.rows(limit.format(1)) and None,
            lambda store: store._database.rows(limit.format(2**32 - 2)) and None,
        )
        return
    ballast = folder / "ballast"

    def take(_: Store) -> None:
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4_096)):
                    pass
            except OSError:
                pass

    yield Disk(folder, take, lambda _: ballast.unlink())
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_writes_only_and_room_brings_them_back(disk: Disk):
    path = disk.folder / "replica.db"
    store = Store.open(path, KEY)
    ids = fill(store, 5)
    acknowledged = len(ids)

    def go_on() -> None:
        nonlocal acknowledged
        for number in range(5, 10_000):
            store.documents.apply([revision(f"doc-{number}", "1a", note="x" * 50_000)])
            acknowledged += 1

    disk.take(store)
    with pytest.raises(StoreFull, match="room"):
        go_on()
    for doc_id in ids:
        assert store.documents.get(doc_id) is not None
    with pytest.raises(StoreFull):
        store.attachments.put([bytes(3 * 2**20)])
    disk.give(store)
    store.documents.apply([revision("after", "1a")])
    assert store.documents.count() == acknowledged + 1
    assert store.check() == []
    store.close()
    again = Store.open(path, KEY)
    assert again.documents.count() == acknowledged + 1
    again.close()


def test_a_store_on_a_full_disk_can_be_opened_and_read(disk: Disk):
    path = disk.folder / "replica.db"
    store = Store.open(path, KEY)
    ids = fill(store, 5)
    copied = snapshot(path, disk.folder / "crash")
    disk.take(store)
    store.close()
    for each in (path, copied):
        again = Store.open(each, KEY)
        assert [change.id for change in again.documents.changes()] == ids
        again.close()


_LIMITED = """
import resource, signal, sys
from pathlib import Path
from icure_sync.errors import StoreFull
from icure_sync.store import Store
from icure_sync.replication.wire import Revision
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(Path(sys.argv[1]), bytes(range(32)))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
written = 0
try:
    while True:
        store.documents.apply([Revision(f"doc-{written}", ("1-a",), b'{"note":"' + b"x" * 9000 + b'"}')])
        written += 1
except StoreFull as error:
    assert store.documents.count() == written
    print(written, error.wrong)
"""


def test_a_write_that_the_system_refuses_is_told_and_nothing_is_lost(path: Path):
    run = subprocess.run([sys.executable, "-c", _LIMITED, str(path)], check=True, capture_output=True, text=True)
    written, wrong = run.stdout.split(" ", 1)
    assert int(written) > 0
    assert "disk does not take it" in wrong
    store = Store.open(path, KEY)
    assert store.documents.count() == int(written)
    assert store.check() == []
    store.close()


# Read-only


@pytest.mark.parametrize("log", ["with a log", "without one"])
def test_a_read_only_folder_can_be_read_and_writes_say_why(open_folder: Path, log: str):
    path = open_folder / "replica.db"
    store = Store.open(path, KEY)
    ids = fill(store, 5)
    folder = open_folder / "copy"
    copied = snapshot(path, folder)
    store.close()
    if log == "without one":
        Store.open(copied, KEY).close()
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    with without_privileges():
        reading = Store.open(copied, KEY)
        assert reading.read_only
        assert [change.id for change in reading.documents.changes()] == ids
        assert reading.check() == []
        with pytest.raises(StoreFull, match="read-only"):
            reading.documents.apply([revision("john", "1a")])
        with pytest.raises(StoreFull, match="read-only"):
            reading.settings.put("device", "x")
        assert reading.documents.get(JOHN) is None
        reading.close()
    folder.chmod(0o755)


def test_a_read_only_store_that_another_process_writes_is_refused(open_folder: Path):
    path = open_folder / "replica.db"
    store = Store.open(path, KEY)
    fill(store, 1)
    for file in open_folder.iterdir():
        file.chmod(0o644)
    with without_privileges(), pytest.raises(StoreLocked, match=str(os.getpid())):
        Store.open(path, KEY)
    store.close()


def test_every_error_is_one_line_without_contents(path: Path):
    path.write_bytes(b"canary" * 2_000)
    with pytest.raises(StoreError) as caught:
        Store.open(path, KEY)
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)
    assert KEY.hex() not in str(caught.value)
