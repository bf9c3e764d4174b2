"""Pairing over a peer: what a person sees goes wrong, and that whatever is interrupted can be run again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from icure_sync.crypto.identity import Identity
from icure_sync.crypto.pairing import Answering, Offering, answer
from icure_sync.crypto.pairing_messages import (
    Again,
    Answer,
    Code,
    Letter,
    Offer,
    PairingId,
    Proof,
    body_of,
    letter_of,
    new_code,
    read_code,
)
from icure_sync.crypto.primitives import system_entropy
from icure_sync.engine.clock import Clock
from icure_sync.engine.pairing import ANSWER_SECONDS, NewDevice
from icure_sync.engine.pairing_document import LEFT_OVER_MS, LIFE_SECONDS, PairingDocument
from icure_sync.engine.replica import Replica
from icure_sync.errors import (
    BadAnswer,
    Forbidden,
    IcureSyncError,
    InvalidEntity,
    NoAccess,
    NotFound,
    Tampered,
    Throttled,
    TimedOut,
    Unreachable,
    WrongCode,
)
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Refusal, Revision
from icure_sync.testing import FaultyPeer
from tests.engine.conftest import OpenReplica

NETWORK = Unreachable("reach the server", "it does not answer", "check the address")


class Killed(BaseException):
    """What a process hears of its own SIGKILL: nothing comes after it."""


class Line(FaultyPeer):
    """One device's line to the server."""

    inner: MemoryPeer

    async def named(self, prefix: str, *, limit: int) -> Sequence[DocId]:
        return await self._through("named", lambda: self.inner.named(prefix, limit=limit))


@dataclass
class Hours:
    """A clock that only sleeping moves."""

    seconds: float = 1_700_000_000.0
    heard: list[str] = field(default_factory=list)

    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, lambda: self.seconds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.seconds += seconds / 2  # two devices sleep at once
        await asyncio.sleep(0.001)  # the other device, and the thread of its store, do something meanwhile


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
async def laptop(open_replica: OpenReplica) -> Replica:
    return await open_replica("hcp-a", "laptop")


async def joined(line: Any, hours: Hours, code: asyncio.Future[str] | None = None, *, keeps: bool = True) -> Identity:
    """A new device, as a command runs it."""
    async with NewDevice.pairing(line, told=hours.heard.append, clock=hours.clock()) as new:
        if code is not None:
            code.set_result(new.code)
        identity = await new.identity()
        if keeps:
            await new.kept()
        return identity


async def approved(replica: Replica, line: Any, hours: Hours, code: str) -> str:
    return await replica.pairings.approve(line, code, told=hours.heard.append, clock=hours.clock())


def begin(line: Any, hours: Hours) -> tuple[asyncio.Task[Identity], asyncio.Future[str]]:
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(joined(line, hours, code))

    task.add_done_callback(lambda _: code.cancel())  # nobody waits for a code that never comes
    return task, code


def wrong(code: str) -> str:
    return code[:-1] + str((int(code[-1]) + 1) % 10)


async def pairings_on(server: MemoryPeer) -> list[DocId]:
    return list(await server.named("pairing-", limit=99))


async def finished_again(replica: Replica, server: MemoryPeer, hours: Hours) -> None:
    """Another run of both, without any fault, comes to its end and leaves nothing behind."""
    hours.seconds += LEFT_OVER_MS / 1000 + 1
    task, code = begin(server, hours)
    fingerprint = await approved(replica, server, hours, await code)
    assert (await task).fingerprint == fingerprint
    assert await pairings_on(server) == []


async def test_the_new_device_gets_the_identity_and_both_see_one_fingerprint(laptop, server, hours, identities):
    task, code = begin(server, hours)
    fingerprint = await approved(laptop, server, hours, await code)
    identity = await task
    assert identity.secret() == identities["hcp-a"].secret()
    assert identity.fingerprint == fingerprint
    assert await pairings_on(server) == []
    assert hours.heard == []
    assert [row.subject async for row in laptop.trail.rows(action="paired")] == ["hcp-a"]


async def test_no_device_replicates_a_pairing(laptop, open_replica, server, hours):
    task, code = begin(server, hours)
    await code
    phone = await open_replica("hcp-b")
    for replica in (laptop, phone):
        await replica.sync(server)
        held = await replica._store.run(replica._store.documents.changes, 0, -1)
        assert not [change.id for change in held if change.id.startswith("pairing")]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await phone.sync(server)
    held = await phone._store.run(phone._store.documents.changes, 0, -1)
    assert not [change.id for change in held if change.id.startswith("pairing")]


