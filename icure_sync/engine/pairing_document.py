"""The document that two devices pair by, on a peer: each message is a revision of it, written and read directly.

Owns reading, writing and removing it, and patience with a network that fails. No device replicates it: its type and its
empty `delegations` pass no filter, and nothing of it comes into a replica. Knows no keys, and believes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from icure_sync.crypto.pairing_messages import (
    PREFIX,
    Letter,
    Message,
    PairingId,
    body_of,
    is_pairing_id,
    letter_of,
    tombstone_body,
)
from icure_sync.crypto.primitives import Entropy
from icure_sync.engine.clock import Clock
from icure_sync.errors import Forbidden, PeerError, Tampered, Throttled, TimedOut
from icure_sync.ids import DocId, Rev, generation, rev_order
from icure_sync.peers.port import Noticeboard
from icure_sync.replication.trouble import Trouble, trouble_of
from icure_sync.replication.wire import Revision

T = TypeVar("T")

Told = Callable[[str], None]  # hears a sentence for the person that waits

LIFE_SECONDS = 600.0  # of a pairing: long enough to walk to the other device; a code that lies about is void by then
POLL_SECONDS = 1.0  # between two looks at the document: a person waits; 600 small requests at most
ASKED_MOST = 30.0  # seconds of a pause that a server asks for: a person waits
TIDY_SECONDS = 5.0  # for leaving nothing behind: a person has pressed Ctrl-C, and the network may be gone
LEFT_OVER_MS = (
    3_600_000  # since it began, by this device's clock: nobody waits any more, even if clocks differ a little
)
LISTED = 100  # pairings looked at: a few wait at a time
_LEAVES = 16  # of one document: two devices that write at once make two
_GENERATION_MOST = 1_000  # a pairing takes a few dozen revisions
_REV_BYTES = 16

_PASSING = {Trouble.TRANSPORT, Trouble.SERVER_FAILED, Trouble.BUSY}  # what waiting may mend


class Gone(Exception):
    """The document was removed: one side has ended the pairing."""


class PairingDocument:
    """One pairing's document. `started`: ms, as its letters say."""

    def __init__(self, peer: Noticeboard, pairing: PairingId, started: int, entropy: Entropy) -> None:
        self._peer = peer
        self._entropy = entropy
        self._leaf: Revision | None = None
        self.pairing = pairing
        self.started = started

    async def letters(self) -> list[Letter]:
        """What its live leaves say, the latest first; nothing if it is not there. Raises Gone, Tampered, PeerError."""
        found = await self._peer.leaves([self.pairing])
        leaves = [one for one in found if isinstance(one, Revision) and one.id == self.pairing]
        if any(leaf.deleted for leaf in leaves):
            raise Gone  # whatever was said at the same time
        live = sorted(leaves, key=lambda leaf: rev_order(leaf.rev), reverse=True)
        letters = []
        for leaf in live[:_LEAVES]:
            try:
                letters.append(letter_of(leaf.body))
            except Tampered:
                if len(live) == 1:
                    raise
        if live:
            self._leaf = live[0]
        return letters

    def composed(self, message: Message) -> Revision:
        """A revision that says this, over what was read last."""
        return self._extending(self._leaf, body_of(Letter(self.started, message)), deleted=False)

    async def put(self, revision: Revision) -> None:
        """Write it; as often as it takes. Raises Forbidden, PeerError."""
        for refusal in await self._peer.write([revision], self._peer):
            raise Forbidden(
                "pair by this server",
                f"it does not take the pairing's document ({refusal.error}: {refusal.reason})",
                "ask its administrator to let members write, or name another server",
            )
        self._leaf = revision

    async def remove(self) -> None:
        """End the document, all its live leaves."""
        found = await self._peer.leaves([self.pairing])
        for leaf in found:
            if isinstance(leaf, Revision) and leaf.id == self.pairing and not leaf.deleted:
                await self.put(self._extending(leaf, tombstone_body(), deleted=True))

    def _extending(self, leaf: Revision | None, body: bytes, *, deleted: bool) -> Revision:
        above = () if leaf is None else leaf.history
        number = 1 + (generation(above[0]) if above else 0)
        if number > _GENERATION_MOST:
            raise Tampered(
                "write a message of the pairing", "its document was tampered with", "begin anew on the new device"
            )
        return Revision(self.pairing, (Rev(f"{number}-{self._entropy(_REV_BYTES).hex()}"), *above), body, deleted)


class Correspondence:
    """A pairing's document for as long as one side waits for the other."""

    def __init__(self, document: PairingDocument, clock: Clock, told: Told) -> None:
        self._document = document
        self._clock = clock
        self._told = told
        self._trouble = ""
        self._until = 0.0
        self._late = TimedOut("pair", "nothing was waited for", "begin anew")

    def expect(self, seconds: float, late: TimedOut) -> None:
        """From now on wait for so long, and raise `late` then."""
        self._until = self._clock.monotonic() + seconds
        self._late = late

    async def say(self, message: Message) -> None:
        """Write it, once the network lets it through. Raises what no waiting mends, and if it takes too long."""
        revision = self._document.composed(message)
        await self._insist(lambda: self._document.put(revision))

    async def listen(self) -> list[Message]:
        """What the document says after a pause. Raises as `said`."""
        if self._clock.monotonic() >= self._until:
            raise self._late
        await self._clock.sleep(POLL_SECONDS)
        return await self.said()

    async def said(self) -> list[Message]:
        """What the document says, the latest first. Raises Gone, Tampered, and as `say`."""
        return [letter.message for letter in await self._insist(self._document.letters)]

    async def _insist(self, action: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                done = await action()
            except PeerError as error:
                if trouble_of(error) not in _PASSING:
                    raise
                if self._clock.monotonic() >= self._until:
                    raise self._late from error
                if error.wrong != self._trouble:
                    self._trouble = error.wrong
                    self._told(f"Waiting: {error.wrong}.")
                asked = (error.retry_after or 0.0) if isinstance(error, Throttled) else 0.0
                await self._clock.sleep(min(max(asked, POLL_SECONDS), ASKED_MOST))
            else:
                self._trouble = ""
                return done


async def tidily(action: Awaitable[None]) -> None:
    """Do this last thing for some seconds at most, even if this side is being cancelled; it may fail."""
    task = asyncio.ensure_future(action)
    try:
        await asyncio.wait_for(asyncio.shield(task), TIDY_SECONDS)
    except (PeerError, Tampered, TimeoutError, asyncio.CancelledError):
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def waiting_pairings(peer: Noticeboard, prefix: str = PREFIX) -> list[PairingId]:
    """The pairings on this peer whose id begins so."""
    return [PairingId(DocId(name)) for name in await peer.named(prefix, limit=LISTED) if is_pairing_id(name)]


async def clear_left_over(peer: Noticeboard, entropy: Entropy, now: int, keep: PairingId | None = None) -> None:
    """Remove pairings that nobody waits for any more, if it can be done; not `keep`. `now`: ms since 1970."""
    with suppress(PeerError):
        for pairing in await waiting_pairings(peer):
            document = PairingDocument(peer, pairing, now, entropy)
            if pairing != keep and await _is_left_over(document, now):
                await document.remove()


async def _is_left_over(document: PairingDocument, now: int) -> bool:
    try:
        letters = await document.letters()
    except Gone:  # but for what was said at the same time
        return True
    except Tampered:  # another version's
        return False
    return bool(letters) and all(abs(now - letter.started) > LEFT_OVER_MS for letter in letters)
