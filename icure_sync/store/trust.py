"""What a replica has learnt about keys: unwrapped Hcp keys, so that a restart costs no RSA, and pinned signing keys.

Owns their tables. Knows nothing of how keys are wrapped or checked.
"""

from __future__ import annotations

from dataclasses import dataclass

from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.ids import HcpId, Kid, Rev
from icure_sync.store.database import Database


@dataclass(frozen=True, slots=True)
class Pin:
    """The signing key that an Hcp is known by here, and the revision of its document that first showed it."""

    hcp: HcpId
    signing_key: bytes
    first_rev: Rev


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
        self._database.run("INSERT OR IGNORE INTO pins VALUES (?, ?, ?)", (hcp, signing_key, first_rev))
        return bytes(self._database.value("SELECT signing_key FROM pins WHERE hcp = ?", (hcp,)))

    def put(self, hcp: HcpId, signing_key: bytes, first_rev: Rev) -> None:
        """Pin this key instead of what was pinned: a person, or the pinned key, vouches for it."""
        self._database.run("REPLACE INTO pins VALUES (?, ?, ?)", (hcp, signing_key, first_rev))

    def get(self, hcp: HcpId) -> Pin | None:
        """The pin, or None."""
        row = self._database.row("SELECT hcp, signing_key, first_rev FROM pins WHERE hcp = ?", (hcp,))
        return None if row is None else Pin(*row)

    def all(self) -> list[Pin]:
        """Every pin, by Hcp id."""
        return [Pin(*row) for row in self._database.rows("SELECT hcp, signing_key, first_rev FROM pins ORDER BY hcp")]