async def test_a_mistyped_code_can_be_typed_again(laptop, server, hours):
    task, code = begin(server, hours)
    with pytest.raises(WrongCode, match="2 attempts left") as told:
        await approved(laptop, server, hours, wrong(await code))
    assert told.value.left == 2
    await approved(laptop, server, hours, await code)
    await task
    assert hours.heard == [
        "An attempt came to nothing: a wrong code was typed, or somebody is in between. 2 attempts are left."
    ]


async def test_after_three_wrong_codes_the_pairing_is_void_on_both_sides(laptop, server, hours):
    task, code = begin(server, hours)
    typed = wrong(await code)
    for left in (2, 1, 0):
        with pytest.raises(WrongCode) as told:
            await approved(laptop, server, hours, typed)
        assert told.value.left == left
    assert "begin anew" in str(told.value)
    with pytest.raises(WrongCode, match="3 times"):
        await task
    assert await pairings_on(server) == []
    with pytest.raises(WrongCode, match="tried 3 times"):
        await approved(laptop, server, hours, await code)


async def test_what_is_no_code_or_names_no_pairing_is_said_at_once(laptop, server, hours):
    with pytest.raises(InvalidEntity, match="12 digits"):
        await approved(laptop, server, hours, "1234")
    with pytest.raises(NotFound, match="none waits"):
        await approved(laptop, server, hours, "1234-5678-9012")
    task, code = begin(server, hours)
    number = (await code)[:4]
    other = f"{(int(number) + 1) % 10_000:04d}-0000-0000"
    with pytest.raises(NotFound, match=f"there wait {number}"):
        await approved(laptop, server, hours, other)
    await server.write([Revision(DocId(f"pairing-{number}" + "0" * 16), revs(1), b"{}")], server)
    with pytest.raises(Tampered, match="several pairings"):
        await approved(laptop, server, hours, await code)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_keyless_replica_has_no_identity_to_give(open_replica):
    with pytest.raises(NoAccess):
        await (await open_replica(None)).pairings.approve(MemoryPeer(), "4821-7305-9164", told=print)


async def test_after_ten_minutes_the_code_is_void(server, hours):
    before = hours.seconds
    with pytest.raises(TimedOut, match="ten minutes"):
        await joined(server, hours)
    assert LIFE_SECONDS <= hours.seconds - before <= LIFE_SECONDS + 10
    assert await pairings_on(server) == []


async def test_a_new_device_that_is_gone_is_not_waited_for_long(laptop, server, hours):
    code = await left_over(server, hours)
    before = hours.seconds
    with pytest.raises(TimedOut, match="does not answer; look whether it still shows the code"):
        await approved(laptop, server, hours, str(code))
    assert ANSWER_SECONDS <= hours.seconds - before <= ANSWER_SECONDS + 10


async def test_a_network_that_fails_for_a_while_is_waited_for(laptop, server, hours):
    new_line, old_line = Line(server), Line(server)
    for line in (new_line, old_line):
        for call in ("leaves", "write", "write done"):
            line.fail(call, NETWORK, first=2 if call == "leaves" else 1, times=3)
    task, code = begin(new_line, hours)
    await approved(laptop, old_line, hours, await code)
    await task
    assert await pairings_on(server) == []
    assert set(hours.heard) == {"Waiting: it does not answer."}


async def test_a_server_that_is_not_there_is_an_error_at_once(laptop, server, hours):
    line = Line(server)
    line.fail("info", NETWORK)
    with pytest.raises(Unreachable):
        await joined(line, hours)
    with pytest.raises(Unreachable):
        await approved(laptop, line, hours, "0000-0000-0000")


async def test_a_network_that_does_not_come_back_ends_both(laptop, server, hours):
    line = Line(server)
    line.fail("leaves", NETWORK, first=5)
    with pytest.raises(TimedOut, match="ten minutes"):
        await joined(line, hours)
    code = await left_over(server, hours)
    line = Line(server)
    line.fail("write", NETWORK)
    with pytest.raises(TimedOut, match="does not answer"):
        await approved(laptop, line, hours, str(code))


