"""The devices of one Hcp, as its heads show them: `replica.devices`. Knows no server; asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from icure_sync.crypto.identity import COMPROMISED, Identity
from icure_sync.engine.custody import Custody
from icure_sync.engine.device_heads import DeviceHeads
from icure_sync.engine.handovers import Offered, ShutOut
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.succession import (
    Succession,
    begin_revoking,
    begin_taking_over,
    check_revocable,
    forget,
    keep,
    revoked_devices,
    standing,
)
from icure_sync.errors import UnsupportedSuite
from icure_sync.ids import HcpId
from icure_sync.store import Store
from icure_sync.store.device_heads import HeadRow

_NAMED_DIGITS = 8  # of a server without an address


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the Hcp. `name`: what the person calls it, "" if nothing; `is_this`: it is this one.

    `added`: since when it is a device, by its own clock; None if it does not say so here. `written`: revisions that it
    has written, as far as is known here; `seen`: when that was heard of, None if it has not told anybody yet. Both
    times in ms since 1970. `behind`: servers that did not have its last word when they were last asked. `is_revoked`:
    it was shut out.
    """

    id: str
    hcp: HcpId
    name: str
    is_this: bool
    added: int | None
    written: int
    seen: int | None
    behind: tuple[str, ...]
    is_revoked: bool = False


class Devices:
    """What an application sees of them."""

    def __init__(self, store: Store, custody: Custody) -> None:
        self._store = store
        self._custody = custody

    async def all(self) -> list[Device]:
        """Those of this Hcp that have synced, and this one: this one first, then the one heard of last."""
        return await self._store.run(self._all, self._heads())

    async def rename(self, name: str) -> None:
        """What the person calls this device; the others hear it with the next sync. Raises InvalidEntity."""
        await self._store.run(self._heads().rename, name)

    async def revoke(self, devices: Sequence[str]) -> Succession:
        """Shut these out, by their ids: the Hcp has a new identity from now on, which the other devices get.

        On return all that it takes is in the replica, to go with the next sync, and the replica opens with the identity
        before and with the new one. The application keeps the new one, and then says `kept`; shows the number and the
        recovery code, and then says `shown`. If this is interrupted, `succession` says how far it came. Takes seconds.
        Raises InvalidEntity, NotFound.
        """
        keyed = self._able()
        with self._custody.in_use():
            await self._store.run(check_revocable, self._store, keyed, devices)
            while await self._store.run(keyed.look):  # only what was verified is vouched for
                pass
            following = await asyncio.to_thread(keyed.identity.succeed, COMPROMISED, keyed.published.entropy)
            await self._store.run(begin_revoking, self._store, keyed, following, devices)
            return await self._succeeded(following)

    async def offers(self) -> list[Offered]:
        """New identities of this Hcp that other devices made, and that wait here for a person's word."""
        handovers = self._custody.keyed().handovers
        return await self._store.run(handovers.offers) if handovers else []

    async def adopt(self, number: str) -> Succession:
        """Take the new identity over that has this number: a person compared it with what the other device shows.

        Then as after `revoke`. Raises UntrustedKey if there is none of that number; NoAccess if it was not given to
        this device; Tampered.
        """
        keyed = self._able()
        with self._custody.in_use():
            following = await self._store.run(begin_taking_over, self._store, keyed, number)
            return await self._succeeded(following)

    async def shut_out(self) -> ShutOut | None:
        """Whether another device of this Hcp revoked this one: what is here should be removed then."""
        held = self._custody.held
        return await self._store.run(held.handovers.shut_out) if held and held.handovers else None

    async def succession(self) -> Succession | None:
        """The last change of identity, until the application has kept the identity, and shown what there is to show."""
        return await self._store.run(standing, self._store)

    async def kept(self) -> None:
        """The application has the new identity, durably, and opens the replica with it from now on."""
        await self._store.run(keep, self._store)

    async def shown(self) -> None:
        """A person has seen the number and the code: this is forgotten here."""
        await self._store.run(forget, self._store)

    async def _succeeded(self, following: Identity) -> Succession:
        await self._custody.take(following)
        found = await self.succession()
        assert found is not None  # it was begun, and nobody has seen it
        return found

    def _heads(self) -> DeviceHeads:
        heads = self._able().device_heads
        assert heads is not None
        return heads

    def _able(self) -> Keyed:
        keyed = self._custody.keyed()
        if keyed.device_heads is None:
            raise UnsupportedSuite(
                "look at devices",
                "this replica is for an iCure database, in which devices do not make themselves known",
                "look at the accounts of that server",
            )
        return keyed

    def _all(self, heads: DeviceHeads) -> list[Device]:
        own, me = heads.own, heads.hcp_id
        rows = [row for row in self._store.device_heads.all() if row.hcp == me]
        devices = [self._device(heads, row) for row in sorted(rows, key=lambda row: -row.seen)]
        others = [device for device in devices if not device.is_this]
        this = next((device for device in devices if device.is_this), None)
        seen, behind = (this.seen, this.behind) if this else (None, ())
        written = self._store.writes.count().counter
        return [Device(own.device, me, own.name, True, own.added, written, seen, behind), *others]

    def _device(self, heads: DeviceHeads, row: HeadRow) -> Device:
        told = heads.told_by(row)
        name, added = (told.name, told.added) if told else ("", None)
        is_this = row.device == heads.own.device
        is_revoked = row.device in revoked_devices(self._store)
        return Device(row.device, row.hcp, name, is_this, added, row.counter, row.seen, self._behind(row), is_revoked)

    def _behind(self, row: HeadRow) -> tuple[str, ...]:
        had = {
            each.server
            for server in self._store.device_heads.servers()
            for each in self._store.device_heads.sightings([server.name])
            if each.device == row.device and each.counter >= row.counter
        }
        servers = (server for server in self._store.device_heads.servers() if server.name not in had)
        return tuple(dict.fromkeys(server.address or server.name[:_NAMED_DIGITS] for server in servers))
