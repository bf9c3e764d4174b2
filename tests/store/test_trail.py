"""The audit trail: rows that are only added, and what is done to them behind its back is found."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.errors import StoreError
from icure_sync.ids import DocId
from icure_sync.store import Act, Store, Wanted, limits, schema
from icure_sync.store import trail as trail_module
from icure_sync.store.files import create_database
from icure_sync.store.trail import UNRECORDED, Trail, Verified
from tests.store.revisions import KEY, revision, snapshot


def act(number: int, action: str = "opened", subject: str = "john", under: str = "") -> Act:
    return Act(1_000 + number, "hcp-a", "d1", action, subject, "Patient", under, "{}")


def verified(trail: Trail) -> Verified:
    found = Verified()
    while not found.is_done:
        found = trail.verify(found)
    return found


def actions(store: Store, wanted: Wanted | None = None) -> list[str]:
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        rows, after = store.trail.rows(after, wanted or Wanted())
        found += [each.action for _, each in rows]
    return found


def forge(store: Store, statement: str) -> None:
    """As somebody who has the key and knows SQL."""
    with store.transaction():
        for trigger in ("trail_unchanged", "trail_complete"):
            store._database.run(f"DROP TRIGGER IF EXISTS {trigger}")
        store._database.run(statement)


def test_rows_are_numbered_from_one_and_read_in_their_order(store: Store):
    store.trail.append([act(1), act(2, "wrote")])
    store.trail.append([act(3, "deleted")])
    assert store.trail.rows(0, Wanted()) == ([(1, act(1)), (2, act(2, "wrote")), (3, act(3, "deleted"))], None)
    assert verified(store.trail) == Verified(3, store.trail.end()[1], is_done=True)


def test_an_empty_trail_is_whole(store: Store):
    assert verified(store.trail) == Verified(is_done=True)


def test_rows_are_found_by_subject_action_and_time(store: Store):
    store.trail.append([act(1, "opened", "john"), act(2, "wrote", "john"), act(3, "opened", "fanny")])
    assert actions(store, Wanted(subject="john")) == ["opened", "wrote"]
    assert actions(store, Wanted(subject="john", action="wrote")) == ["wrote"]
    assert actions(store, Wanted(since=1_002)) == ["wrote", "opened"]
    assert actions(store, Wanted(since=1_002, until=1_003)) == ["wrote"]
    assert actions(store, Wanted(subject="nobody")) == []
    store.trail.append([act(4, "attached", "cough", "john")])
    assert actions(store, Wanted(subject="john")) == ["opened", "wrote", "attached"]


def test_a_long_trail_is_read_and_verified_in_visits(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trail_module, "TRAIL_WINDOW", 4)
    for count in (3, 1, 4, 1):
        store.trail.append([act(number) for number in range(count)])
    assert len(actions(store)) == 9
    assert store.trail.verify(Verified()).is_done is False
    assert verified(store.trail).rows == 9


@pytest.mark.parametrize("statement", ["UPDATE trail SET action = 'x'", "DELETE FROM trail"])
def test_the_database_neither_changes_nor_removes_a_row(store: Store, statement: str):
    store.trail.append([act(1)])
    with pytest.raises(StoreError, match="only added to"):
        store._database.run(statement)
    assert actions(store) == ["opened"]


def test_rows_cut_off_at_the_end_are_missed(store: Store):
    store.trail.append([act(number) for number in range(5)])
    forge(store, "DELETE FROM trail WHERE number > 3")
    found = verified(store.trail)
    assert (found.rows, found.broken, found.why) == (3, 4, "rows 4 to 5 are missing")


def test_a_trail_that_was_emptied_is_missed(store: Store):
    store.trail.append([act(1)])
    forge(store, "DELETE FROM trail")
    assert (verified(store.trail).broken, verified(store.trail).why) == (1, "row 1 is missing")


def test_rows_put_on_at_the_end_are_noticed(store: Store):
    store.trail.append([act(1)])
    rows, digest = store.trail.end()
    store.trail.append([act(2)])
    forge(store, "UPDATE counters SET trail_rows = 1")
    assert verified(store.trail).why == "row 2 is past the end that is on record"
    assert (rows, len(digest)) == (1, 32)


def test_another_last_row_with_a_digest_that_fits_is_noticed(store: Store):
    store.trail.append([act(1), act(2)])
    recorded = store.trail.end()[1]
    forge(store, "DELETE FROM trail WHERE number = 2")
    forge(store, "UPDATE counters SET trail_rows = 1, trail_digest = (SELECT digest FROM trail)")
    store.trail.append([act(3)])
    assert verified(store.trail).broken is None
    store._database.run("UPDATE counters SET trail_digest = ?", (recorded,))
    assert verified(store.trail).why == "row 2 is not the last one that is on record"


COLUMNS = ("time", "hcp", "device", "action", "subject", "type", "under", "detail", "digest")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(1, 6),
    deed=st.one_of(
        st.tuples(st.just("change"), st.sampled_from(COLUMNS)),
        st.tuples(st.sampled_from(["remove", "swap", "move"]), st.integers(1, 6)),
    ),
)
def test_whatever_is_done_to_one_row_is_found_at_the_first_row_that_it_touches(
    path: Path, number: int, deed: tuple[str, object]
):
    path.unlink(missing_ok=True)
    store = Store.open(path, KEY)
    try:
        store.trail.append([act(each, f"action-{each}") for each in range(1, 7)])
        what, which = deed
        first = number
        if what == "change":
            value = "x'00'" if which == "digest" else "77" if which == "time" else "'forged'"
            forge(store, f"UPDATE trail SET {which} = {value} WHERE number = {number}")
        elif what == "remove":
            forge(store, f"DELETE FROM trail WHERE number = {number}")
        elif what == "move":
            forge(store, f"UPDATE trail SET number = 100 WHERE number = {number}")
        elif which != number:
            for old, new in ((number, 0), (which, number), (0, which)):
                forge(store, f"UPDATE trail SET number = {new} WHERE number = {old}")
            first = min(number, which)
        else:
            return
        found = verified(store.trail)
        assert (found.rows, found.broken) == (first - 1, first)
    finally:
        store.close()


def test_what_was_written_goes_with_its_transaction(store: Store):
    def fail() -> None:
        with store.transaction():
            store.trail.append([act(1)])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert actions(store) == []
    assert verified(store.trail) == Verified(is_done=True)


def test_what_was_gathered_is_written_before_what_the_next_transaction_does(store: Store):
    store.trail.gather(act(1, "opened"))
    assert actions(store) == []
    with store.transaction():
        store.trail.append([act(2, "wrote")])
    assert actions(store) == ["opened", "wrote"]
    assert not store.trail.is_waiting


def test_what_was_gathered_outlives_a_transaction_that_fails(store: Store):
    store.trail.gather(act(1, "opened"))
    with contextlib.suppress(KeyError), store.transaction():
        raise KeyError
    assert store.trail.is_waiting
    with store.transaction():
        with contextlib.suppress(KeyError), store.transaction():
            store.trail.append([act(2, "wrote")])
            raise KeyError
        store.trail.append([act(3, "deleted")])
    assert actions(store) == ["opened", "deleted"]
    assert verified(store.trail).broken is None


def test_what_is_gathered_may_be_replaced_until_it_is_written(store: Store):
    gathered = store.trail.gather(act(1, "opened"))
    gathered.act = act(1, "listed")
    store.trail.flush()
    assert gathered.is_written
    assert actions(store) == ["listed"]


def test_acts_that_had_no_room_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trail_module, "GATHERED_ACTS", 2)
    for number in range(5):
        store.trail.gather(act(number))
    store.trail.flush()
    assert actions(store) == ["opened", "opened", UNRECORDED]
    assert store.trail.rows(2, Wanted())[0][0][1].detail == '{"count":3}'
    store.trail.gather(act(9))
    store.trail.flush()
    assert actions(store)[3:] == ["opened"]


def test_closing_writes_what_was_gathered(path: Path):
    store = Store.open(path, KEY)
    store.trail.gather(act(1))
    store.close()
    again = Store.open(path, KEY)
    assert actions(again) == ["opened"]
    again.close()


async def test_what_was_gathered_is_written_soon_though_nothing_else_happens(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("icure_sync.store.store.TRAIL_SECONDS", 0.0)
    await store.run(store.trail.gather, act(1))
    while store.trail.is_waiting:
        await store.run(store.trail.end)
    assert actions(store) == ["opened"]
    assert limits.TRAIL_SECONDS <= 1.0


def test_a_crash_loses_only_what_was_gathered_last(store: Store, path: Path, tmp_path: Path):
    store.trail.gather(act(1, "opened"))
    with store.transaction():
        store.documents.apply([revision("john", "1a")])
        store.trail.append([act(2, "wrote")])
    store.trail.gather(act(3, "opened"))
    left = Store.open(snapshot(path, tmp_path / "crash"), KEY)
    assert actions(left) == ["opened", "wrote"]
    assert verified(left.trail).broken is None
    left.close()


def test_an_older_file_gets_an_empty_trail_and_no_alarms(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[: schema.MIGRATIONS.index(schema._TRAIL)])
        create_database(path, KEY)
    store = Store.open(path, KEY)
    assert verified(store.trail) == Verified(is_done=True)
    assert store.alarms.all() == []
    store.documents.apply([revision("john", "1a")])
    assert store.documents.get(DocId("john")) is not None
    assert store.check() == []
    store.close()


def test_a_page_that_is_put_back_from_an_older_copy_takes_no_row_away_unseen(path: Path, tmp_path: Path):
    store = Store.open(path, KEY)
    with store.transaction():
        store.documents.apply([revision("john", "1a")])
        store.trail.append([act(number) for number in range(60)])
    store.close()
    old = path.read_bytes()
    store = Store.open(path, KEY)
    with store.transaction():
        store.documents.apply([revision("fanny", "1a")])
        store.trail.append([act(number, "wrote") for number in range(5)])
    store.close()
    new = path.read_bytes()
    pages = [start for start in range(0, len(old), limits.PAGE_BYTES) if _page(old, start) != _page(new, start)]
    seen: list[int] = []
    for start in pages:
        copy = tmp_path / f"page-{start}.db"
        copy.write_bytes(new[:start] + _page(old, start) + new[start + limits.PAGE_BYTES :])
        try:
            mixed = Store.open(copy, KEY)
        except StoreError:
            continue
        with contextlib.closing(mixed), contextlib.suppress(StoreError):
            found = verified(mixed.trail)
            assert found.broken is not None or found.rows == 65
            seen.append(found.rows)
    assert len(seen) > 1


def _page(file: bytes, start: int) -> bytes:
    return file[start : start + limits.PAGE_BYTES]