async def test_a_server_that_takes_no_such_document_is_named(server, hours):
    line = Line(server)
    line.change("write", lambda _: [Refusal(DocId("x"), None, "forbidden", "members only read")])
    with pytest.raises(Forbidden, match="members only read"):
        await joined(line, hours)


async def test_a_pause_that_a_server_asks_for_is_kept(server, hours):
    line = Line(server)
    line.fail("leaves", Throttled("read", "it is busy", "wait", 20.0), first=2, times=3)
    line.fail("leaves", Throttled("read", "it is busy", "wait", 3_600.0), first=5)
    before = hours.seconds
    with pytest.raises(TimedOut):
        await joined(line, hours)
    assert line.calls.count("leaves") < 60
    assert hours.seconds - before < LIFE_SECONDS + 30


async def test_a_server_that_says_all_numbers_are_in_use_is_not_asked_for_ever(server, hours):
    line = Line(server)
    line.change("named", lambda _: ["pairing-" + "1" * 20])
    with pytest.raises(BadAnswer, match="every number"):
        await joined(line, hours)


async def test_a_pairing_that_somebody_removes_is_over(server, hours):
    task, code = begin(server, hours)
    await code
    (pairing,) = await pairings_on(server)
    await PairingDocument(server, PairingId(pairing), 0, system_entropy).remove()
    with pytest.raises(NotFound, match="removed the pairing"):
        await task
    assert await pairings_on(server) == []


async def test_a_new_device_that_gives_up_is_told_of(laptop, server, hours):
    code = await left_over(server, hours)
    (pairing,) = await pairings_on(server)
    document = PairingDocument(server, PairingId(pairing), 0, system_entropy)
    line = Line(server, step=when(Answer, server, document.remove))
    with pytest.raises(NotFound, match="has ended the pairing"):
        await approved(laptop, line, hours, str(code))
    assert await pairings_on(server) == []


async def test_an_identity_without_a_receipt_is_said_to_be_uncertain(laptop, server, hours, identities):
    line = Line(server)
    task, code = begin(line, hours)
    line.fail("write", Killed(), first=3)  # the receipt, and all that follows
    with pytest.raises(TimedOut, match="does not say that it keeps it") as told:
        await approved(laptop, server, hours, await code)
    assert identities["hcp-a"].fingerprint in str(told.value)
    with pytest.raises(Killed):
        await task
    await finished_again(laptop, server, hours)


async def test_a_new_device_that_cannot_give_its_receipt_has_its_home_all_the_same(laptop, server, hours):
    line = Line(server)
    task, code = begin(line, hours)
    line.fail("write", NETWORK, first=3)
    with pytest.raises(TimedOut):
        await approved(laptop, server, hours, await code)
    assert (await task).hcp_id == "hcp-a"
    assert "The other device could not be told" in hours.heard[-1]


async def test_a_new_device_that_ends_without_keeping_the_identity_is_told_of(laptop, server, hours):
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(joined(server, hours, code, keeps=False))
    with pytest.raises(TimedOut, match="ended the pairing without saying"):
        await approved(laptop, server, hours, await code)
    await task


async def test_a_receipt_before_an_identity_is_a_mistake(server, hours):
    async with NewDevice.pairing(server, told=hours.heard.append, clock=hours.clock()) as new:
        with pytest.raises(RuntimeError):
            await new.kept()


@pytest.mark.parametrize("side", ["new", "old"])
async def test_killed_at_every_step_and_run_again(laptop, server, hours, side):
    """Each step of each side: before it, and after it was made but not heard of."""
    number = 0
    while True:
        number += 1
        line = Line(server, step=dying(number))
        new_line, old_line = (line, server) if side == "new" else (server, line)
        task, code = begin(new_line, hours)
        ended: BaseException | None = None
        try:
            await approved(laptop, old_line, hours, await code)
        except (Killed, IcureSyncError, asyncio.CancelledError) as error:
            ended = error
        if side == "old" and isinstance(ended, Killed):
            await again(laptop, server, hours, code.result())
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if len(line.calls) < number:
            break
        assert isinstance(result, Identity | Killed), (number, result)
        await finished_again(laptop, server, hours)
    assert number > 15


async def again(laptop: Replica, server: MemoryPeer, hours: Hours, code: str) -> None:
    """The old device, run again with the same code; the new one may have all it needs already."""
    with suppress(NotFound, TimedOut):
        await approved(laptop, server, hours, code)


