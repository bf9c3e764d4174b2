"""A replication against a peer that refuses, fails, withholds or changes under it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from icure_sync.engine.attempt import Outcome
from icure_sync.engine.clock import Clock
from icure_sync.engine.echoes import Echoes
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Phase
from icure_sync.engine.sync import replicate
from icure_sync.engine.transfer import Following
from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    IcureSyncError,
    StoreFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from icure_sync.ids import DocId, Rev, Seq
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication import limits
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.replication.refused import Refused
from icure_sync.replication.trouble import BatchRefused, CheckpointConflict, ServerFailed
from icure_sync.replication.wire import Change, Changes, PeerInfo, Refusal, Revision
from icure_sync.store import Store
from icure_sync.testing import FaultyPeer
from tests.replicas import edit, rev, revision, seeded_entropy, still_clock

PULL = Plan("device-1", None, Direction.PULL)
PUSH = Plan("device-1", None, Direction.PUSH)
THREE = ("do this", "it fails", "try that")


async def run(source: Peer, target: Peer, plan: Plan = PUSH, clock: Clock | None = None, seed: int = 1) -> Outcome:
    return await replicate(source, target, plan, clock=clock or still_clock(), entropy=seeded_entropy(seed))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "replica.db", bytes(32))
    yield opened
    opened.close()


def filled(documents: int = 100) -> MemoryPeer:
    peer = MemoryPeer("full", "f")
    for number in range(documents):
        peer.put(revision(f"doc-{number:03}", rev(1, number)))
    return peer


class Picky(MemoryPeer):
    """Refuses some documents: as the function given says, by an error for the whole batch or by refusals."""

    def __init__(self, judge: Callable[[Sequence[Revision]], Sequence[Refusal]]) -> None:
        super().__init__("picky", "p")
        self.judge = judge
        self.writes = 0

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        self.writes += 1
        refusals = self.judge(revisions)
        refused = {refusal.id for refusal in refusals}
        return [*refusals, *await super().write([each for each in revisions if each.id not in refused], source)]


BAD = {"doc-007", "doc-050", "doc-051"}


def by_value(revisions: Sequence[Revision]) -> Sequence[Refusal]:
    return [Refusal(each.id, each.rev, "forbidden", "no secrets") for each in revisions if each.id in BAD]


def without_rev(revisions: Sequence[Revision]) -> Sequence[Refusal]:
    return [Refusal(each.id, None, "TypeError", "x is undefined") for each in revisions if each.id in BAD]


def whole_batch(error: Callable[[], IcureSyncError]) -> Callable[[Sequence[Revision]], Sequence[Refusal]]:
    def judge(revisions: Sequence[Revision]) -> Sequence[Refusal]:
        if BAD & {each.id for each in revisions}:
            raise error()
        return []

    return judge


@pytest.mark.parametrize(
    "judge",
    [
        by_value,
        without_rev,
        whole_batch(lambda: BatchRefused("write", "doc_validation", "bad special member")),
        whole_batch(lambda: ServerFailed("write", "function_clause", "crash")),
        whole_batch(lambda: Unreachable(*THREE)),
    ],
)
async def test_a_bad_document_is_recorded_and_never_blocks_the_others(judge):
    source, target = filled(), Picky(judge)
    outcome = await run(source, target)
    assert {refusal.id for refusal in outcome.refused} == BAD
    assert outcome.documents == 97
    assert {*source.all_leaves()} - {*target.all_leaves()} == BAD
    assert outcome.seq != START
    target.judge = lambda _: []
    healed = await run(source, target)
    assert healed.refused == ()
    assert healed.documents == len(BAD)
    assert source.all_leaves() == target.all_leaves()
    target.writes = 0
    assert (await run(source, target)).documents == 0
    assert target.writes == 0


async def test_what_is_still_refused_is_tried_in_every_sync_and_stays_on_record():
    source, target = filled(), Picky(by_value)
    first = await run(source, target)
    second = await run(source, target)
    assert second.refused == first.refused
    assert target.writes > 1


async def test_a_refused_revision_leaves_the_record_when_a_later_one_of_the_document_was_taken():
    source, target = filled(), Picky(by_value)
    await run(source, target)
    for doc_id in sorted(BAD):
        edit(source, doc_id, 1_000)
    target.judge = lambda revisions: [each for each in by_value(revisions) if each.rev[0] == "1"]
    await run(source, target)
    outcome = await run(source, target)
    assert outcome.refused == ()
    assert source.all_leaves() == target.all_leaves()


async def test_what_one_server_refused_is_still_owed_to_it_after_another_has_taken_it():
    source, picky, willing = filled(), Picky(by_value), MemoryPeer("picky", "p")
    first = await run(source, picky)
    second = await run(source, willing, seed=2)
    assert second.refused == ()
    assert source.all_leaves() == willing.all_leaves()
    assert (await run(source, picky)).refused == first.refused
    picky.judge = lambda _: []
    assert (await run(source, picky)).documents == len(BAD)
    assert source.all_leaves() == picky.all_leaves()


async def test_what_one_source_does_not_give_is_still_on_record_for_it_after_another_was_pulled_from():
    target = MemoryPeer()
    first = await run(withholding(lambda doc_id, _: doc_id == "doc-005"), target, PULL)
    other = await run(MemoryPeer(), target, PULL, seed=2)
    assert other.refused == ()
    assert first.peer != other.peer
    assert await target.read_local(PULL.refused_id(first.peer))


async def test_a_log_that_lost_its_name_counts_for_nothing():
    source, target = filled(), Picky(by_value)
    await run(source, target)
    log = await target.read_local(PUSH.log_id)
    assert log is not None
    await target.write_local(PUSH.log_id, {"history": log["history"]})
    outcome = await run(source, target)
    assert outcome.since == START
    assert {refusal.id for refusal in outcome.refused} == BAD


async def test_a_refusal_goes_when_the_source_purged_the_document():
    source, target = filled(), Picky(by_value)
    await run(source, target)
    source.remove(DocId("doc-007"))
    assert {refusal.id for refusal in (await run(source, target)).refused} == BAD - {"doc-007"}


async def test_a_refusal_goes_when_a_later_revision_was_refused_in_its_stead():
    source, target = filled(), Picky(by_value)
    await run(source, target)
    later = edit(source, "doc-007", 1_000)
    outcome = await run(source, target)
    assert [refusal.rev for refusal in outcome.refused if refusal.id == "doc-007"] == [later]
    assert {refusal.id for refusal in outcome.refused} == BAD


async def test_the_record_is_durable_before_a_checkpoint_covers_it():
    source = FaultyPeer(filled())
    outcome = await run(source, Picky(by_value))
    writes = [call for call in source.calls if call == "write_local"]
    assert len(writes) == 2  # the record, then the log
    assert await source.inner.read_local(PUSH.refused_id(outcome.peer))


async def test_with_too_many_refusals_the_checkpoint_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("icure_sync.replication.refused.MAX_RECORDED", 50)
    source, target = filled(400), Picky(lambda revisions: [Refusal(e.id, e.rev, "forbidden", "") for e in revisions])
    outcome = await run(source, target)
    assert outcome.seq == "50-f" or int(outcome.seq.partition("-")[0]) < 400
    target.judge = lambda _: []
    await run(source, target)
    assert source.all_leaves() == target.all_leaves()


async def test_with_too_many_refusals_a_live_attempt_comes_to_rest_all_the_same(monkeypatch: pytest.MonkeyPatch):
    """What could be brought is here, and is taken in; the rest is tried again by the next attempt."""
    monkeypatch.setattr("icure_sync.replication.refused.MAX_RECORDED", 1)
    source, target = filled(60), Picky(by_value)
    stop, rests, told = asyncio.Event(), [], []

    async def at_rest(seq: Seq, _: Refused) -> None:
        rests.append((seq, len(target.all_leaves())))
        if DocId("later") not in source.all_leaves():
            source.put(revision("later", rev(1, 1)))
        elif DocId("later") in target.all_leaves():
            stop.set()

    following = Following(stop, Echoes(), Echoes(), 0, at_rest)
    async with asyncio.timeout(60):
        await replicate(source, target, PULL, following=following, report=told.append)
    assert list(dict.fromkeys(rests)) == [("60-f", 57), ("61-f", 58)]
    assert Phase.IDLE in {progress.phase for progress in told}
    target.judge = lambda _: []
    await run(source, target, PULL)
    assert source.all_leaves() == target.all_leaves()


async def test_a_document_over_the_limit_is_refused_before_it_is_sent():
    source, target = filled(3), MemoryPeer()
    source.put(revision("large", rev(1, 1), body=b'{"x":"' + b"y" * limits.MAX_DOCUMENT + b'"}'))
    outcome = await run(source, target)
    (refusal,) = outcome.refused
    assert (refusal.id, refusal.error) == ("large", "document_too_large")
    assert outcome.documents == 3


async def test_a_revision_id_that_no_replica_accepts_is_quarantined_and_the_rest_goes_on():
    class Wild(MemoryPeer):
        async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
            page = await super().changes(since, limit=limit, selector=selector)
            wild = Change(DocId("doc-001"), (Rev("99999999999999999999-abc"), rev(1, 1)), Seq("w"))
            rows = [wild if row.id == "doc-001" else row for row in page.rows]
            return Changes(tuple(rows), page.last_seq, page.pending)

    source, target = Wild("wild", "w"), MemoryPeer()
    for number in range(5):
        source.put(revision(f"doc-{number:03}", rev(1, number)))
    outcome = await run(source, target, PULL)
    (refusal,) = outcome.refused
    assert (refusal.id, refusal.rev, refusal.error) == ("doc-001", "99999999999999999999-abc", "quarantined")
    assert source.all_leaves() == target.all_leaves()
    assert (await run(source, target, PULL)).refused == (refusal,)


async def test_a_document_named_twice_on_one_page_is_fetched_by_both_rows():
    class Stuttering(MemoryPeer):
        async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
            page = await super().changes(since, limit=limit, selector=selector)
            rows = [Change(row.id, (leaf,), row.seq) for row in page.rows for leaf in row.leaves]
            return Changes(tuple(rows), page.last_seq, page.pending)

    source, target = Stuttering("stuttering", "s"), MemoryPeer()
    for mark in range(3):
        source.put(revision("a", rev(1, mark)))
    outcome = await run(source, target, PULL)
    assert source.all_leaves() == target.all_leaves()
    assert outcome.seq == (await source.info()).update_seq


async def test_a_row_that_a_page_repeats_is_carried_once():
    source, target = FaultyPeer(filled(30)), FaultyPeer(MemoryPeer())
    source.change("changes", lambda page: Changes((*page.rows, *page.rows), page.last_seq, page.pending))
    outcome = await run(source, target, PULL)
    assert (outcome.documents, outcome.revisions) == (30, 30)
    assert outcome.seq == (await source.info()).update_seq


class Withholding(MemoryPeer):
    """Does not give what it announced: leaves documents out, and slips others in."""

    def __init__(self, lost: Callable[[DocId, int], bool]) -> None:
        super().__init__("withholding", "w")
        self.lost = lost
        self.asked: Counter[DocId] = Counter()

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        self.asked.update(revs.keys())
        asked = {doc_id: named for doc_id, named in revs.items() if not self.lost(doc_id, self.asked[doc_id])}
        return [*await super().fetch(asked), revision("slipped-in", rev(1, 1))]


def withholding(lost: Callable[[DocId, int], bool]) -> Withholding:
    peer = Withholding(lost)
    for number in range(40):
        peer.put(revision(f"doc-{number:03}", rev(1, number)))
    return peer


async def test_a_document_that_did_not_come_is_asked_for_alone():
    source, target = withholding(lambda doc_id, times: doc_id == "doc-005" and times == 1), MemoryPeer()
    outcome = await run(source, target, PULL)
    assert outcome.refused == ()
    assert source.all_leaves() == target.all_leaves()
    assert source.asked["doc-005"] == 2


async def test_a_document_that_never_comes_is_recorded_and_fetched_when_it_is_there_again():
    source, target = withholding(lambda doc_id, _: doc_id == "doc-005"), MemoryPeer()
    outcome = await run(source, target, PULL)
    assert [(refusal.id, refusal.error) for refusal in outcome.refused] == [("doc-005", "not_found")]
    assert DocId("slipped-in") not in target.all_leaves()
    source.lost = lambda *_: False
    assert (await run(source, target, PULL)).refused == ()
    assert source.all_leaves() == target.all_leaves()


async def test_a_document_that_makes_every_answer_unreadable_is_recorded_and_the_others_come():
    class Unreadable(MemoryPeer):
        async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
            if BAD & set(revs):
                raise BatchRefused("read", "nested_too_deeply", "more levels than can be read")
            return await super().fetch(revs)

    source, target = Unreadable(), MemoryPeer()
    for number in range(100):
        source.put(revision(f"doc-{number:03}", rev(1, number)))
    outcome = await run(source, target, PULL)
    assert {(refusal.id, refusal.error) for refusal in outcome.refused} == {(bad, "nested_too_deeply") for bad in BAD}
    assert {*source.all_leaves()} - {*target.all_leaves()} == BAD


def failing(peer: Peer, name: str, error: IcureSyncError, times: int = 10**6) -> FaultyPeer:
    """A peer whose calls of that name fail, the first `times` of them."""
    left = times

    def fail(call: str, _: int) -> None:
        nonlocal left
        if call == name and left > 0:
            left -= 1
            raise error

    return FaultyPeer(peer, fail)


@pytest.mark.parametrize("call", ["changes", "fetch", "changes done", "fetch done"])
async def test_a_connection_that_breaks_now_and_then_is_no_end(call: str):
    source, target = filled(), MemoryPeer()
    await run(failing(source, call, Unreachable(*THREE), times=4), target, PULL)
    assert source.all_leaves() == target.all_leaves()


@pytest.mark.parametrize("call", ["write", "write done", "missing", "commit", "write_local", "write_local done"])
async def test_a_target_that_breaks_now_and_then_is_no_end(call: str):
    source, target = filled(), MemoryPeer()
    await run(source, failing(target, call, TimedOut(*THREE), times=4))
    assert source.all_leaves() == target.all_leaves()
    assert (await run(source, target)).since != START


@pytest.mark.parametrize(
    "error",
    [
        Unauthorized(*THREE),
        Forbidden(*THREE),
        DatabaseMissing(*THREE),
        BadAnswer(*THREE),
        Throttled(*THREE, retry_after=300),
        StoreFull(*THREE),
    ],
)
async def test_what_cannot_mend_itself_ends_the_attempt_with_that_one_error(error: IcureSyncError):
    for call in ("info", "changes", "missing", "write"):
        target = MemoryPeer()
        source = filled()
        wrapped = (
            (failing(source, call, error), target) if call == "changes" else (source, failing(target, call, error))
        )
        with pytest.raises(type(error)) as raised:
            await run(*wrapped)
        assert raised.value is error
        assert raised.value.__cause__ is None
        await run(source, target)
        assert source.all_leaves() == target.all_leaves()


async def test_a_peer_that_is_gone_ends_the_attempt_after_a_bounded_number_of_tries():
    source, target = filled(), MemoryPeer()

    def gone(_: str, number: int) -> None:
        if number > 12:
            raise Unreachable(*THREE)

    away = FaultyPeer(target, gone)
    with pytest.raises(Unreachable):
        await run(source, away)
    assert len(away.calls) < 60


async def test_a_source_that_is_gone_while_its_attachments_are_read_is_no_documents_fault():
    source, target = filled(5), MemoryPeer()
    source.put(revision("a", rev(1, 1), files={"f": b"data"}), {"f": b"data"})
    broken = False

    def fail(call: str, _: int) -> None:
        nonlocal broken
        broken = broken or call == "attachment"
        if broken:
            raise Unreachable(*THREE)

    with pytest.raises(Unreachable):
        await run(FaultyPeer(source, fail), target, PULL)
    assert not [name for name in target._local if "refused" in name]
    await run(source, target, PULL)
    assert source.all_leaves() == target.all_leaves()


async def test_an_attachment_that_fails_several_times_makes_no_other_travel_again(store: Store):
    source, data = MemoryPeer(), bytes(1_000)
    for number in range(10):
        source.put(revision(f"doc-{number}", rev(1, number), files={"f": data}), {"f": data})
    broken = [0]

    def fail(call: str, _: int) -> None:
        if call == "attachment" and watched.calls.count("attachment") in (10, 11, 12):
            broken[0] += 1
            raise Unreachable(*THREE)

    watched = FaultyPeer(source, fail)
    outcome = await run(watched, LocalPeer(store), PULL)
    assert (outcome.documents, outcome.refused) == (10, ())
    assert broken == [3]
    assert watched.calls.count("attachment") == 10 + 3


async def test_attachments_count_in_the_size_of_a_batch():
    asked: list[int] = []

    class Counting(MemoryPeer):
        async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
            asked.append(len(revs))
            return await super().fetch(revs)

    source, data = Counting(), bytes(limits.BATCH_BYTES // 2)
    for number in range(200):
        source.put(revision(f"doc-{number:03}", rev(1, number), files={"f": data}), {"f": data})
    await run(source, MemoryPeer(), PULL)
    assert max(asked[2 * limits.CARRIERS :]) <= 2


async def test_the_first_contact_is_not_repeated():
    away = failing(MemoryPeer(), "info", Unreachable(*THREE))
    with pytest.raises(Unreachable):
        await run(away, MemoryPeer(), PULL)
    assert away.calls.count("info") == 1


async def test_the_pause_that_a_peer_asks_for_is_kept():
    waits: list[float] = []
    clock = still_clock()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    source, target = filled(3), MemoryPeer()
    busy = failing(target, "write", Throttled(*THREE, retry_after=20), times=2)
    await run(source, busy, clock=Clock(clock.now, clock.monotonic, sleep))
    assert len(waits) == 2
    assert all(wait >= 20 for wait in waits)


class Replaced(MemoryPeer):
    """A database that is deleted and made anew under the attempt, empty."""

    def __init__(self, after: int, instance: str) -> None:
        super().__init__("replaced", "1")
        self.after = after
        self.instance = instance
        self.writes = 0

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        refusals = await super().write(revisions, source)
        self.writes += 1
        if self.writes == self.after:
            MemoryPeer.__init__(self, "replaced", self.instance)
        return refusals


def hasty_clock() -> Clock:
    """Every look is a second later, so that a checkpoint is due after each batch."""
    moment = 0.0

    def now() -> float:
        nonlocal moment
        moment += 1.0
        return moment

    return Clock(now, now, still_clock().sleep)


@pytest.mark.parametrize("after", [1, 2, 3, 6])
@pytest.mark.parametrize("clock", [still_clock, hasty_clock])
@pytest.mark.parametrize("instance", ["1", "2"])  # the same: made anew in the same second, or a server that never says
async def test_a_target_made_anew_under_the_attempt_gets_everything_again(
    after: int, clock: Callable[[], Clock], instance: str
):
    source, target = filled(600), Replaced(after, instance)
    await run(source, target, clock=clock())
    assert source.all_leaves() == target.all_leaves()


async def test_a_target_put_back_from_a_backup_under_the_attempt_gets_everything_again():
    source, target = filled(50), MemoryPeer("target", "1")
    await run(source, target)
    log = await target.read_local(PUSH.log_id)
    for number in range(300):
        source.put(revision(f"new-{number}", rev(1, number)))

    class Restored(FaultyPeer):
        async def commit(self) -> None:
            if "commit" not in self.calls:  # an older log and none of the new documents, under the same name
                for doc_id in [doc_id for doc_id in target.all_leaves() if doc_id.startswith("new-")]:
                    target.remove(doc_id)
                await target.write_local(PUSH.log_id, {"history": (log or {})["history"][1:]})
            await super().commit()

    await run(source, Restored(target))
    assert source.all_leaves() == target.all_leaves()


class PutBack(FaultyPeer):
    """Loses some documents just before the first checkpoint; the log there is the one that the attempt knows."""

    def __init__(self, inner: MemoryPeer, lost: Callable[[str], bool]) -> None:
        super().__init__(inner)
        self.memory = inner
        self.lost = lost

    async def commit(self) -> None:
        if "commit" not in self.calls:
            for doc_id in filter(self.lost, list(self.memory.all_leaves())):
                self.memory.remove(doc_id)
        await super().commit()


@pytest.mark.parametrize(
    "lost",
    [lambda doc_id: doc_id.startswith("new-"), lambda doc_id: doc_id >= "new-250", lambda doc_id: doc_id == "new-299"],
    ids=["everything since the last checkpoint", "the last fifty", "the last one"],
)
@pytest.mark.parametrize("there", [range(0), range(300)], ids=["sent by this attempt", "sent by another device"])
async def test_a_target_put_back_from_a_backup_made_after_the_last_checkpoint_gets_everything_again(
    lost: Callable[[str], bool], there: range
):
    source, target = filled(50), MemoryPeer("target", "1")
    await run(source, target)
    for number in range(300):
        source.put(revision(f"new-{number:03}", rev(1, number)))
        if number in there:
            target.put(revision(f"new-{number:03}", rev(1, number)))
    await run(source, PutBack(target, lost))
    assert source.all_leaves() == target.all_leaves()


async def test_a_target_that_drops_documents_which_it_took_gets_all_others():
    dropped = {"doc-007", "doc-099"}

    class Leaking(MemoryPeer):
        async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
            return await super().write([each for each in revisions if each.id not in dropped], source)

    source, target = filled(100), Leaking()
    outcome = await run(source, target)
    assert source.all_leaves().keys() - target.all_leaves().keys() == dropped
    assert outcome.seq == (await source.info()).update_seq


async def test_a_conflict_in_the_log_of_another_server_makes_the_attempt_decide_again():
    source, target = filled(), MemoryPeer()
    await run(source, failing(target, "write_local", CheckpointConflict(*THREE), times=1))
    assert source.all_leaves() == target.all_leaves()
    assert (await run(source, target)).since != START


async def test_a_log_that_never_stays_put_ends_with_an_explanation():
    with pytest.raises(BadAnswer, match="replication log keeps changing"):
        await run(filled(), failing(MemoryPeer(), "write_local", CheckpointConflict(*THREE)))


async def test_checkpoints_are_made_while_a_long_replication_runs():
    source, target = filled(2_000), MemoryPeer()
    watched = FaultyPeer(target)
    await run(source, watched, clock=hasty_clock())
    first = watched.calls.index("write_local")
    assert "write" in watched.calls[first:]
    assert watched.calls.count("write_local") > 2


async def test_a_replication_that_ends_while_a_checkpoint_is_under_way_ends():
    class Lingering(MemoryPeer):
        async def info(self) -> PeerInfo:
            for _ in range(200):  # longer than what is left of the transfer
                await asyncio.sleep(0)
            return await super().info()

    source, target = filled(30), Lingering()
    outcome = await asyncio.wait_for(run(source, target, clock=hasty_clock()), timeout=20)
    assert source.all_leaves() == target.all_leaves()
    assert outcome.seq == (await source.info()).update_seq


async def test_memory_stays_bounded_however_large_the_documents_are():
    """No more bodies are under way than the carriers hold; large ones come in small batches."""
    held = 0
    most = 0
    sizes: list[int] = []

    class Heavy(MemoryPeer):
        async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
            nonlocal held, most
            sizes.append(len(revs))
            held += len(revs)
            most = max(most, held)
            return await super().fetch(revs)

    class Slow(MemoryPeer):
        async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
            nonlocal held
            await asyncio.sleep(0)
            held -= len(revisions)
            return await super().write(revisions, source)

    source = Heavy()
    body = b'{"x":"' + b"y" * 200_000 + b'"}'
    for number in range(600):
        source.put(revision(f"doc-{number}", rev(1, number), body=body))
    await run(source, Slow(), PULL)
    assert most <= limits.CARRIERS * limits.FIRST_BATCH
    assert max(sizes[2 * limits.CARRIERS :]) <= limits.BATCH_BYTES // 200_000 + 1


async def test_a_bug_in_a_peer_is_no_typed_error_and_is_not_hidden():
    class Broken(MemoryPeer):
        async def info(self) -> PeerInfo:
            raise ZeroDivisionError

        async def missing(self, *_: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(filled(), Broken())
