"""The lookout for servers that show an older state: each is asked for the heads of devices that it had.

A head is signed by its device and counts what that has written, so whoever saw a higher one knows that a server which
lacks it lacks more. Owns which server is held to what; what a head is, device_heads.py knows. A server that nobody here
ever saw cannot be held to anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from icure_sync.crypto.devices import head_id
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.patience import Patience
from icure_sync.ids import DocId, Rev
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Missing
from icure_sync.store import Store
from icure_sync.store.device_heads import HeadRow, ServerRow, Sighting

_NAMED_DIGITS = 8  # of a server that has no address: enough to tell a few apart


@dataclass(frozen=True, slots=True)
class _Question:
    """`sightings`: what the server had, the highest of each device; `heads`: the highest known here."""

    sightings: Sequence[Sighting]
    heads: Sequence[HeadRow]

    def revs(self) -> Mapping[DocId, list[Rev]]:
        """What to ask for."""
        named = [(each.device, each.rev) for each in self.sightings] + [(head.device, head.rev) for head in self.heads]
        asked: dict[DocId, list[Rev]] = {}
        for device, rev in dict.fromkeys(named):
            asked.setdefault(head_id(device), []).append(rev)
        return asked


class Lookout:
    """Of one store. `clock`: ms since 1970."""

    def __init__(self, store: Store, bell: Bell, clock: Callable[[], int]) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock

    async def ask(self, peer: Peer, name: str, address: str, patience: Patience) -> None:
        """After a pull from it: has this server what it had? `name`: that of its log; `address`: as a person knows it.

        One request, and another one before an alarm: a cluster's nodes may not all be up to date. Raises what the peer
        raises.
        """
        question = await self._store.run(self._question, name, address)
        asked = question.revs()
        if not asked:
            return
        missing = await patience.insist(partial(peer.missing, asked))
        if _gone(question, missing):
            missing = await patience.insist(partial(peer.missing, asked))
        await self._store.run(self._answer, question, missing, ServerRow(name, address, self._clock()))

    def pushed(self, name: str, refused: Collection[DocId]) -> None:
        """This server has all heads known here, but for those refused."""
        known = (head for head in self._store.device_heads.all() if head_id(head.device) not in refused)
        with self._store.transaction():
            self._store.device_heads.saw(Sighting(name, head.device, head.rev, head.counter) for head in known)

    def _question(self, name: str, address: str) -> _Question:
        """One that has lost its log is held to what the one of that address had."""
        heads, servers = self._store.device_heads, self._store.device_heads.servers()
        names = [name]
        if all(server.name != name for server in servers):
            names += [server.name for server in servers if address and server.address == address]
        highest: dict[str, Sighting] = {}
        for each in heads.sightings(names):
            if each.device not in highest or each.counter > highest[each.device].counter:
                highest[each.device] = each
        return _Question(tuple(highest.values()), heads.all())

    def _answer(self, question: _Question, missing: Mapping[DocId, Missing], server: ServerRow) -> None:
        gone = _gone(question, missing)
        heads = self._store.device_heads
        with self._store.transaction():
            heads.meet(server)
            heads.forget(gone)
            heads.saw(
                Sighting(server.name, head.device, head.rev, head.counter)
                for head in question.heads
                if not _lacks(missing, head.device, head.rev)
            )
            if gone:
                self._bell.ring(AlarmKind.STALE_SERVER, _subject(server), _why(gone))


def _gone(question: _Question, missing: Mapping[DocId, Missing]) -> list[Sighting]:
    """What the server had and has no more. Of a device of which it has a later head, nothing: it may keep few of the
    earlier ones."""
    now = {head.device: head.counter for head in question.heads if not _lacks(missing, head.device, head.rev)}
    return [
        each
        for each in question.sightings
        if _lacks(missing, each.device, each.rev) and now.get(each.device, -1) < each.counter
    ]


def _lacks(missing: Mapping[DocId, Missing], device: str, rev: Rev) -> bool:
    found = missing.get(head_id(device))
    return found is not None and rev in found.revs


def _subject(server: ServerRow) -> str:
    return server.address or server.name[:_NAMED_DIGITS]


def _why(gone: Sequence[Sighting]) -> str:
    one = gone[0]
    others = f", nor what it had of {len(gone) - 1} other devices" if len(gone) > 1 else ""
    return f"it does not have any more what device {one.device} had written, {one.counter} revisions{others}"