@pytest.mark.parametrize("side", ["new", "old"])
async def test_stopped_by_hand_at_every_step_leaves_nothing_and_can_be_run_again(laptop, server, hours, side):
    number = 0
    while True:
        number += 1
        line = Line(server)
        new_line, old_line = (line, server) if side == "new" else (server, line)
        task, code = begin(new_line, hours)
        code_or_none = (await asyncio.gather(code, return_exceptions=True))[0] if side == "old" else None
        approving = asyncio.create_task(approved_when(laptop, old_line, hours, code))
        victim = task if side == "new" else approving
        line._step = stopping(number, victim)
        await asyncio.wait([victim])
        if side == "old" and victim.cancelled():
            await again(laptop, server, hours, code_or_none)
        await asyncio.gather(task, approving, return_exceptions=True)
        if not victim.cancelled():
            break
        assert await pairings_on(server) == []
        await finished_again(laptop, server, hours)
    assert number > 5


async def approved_when(laptop: Replica, line: Any, hours: Hours, code: asyncio.Future[str]) -> None:
    with suppress(IcureSyncError):
        await approved(laptop, line, hours, await code)


async def test_two_old_devices_that_answer_at_once_end_with_one_identity(laptop, open_replica, server, hours):
    desktop = await open_replica("hcp-a", "desktop")
    task, code = begin(server, hours)
    typed = await code
    ended = await asyncio.gather(
        approved(laptop, server, hours, typed), approved(desktop, server, hours, typed), return_exceptions=True
    )
    if not task.done():
        await again(laptop, server, hours, typed)
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, Identity | WrongCode | Tampered), (result, ended)
    await finished_again(laptop, server, hours)


async def test_what_dead_runs_left_is_removed_by_the_next_one_and_what_lives_is_not(laptop, server, hours):
    dead = await left_over(server, hours)
    hours.seconds += LEFT_OVER_MS / 1000 + 1
    other = [pairing for pairing in await pairings_on(server) if pairing.startswith(f"pairing-{dead.number}")]
    await server.write([Revision(DocId("pairing-" + "7" * 20), revs(1), b'{"type":"Pairing","version":9}')], server)
    first, _ = begin(server, hours)
    second, code = begin(server, hours)
    await code
    waiting = await pairings_on(server)
    assert not set(other) & set(waiting)
    assert len(waiting) == 3
    await approved(laptop, server, hours, await code)
    await second
    assert len(await pairings_on(server)) == 2
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await pairings_on(server) == ["pairing-" + "7" * 20]


async def test_messages_of_another_version_end_the_pairing_with_what_to_do(server, hours):
    task, code = begin(server, hours)
    await code
    (pairing,) = await pairings_on(server)
    history = server.tree(pairing).history(server.tree(pairing).winner().rev)
    server.put(Revision(pairing, (revs(2)[0], *history), b'{"type":"Pairing","version":9}'))
    with pytest.raises(Tampered, match="same version"):
        await task


async def test_a_revision_far_beyond_a_pairing_is_not_extended(laptop, server, hours):
    code = await left_over(server, hours)
    (pairing,) = await pairings_on(server)
    letter = letter_of(server._documents[pairing].revisions[server.tree(pairing).winner().rev].body)
    server.put(Revision(pairing, revs(2_000), body_of(letter)))
    with pytest.raises(Tampered, match="tampered with"):
        await approved(laptop, server, hours, str(code))


# An evil server


async def test_a_server_in_between_that_guesses_wrong_gets_nothing_and_gives_nothing(laptop, hours, identities):
    """It plays the old device to the new one and the new one to the old, with codes of its own, each time both ask."""
    to_new, to_old = MemoryPeer("shown to the new device"), MemoryPeer("shown to the old device")
    task, code = begin(to_new, hours)
    real = read_code(await code)
    (pairing,) = (PairingId(one) for one in await pairings_on(to_new))
    guesses = 0
    for attempt in (1, 2, 3):
        guess = Code(real.number, f"{(int(real.secret) + attempt) % 10**8:08d}")
        fake = Offering.begin(pairing, guess, system_entropy)
        mirror = PairingDocument(to_old, pairing, 0, system_entropy)
        await mirror.letters()
        await mirror.put(mirror.composed(Offer(attempt, fake.message.element)))
        relayed = Line(to_old, step=when(Answer, to_old, partial(_guess, to_new, pairing, attempt, guess, identities)))
        with pytest.raises(IcureSyncError):
            await approved(laptop, relayed, hours, await code)
        guesses += 1
        assert not any(b"delivery" in one.body for one in _all(to_old, pairing))
    with pytest.raises(WrongCode, match="3 times"):
        await task
    with pytest.raises(WrongCode, match="tried 3 times"):
        await approved(laptop, to_old, hours, await code)
    assert guesses == 3
    assert [row async for row in laptop.trail.rows(action="paired")] == []


