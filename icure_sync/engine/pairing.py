"""Pairing a new device with an old one of the same Hcp: what each side does, from the code to the end.

Owns the order of the steps, how long each is waited for, and that nothing is left on the peer. Who believes what is
decided in crypto/pairing.py; how messages travel, in pairing_document.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from icure_sync.crypto.identity import Identity
from icure_sync.crypto.pairing import (
    Answering,
    Delivered,
    Delivering,
    Failed,
    Offering,
    Proving,
    Received,
    Refused,
    Why,
    answer,
)
from icure_sync.crypto.pairing_messages import (
    ATTEMPTS,
    PREFIX,
    Again,
    Code,
    Message,
    Offer,
    PairingId,
    Receipt,
    new_code,
    new_pairing_id,
    number_of,
    read_code,
)
from icure_sync.crypto.primitives import Entropy, system_entropy
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.pairing_document import (
    LIFE_SECONDS,
    Correspondence,
    Gone,
    PairingDocument,
    Told,
    clear_left_over,
    tidily,
    waiting_pairings,
)
from icure_sync.engine.trail import Action
from icure_sync.errors import BadAnswer, IcureSyncError, NotFound, PeerError, Tampered, TimedOut, WrongCode
from icure_sync.peers.port import Noticeboard
from icure_sync.store import Store

State = TypeVar("State")

ANSWER_SECONDS = 60.0  # for the new device's next word: it looks every second, and makes a home before its last one
NUMBERS_TRIED = 20  # a few of the 10,000 are in use; then it is the server that says so
LISTED_MOST = 10  # numbers of waiting pairings named in an error

_TRIES = (
    "engine/pairings"  # the setting with the guesses that were let be made, by number: [how many, since when in ms]
)
_PAIR = "take over the identity of another device"
_APPROVE = "give the identity to the new device"
_ANEW = "begin anew on the new device: it shows another code"


class NewDevice:
    """A device that becomes one of an Hcp's. Made by `NewDevice.pairing`."""

    def __init__(self, state: Offering, words: Correspondence, told: Told, entropy: Entropy) -> None:
        self._state: Offering | Proving = state
        self._words = words
        self._told = told
        self._entropy = entropy
        self._receipt: Message | None = None
        self.code = str(state.code)
        self.is_over = False

    @classmethod
    @asynccontextmanager
    async def pairing(
        cls, peer: Noticeboard, *, told: Told, entropy: Entropy = system_entropy, clock: Clock = SYSTEM_CLOCK
    ) -> AsyncIterator[NewDevice]:
        """Offer a pairing on this peer. Within: show `code` to the person, wait for `identity`, keep it, say `kept`.

        The code is good for ten minutes and three attempts. `told` hears what goes wrong meanwhile. Leaving the context
        earlier withdraws the offer. Raises the kinds of PeerError.
        """
        await peer.info()
        now = _milliseconds(clock)
        await clear_left_over(peer, entropy, now)
        pairing = await _free_id(peer, entropy)
        document = PairingDocument(peer, pairing, now, entropy)
        words = Correspondence(document, clock, told)
        words.expect(LIFE_SECONDS, TimedOut(_PAIR, "ten minutes have passed: the code is void", "run it again"))
        new = cls(Offering.begin(pairing, new_code(pairing, entropy), entropy), words, told, entropy)
        try:
            await words.say(new._state.message)
            yield new
        finally:
            if not new.is_over:
                await tidily(document.remove())

    async def identity(self) -> Identity:
        """The identity, from a device that knew the code and was told ours.

        Raises TimedOut after ten minutes; WrongCode, Tampered when all attempts are used up; NotFound if somebody
        removed the pairing; the kinds of PeerError that no waiting mends.
        """
        while True:
            try:
                after = await _next(self._words, self._state, self._heard)
            except Gone as gone:
                raise NotFound(_PAIR, "somebody removed the pairing from the server", "run it again") from gone
            if isinstance(after, Failed):
                raise _no_attempts_left(after.why)
            if isinstance(after, Received):
                self._receipt = after.message
                return after.identity
            if isinstance(after, Offering) and after.before is not None:
                self._told(_ended(after.before, ATTEMPTS + 1 - after.message.attempt))
            self._state = after
            await self._words.say(after.message)

    async def kept(self) -> None:
        """Tell the old device that the identity is safe here; it ends the pairing then."""
        if self._receipt is None:
            raise RuntimeError("there is no identity yet")
        self._words.expect(ANSWER_SECONDS, TimedOut(_PAIR, "the server does not answer", "look at the other device"))
        try:
            await self._words.say(self._receipt)
            self.is_over = True
        except PeerError as error:
            self._told(f"The other device could not be told that all went well: {error.wrong}.")

    def _heard(self, message: Message) -> Offering | Proving | Received | Failed:
        return self._state.hear(message, self._entropy)


