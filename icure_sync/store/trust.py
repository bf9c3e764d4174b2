"""What a replica has learnt about keys: unwrapped Hcp keys, so that a restart costs no RSA, and pinned signing keys.

Owns their tables. Knows nothing of how keys are wrapped or checked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.identity import FIRST_EPOCH, Previous
from icure_sync.ids import HcpId, Kid, Rev
from icure_sync.store.database import Database

# ruff: noqa: S608  statements are put together from the names of columns below; values are always bound
_COLUMNS = "hcp, signing_key, first_rev, epoch, previous, verified, refused"


@dataclass(frozen=True, slots=True)
class Pin:
    """The signing key that an Hcp is known by here, and the revision of its document that first showed it.

    `previous`: its former keys. `verified`: when a person last compared it, ms since 1970; None: nobody has. `refused`:
    keys that a person said are not this Hcp's.
    """

    hcp: HcpId
    signing_key: bytes
    first_rev: Rev
    epoch: int = FIRST_EPOCH
    previous: tuple[Previous, ...] = ()
    verified: int | None = None
    refused: tuple[bytes, ...] = ()


class HcpKeys:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, kid: Kid, owner: HcpId, delegate: HcpId, key: bytes) -> None:
        """Keep a key, durable on return."""
        self._database.run("REPLACE INTO hcp_keys VALUES (?, ?, ?, ?)", (kid, owner, delegate, key))

    def all(self) -> list[HcpKey]:
        """Every key, by kid."""
        return [
            HcpKey(*row) for row in self._database.rows("SELECT owner, delegate, kid, key FROM hcp_keys ORDER BY kid")
        ]


class Pins:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pin(self, hcp: HcpId, signing_key: bytes, first_rev: Rev) -> bytes:
        """Trust on first use: pin this key unless another is pinned. Returns the key that is pinned now."""
        values = (hcp, signing_key, first_rev)
        self._database.run("INSERT OR IGNORE INTO pins (hcp, signing_key, first_rev) VALUES (?, ?, ?)", values)
        return bytes(self._database.value("SELECT signing_key FROM pins WHERE hcp = ?", (hcp,)))

    def put(self, pin: Pin) -> None:
        """Pin this instead of what was pinned: a person, or the pinned key, vouches for it."""
        previous = json.dumps([[each.signing_key.hex(), each.ended] for each in pin.previous])
        refused = json.dumps([each.hex() for each in pin.refused])
        self._database.run(
            f"REPLACE INTO pins ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (pin.hcp, pin.signing_key, pin.first_rev, pin.epoch, previous, pin.verified, refused),
        )

    def get(self, hcp: HcpId) -> Pin | None:
        """The pin, or None."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM pins WHERE hcp = ?", (hcp,))
        return None if row is None else _pin(row)

    def all(self) -> list[Pin]:
        """Every pin, by Hcp id."""
        return [_pin(row) for row in self._database.rows(f"SELECT {_COLUMNS} FROM pins ORDER BY hcp")]


def _pin(row: Sequence[Any]) -> Pin:
    hcp, signing_key, first_rev, epoch, previous, verified, refused = row
    former = tuple(Previous(bytes.fromhex(key), ended) for key, ended in json.loads(previous))
    keys = tuple(map(bytes.fromhex, json.loads(refused)))
    return Pin(HcpId(hcp), signing_key, Rev(first_rev), epoch, former, verified, keys)