async def _guess(to_new: MemoryPeer, pairing: PairingId, attempt: int, guess: Code, identities: Any) -> None:
    """The server answers the new device's real offer as an old device of its own would."""
    document = PairingDocument(to_new, pairing, 0, system_entropy)
    for letter in await document.letters():
        if isinstance(letter.message, Offer) and letter.message.attempt == attempt:
            state = answer(pairing, letter.message, guess, identities["hcp-c"], system_entropy)
            assert isinstance(state, Answering)
            await document.put(document.composed(state.message))


async def test_an_old_device_gives_nothing_for_a_proof_that_is_made_up(laptop, server, hours):
    code = await left_over(server, hours)
    (pairing,) = await pairings_on(server)
    document = PairingDocument(server, PairingId(pairing), 0, system_entropy)

    async def prove() -> None:
        await document.letters()
        await document.put(document.composed(Proof(1, bytes(32))))

    with pytest.raises(Tampered, match="does not know the code"):
        await approved(laptop, Line(server, step=when(Answer, server, prove)), hours, str(code))
    assert isinstance((await document.letters())[0].message, Again)
    assert [row async for row in laptop.trail.rows(action="paired")] == []


async def test_codes_of_one_number_are_tried_three_times_whoever_answers(laptop, server, hours):
    """A server that has every attempt look like a new pairing: the person's typing is what is counted."""
    for made in range(4):
        code = await left_over(server, hours, PairingId(DocId(f"pairing-4821{made:016d}")))
        with pytest.raises(TimedOut if made < 3 else WrongCode):
            await approved(laptop, server, hours, str(code))
        await PairingDocument(server, PairingId(DocId(f"pairing-4821{made:016d}")), 0, system_entropy).remove()
    hours.seconds += LIFE_SECONDS
    code = await left_over(server, hours, PairingId(DocId("pairing-4821" + "5" * 16)))
    with pytest.raises(TimedOut):
        await approved(laptop, server, hours, str(code))


async def left_over(server: MemoryPeer, hours: Hours, pairing: PairingId | None = None) -> Code:
    """An offer of a device that is gone; returns its code."""
    pairing = pairing or PairingId(DocId("pairing-48210000000000000000"))
    state = Offering.begin(pairing, new_code(pairing, system_entropy), system_entropy)
    started = int(hours.seconds * 1000)
    server.put(Revision(pairing, revs(1), body_of(Letter(started, state.message))))
    return state.code


def revs(generation: int) -> tuple[Any, ...]:
    return (f"{generation}-{system_entropy(16).hex()}",)


def dying(number: int) -> Callable[[str, int], None]:
    """From this step on, the process is dead."""

    def step(_: str, made: int) -> None:
        if made >= number:
            raise Killed

    return step


def stopping(number: int, victim: asyncio.Task[Any]) -> Callable[[str, int], None]:
    """At this step somebody presses Ctrl-C."""

    def step(_: str, made: int) -> None:
        if made == number:
            victim.cancel()

    return step


def when(kind: type, server: MemoryPeer, action: Callable[[], Awaitable[None]]) -> Callable[[str, int], None]:
    """Do this once a message of this kind stands on the server."""
    tasks: list[asyncio.Task[None]] = []

    def step(call: str, _: int) -> None:
        if call == "leaves" and not tasks:
            standing = [one for name in server._documents for one in _all(server, name) if not one.deleted]
            if any(isinstance(_message(one), kind) for one in standing):
                tasks.append(asyncio.ensure_future(action()))  # type: ignore[arg-type]  # a coroutine

    return step


def _all(server: MemoryPeer, name: DocId) -> list[Revision]:
    return list(server._documents[name].revisions.values()) if name in server._documents else []


def _message(revision: Revision) -> object:
    try:
        return letter_of(revision.body).message
    except Tampered:
        return None