class Pairings:
    """How a device that has the identity of an Hcp gives it to a new one: `replica.pairings`."""

    def __init__(self, store: Store, keyed: Callable[[], Keyed], entropy: Entropy = system_entropy) -> None:
        self._store = store
        self._keyed = keyed
        self._entropy = entropy

    async def approve(self, peer: Noticeboard, code: str, *, told: Told, clock: Clock = SYSTEM_CLOCK) -> str:
        """Give the identity to the device that shows this code. Returns its fingerprint, which that device shows too.

        One attempt: whoever answers in the new device's place has made one guess of the code. Raises InvalidEntity for
        what is no code; NotFound if no such pairing waits; WrongCode, which says how many attempts are left; Tampered
        if what answers does not know the code; TimedOut; the kinds of PeerError; Locked, and nothing more is said to
        the new device, once the replica is locked.
        """
        typed = read_code(code)
        fingerprint = self._keyed().identity.fingerprint
        now = _milliseconds(clock)
        await self._store.run(self._recent_tries, typed.number, now)
        await peer.info()
        pairing = await _waiting(peer, typed)
        await clear_left_over(peer, self._entropy, now, keep=pairing)
        document = PairingDocument(peer, pairing, now, self._entropy)
        approval = _Approval(document, Correspondence(document, clock, told))
        try:
            offer = await approval.offer(fingerprint)
            await self._store.run(self._count, typed.number, now)
            answering = answer(pairing, offer, typed, self._keyed().identity, self._entropy)
            await approval.give(answering, self._entropy, self._keyed, lambda: self._record(pairing))
        except Gone as gone:
            raise approval.gone(fingerprint) from gone
        except TimedOut as late:
            raise approval.late(fingerprint, late) from late
        finally:
            await tidily(approval.leave())
        return fingerprint

    async def _record(self, pairing: PairingId) -> None:
        keyed, detail = self._keyed(), {"pairing": pairing}
        await self._store.run(keyed.recorder.did, Action.PAIRED, keyed.identity.hcp_id, "Identity", detail)

    def _count(self, number: str, now: int) -> None:
        """Count an attempt with a code of this number, before it is made. Raises WrongCode if there were enough."""
        tries = self._recent_tries(number, now)
        made, since = tries.get(number, [0, now])
        self._store.settings.put(_TRIES, {**tries, number: [made + 1, since]})

    def _recent_tries(self, number: str, now: int) -> dict[str, list[int]]:
        known: dict[str, list[int]] = self._store.settings.get(_TRIES) or {}
        recent = {one: tries for one, tries in known.items() if abs(now - tries[1]) <= LIFE_SECONDS * 1000}
        if recent.get(number, [0])[0] >= ATTEMPTS:
            raise WrongCode(_APPROVE, f"the code was tried {ATTEMPTS} times", _ANEW, 0)
        return recent


