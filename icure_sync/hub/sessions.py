"""Login cookies: who is logged in and since when, under a MAC. Knows no passwords and no HTTP.

The form is CouchDB's: base64url of `name:time:mac`, time in hexadecimal seconds, here with HMAC-SHA256. The MAC's key
is made of the server's secret and the user's salt, so a changed password ends the user's sessions.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass

from icure_sync.hub.errors import bad_request
from icure_sync.hub.limits import SESSION_SECONDS

COOKIE = "AuthSession"
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie claims, before its MAC has been checked. `issued`: seconds since 1970."""

    name: str
    issued: int
    mac: bytes

    @classmethod
    def parse(cls, cookie: str) -> Session | None:
        """None for an empty cookie (logged out). Raises bad_request for one that no server made."""
        if not cookie:
            return None
        try:
            raw = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            head, mac = raw[: -_MAC_BYTES - 1], raw[-_MAC_BYTES:]
            name, issued = head.decode().rsplit(":", 1)
            return cls(name, int(issued, 16), mac)
        except (binascii.Error, ValueError) as error:
            raise bad_request("Malformed AuthSession cookie. Please clear your cookies.") from error

    @classmethod
    def issue(cls, name: str, now: float, secret: bytes, salt: str) -> Session:
        """A fresh one."""
        issued = int(now)
        return cls(name, issued, _mac(name, issued, secret, salt))

    def text(self) -> str:
        """The cookie's value."""
        raw = f"{self.name}:{self.issued:X}:".encode() + self.mac
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def is_genuine(self, secret: bytes, salt: str) -> bool:
        """True if this server issued it."""
        return hmac.compare_digest(self.mac, _mac(self.name, self.issued, secret, salt))

    def is_alive(self, now: float) -> bool:
        """True if it was issued not too long ago."""
        return -1 <= now - self.issued <= SESSION_SECONDS  # time is cut to whole seconds

    def is_ageing(self, now: float) -> bool:
        """True once a tenth of its life is over: time to hand out a fresh one."""
        return now - self.issued > SESSION_SECONDS / 10


def _mac(name: str, issued: int, secret: bytes, salt: str) -> bytes:
    return hmac.digest(secret + salt.encode(), f"{name}:{issued:X}".encode(), "sha256")
