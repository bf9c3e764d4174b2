"""Passwords: hashed as CouchDB stores them, compared in constant time, and guessed only a few times. Knows no HTTP.

The stored form is that of CouchDB's `_users` documents (`password_scheme: pbkdf2`), so a `_users` database can move
between the two.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.hub.errors import forbidden
from icure_sync.hub.limits import (
    FAILURES_BEFORE_LOCK,
    KNOWN_LOGINS,
    LOCK_ENTRIES,
    LOCK_SECONDS,
    MAX_PASSWORD_ROUNDS,
    MIN_PASSWORD_ROUNDS,
)

_SALT_BYTES = 16
_PRFS = {"sha256": 32, "sha": 20}  # CouchDB's names, and the length of what they derive


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """PBKDF2-HMAC of one password (RFC 8018). `salt` is text, as CouchDB keeps it; `derived` is raw."""

    prf: str
    rounds: int
    salt: str
    derived: bytes

    @classmethod
    def of(cls, password: str, rounds: int, entropy: Callable[[int], bytes]) -> PasswordHash:
        """A fresh hash. Slow on purpose: call it outside of the event loop."""
        salt = entropy(_SALT_BYTES).hex()
        return cls("sha256", rounds, salt, _derive(password, "sha256", rounds, salt))

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> PasswordHash | None:
        """From the members of a `_users` document; None if they hold no hash that can be believed."""
        match members:
            case {
                "password_scheme": "pbkdf2",
                "iterations": int(rounds),
                "salt": str(salt),
                "derived_key": str(derived),
            } if MIN_PASSWORD_ROUNDS <= rounds <= MAX_PASSWORD_ROUNDS:
                prf = members.get("pbkdf2_prf", "sha")
                try:
                    raw = bytes.fromhex(derived)
                except ValueError:
                    return None
                return cls(prf, rounds, salt, raw) if len(raw) == _PRFS.get(prf) else None
        return None

    def to_members(self) -> dict[str, Any]:
        """The members of a `_users` document that hold this hash."""
        return {
            "password_scheme": "pbkdf2",
            "pbkdf2_prf": self.prf,
            "iterations": self.rounds,
            "salt": self.salt,
            "derived_key": self.derived.hex(),
        }

    def fits(self, password: str) -> bool:
        """True if this is the hash of `password`. Slow on purpose."""
        return hmac.compare_digest(_derive(password, self.prf, self.rounds, self.salt), self.derived)


class KnownLogins:
    """Verified passwords, so that Basic authentication costs one slow hash per login and not one per request.

    Holds keyed hashes only, under a key of this process; a changed password changes the stored hash, and so the entry.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, login: tuple[str, str, PasswordHash]) -> bool:
        return self._tag(*login) in self._known

    def add(self, login: tuple[str, str, PasswordHash]) -> None:
        self._known[self._tag(*login)] = None
        if len(self._known) > KNOWN_LOGINS:
            self._known.popitem(last=False)

    def _tag(self, name: str, password: str, stored: PasswordHash) -> bytes:
        parts = (name.encode(), password.encode(), stored.derived)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, framed, "sha256")


class Lockout:
    """Counts wrong passwords by name and address, as CouchDB 3.5 does: five, and both are locked out for five minutes.

    `clock`: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def check(self, name: str, address: str) -> None:
        """Raises forbidden while the pair is locked, whatever the password."""
        count, when = self._failures.get((name, address), (0, 0.0))
        if count >= FAILURES_BEFORE_LOCK and self._clock() - when < LOCK_SECONDS:
            raise forbidden("Account is temporarily locked due to multiple authentication failures")

    def failed(self, name: str, address: str) -> None:
        """One more wrong password."""
        count, when = self._failures.pop((name, address), (0, 0.0))
        now = self._clock()
        self._failures[name, address] = (count + 1 if now - when < LOCK_SECONDS else 1, now)
        if len(self._failures) > LOCK_ENTRIES:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """The right password: the count starts anew."""
        self._failures.pop((name, address), None)


def _derive(password: str, prf: str, rounds: int, salt: str) -> bytes:
    digest = "sha256" if prf == "sha256" else "sha1"
    return hashlib.pbkdf2_hmac(digest, password.encode(), salt.encode(), rounds)