class _Approval:
    """One attempt of the old device, and how far it has come."""

    def __init__(self, document: PairingDocument, words: Correspondence) -> None:
        self._document = document
        self._words = words
        self._attempt = 0  # the one that it has taken part in
        self._broken = 0  # the one that the new device is to be told the end of, if nothing else comes
        self._is_sent = False
        self._is_over = False

    async def offer(self, fingerprint: str) -> Offer:
        """The new device's present offer; a new one if somebody has begun to answer that. Raises Gone, TimedOut."""
        self._expect()
        said = await self._words.said()
        if said and isinstance(said[0], Offer):
            return said[0]
        if any(isinstance(message, Receipt) for message in said):
            self._is_over = True
            raise _unconfirmed("by what the server says, an earlier run gave it to that device", fingerprint)
        attempt = max((message.attempt for message in said), default=1)
        await self._words.say(Again(attempt))
        while True:
            for message in await self._words.listen():
                if isinstance(message, Offer) and message.attempt > attempt:
                    return message

    async def give(
        self,
        state: Answering | Refused,
        entropy: Entropy,
        keyed: Callable[[], object],
        record: Callable[[], Awaitable[None]],
    ) -> None:
        """Go from the answer to the receipt. `keyed`: raises when the keys are let go of; `record`: done before the
        identity leaves; it must not leave unseen.

        Raises WrongCode, Tampered, Gone, TimedOut, Locked.
        """
        step: Answering | Delivering | Delivered | Refused = state
        while isinstance(step, Answering | Delivering):
            self._broken = self._attempt = step.message.attempt
            if isinstance(step, Delivering):
                await record()
                keyed()
                self._is_sent = True
                self._broken = 0  # what it waits for now can still come
            self._expect()
            await self._words.say(step.message)
            step = await _next(self._words, step, partial(step.hear, entropy=entropy))
        if isinstance(step, Delivered):
            self._is_over = True
        else:
            if step.why is Why.WRONG_CODE:
                self._broken = 0  # the new device has gone on by itself
            raise self._refused(step.why)

    async def leave(self) -> None:
        """Remove the pairing if it has come to its end; else let the new device go on with its next attempt."""
        if self._is_over:
            await self._document.remove()
        elif self._broken:
            await self._document.put(self._document.composed(Again(self._broken)))

    def gone(self, fingerprint: str) -> IcureSyncError:
        """The new device has removed the pairing, but for what was said at the same time."""
        self._is_over = True
        if self._is_sent:
            return _unconfirmed("the new device has ended the pairing without saying that it keeps it", fingerprint)
        if self._attempt == ATTEMPTS:
            return self._refused(Why.WRONG_CODE)
        return NotFound(_APPROVE, "the new device has ended the pairing", _ANEW)

    def late(self, fingerprint: str, late: TimedOut) -> TimedOut:
        """The new device says nothing."""
        return _unconfirmed("the new device does not say that it keeps it", fingerprint) if self._is_sent else late

    def _refused(self, why: Why) -> IcureSyncError:
        if why is Why.WRONG_CODE:
            left = ATTEMPTS - self._attempt
            step = f"type the code again ({_attempts(left)} left)" if left else _ANEW
            return WrongCode(_APPROVE, "the code was mistyped, or somebody is in between", step, left)
        return Tampered(_APPROVE, "what answers does not know the code: somebody may be in between", _ANEW)

    def _expect(self) -> None:
        step = "look whether it still shows the code, and run this again"
        self._words.expect(ANSWER_SECONDS, TimedOut(_APPROVE, "the new device does not answer", step))


async def _next(words: Correspondence, state: object, hear: Callable[[Message], State]) -> State:
    """The state that follows from what is said, as soon as another one does."""
    while True:
        for message in await words.listen():
            after = hear(message)
            if after is not state:
                return after


async def _free_id(peer: Noticeboard, entropy: Entropy) -> PairingId:
    """One whose number no other pairing has now."""
    for _ in range(NUMBERS_TRIED):
        pairing = new_pairing_id(entropy)
        if not await waiting_pairings(peer, PREFIX + number_of(pairing)):
            return pairing
    raise BadAnswer(_PAIR, "the server says of every number that a pairing has it", "name another server")


async def _waiting(peer: Noticeboard, code: Code) -> PairingId:
    found = await waiting_pairings(peer, PREFIX + code.number)
    if len(found) == 1:
        return found[0]
    if found:
        raise Tampered(_APPROVE, f"several pairings have the number {code.number}", _ANEW)
    others = sorted({number_of(pairing) for pairing in await waiting_pairings(peer)})
    waiting = f"there wait {', '.join(others[:LISTED_MOST])}" if others else "none waits"
    raise NotFound(
        _APPROVE,
        f"no pairing whose code begins with {code.number} is on this server; {waiting}",
        "compare the code, and the servers of both devices",
    )


def _no_attempts_left(why: Why) -> IcureSyncError:
    if why is Why.WRONG_CODE:
        return WrongCode(_PAIR, f"a wrong code was typed, or guessed in between, {ATTEMPTS} times", "run it again", 0)
    return Tampered(_PAIR, f"{ATTEMPTS} attempts came to nothing, the last because {_REASONS[why]}", "run it again")


def _ended(why: Why, left: int) -> str:
    return f"An attempt came to nothing: {_REASONS[why]}. {_attempts(left)} {'is' if left == 1 else 'are'} left."


_REASONS = {
    Why.WRONG_CODE: "a wrong code was typed, or somebody is in between",
    Why.ALTERED: "what came was altered on the way",
    Why.INTERRUPTED: "the other device broke off",
}


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"


def _unconfirmed(wrong: str, fingerprint: str) -> TimedOut:
    step = f"look at it: if it shows the fingerprint {fingerprint}, all is well; else begin anew there"
    return TimedOut("know whether the new device has the identity", wrong, step)


def _milliseconds(clock: Clock) -> int:
    return int(clock.now() * 1000)
