"""The error hierarchy. Owns every exception that crosses a public boundary; knows nothing of the parts that raise them.

Every error says what was attempted, what is wrong, and what to do next, in one line. None of the three
may hold plaintext, key material or credentials: ids, revision ids, field names and sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class IcureSyncError(Exception):
    """Root of all errors of this package.

    `attempted` is what was being done ("open the replica at /x"), `wrong` what stopped it ("the passphrase does not
    fit"), `next_step` what a person can do about it.
    """

    def __init__(self, attempted: str, wrong: str, next_step: str) -> None:
        super().__init__(attempted, wrong, next_step)
        self.attempted = attempted
        self.wrong = wrong
        self.next_step = next_step

    def __str__(self) -> str:
        return " ".join(f"cannot {self.attempted}: {self.wrong}; {self.next_step}".split())


class InvalidEntity(IcureSyncError):
    """An entity or input file does not have the form that the model declares."""


class NotFound(IcureSyncError):
    """No such document here."""


class MassDeletion(IcureSyncError):
    """More records were deleted at once than is usual: a person has to say whether that is right.

    `deleted`: how many, by the id of the Hcp that signed for it; "": nobody did.
    """

    def __init__(
        self, attempted: str, wrong: str, next_step: str, deleted: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        super().__init__(attempted, wrong, next_step)
        self.deleted = dict(deleted)


class StoreError(IcureSyncError):
    """The local encrypted database."""


class WrongPassphrase(StoreError):
    """The passphrase does not unlock this file."""


class StoreCorrupt(StoreError):
    """A page, the key file or the schema of the local database is damaged."""


class StoreLocked(StoreError):
    """Another process owns the replica."""


class StoreFull(StoreError):
    """No room, or no permission, to write."""


class SchemaTooNew(StoreError):
    """The file was written by a newer version of this package."""


class PeerError(IcureSyncError):
    """The other side of a replication."""


class Unreachable(PeerError):
    """No connection, or it broke."""


class TimedOut(PeerError):
    """A deadline passed without an answer."""


class Throttled(PeerError):
    """The peer asks for a pause of `retry_after` seconds (None: it did not say how long)."""

    def __init__(self, attempted: str, wrong: str, next_step: str, retry_after: float | None = None) -> None:
        super().__init__(attempted, wrong, next_step)
        self.retry_after = retry_after


class Unauthorized(PeerError):
    """The peer does not accept the credentials."""


class Forbidden(PeerError):
    """The account may not do this."""


class DatabaseMissing(PeerError):
    """The database does not exist on the peer."""


class BadAnswer(PeerError):
    """The answer is not what the protocol allows: another kind of server, a captive portal, a broken body."""


class ConflictError(IcureSyncError):
    """A write met a state that it had not seen."""


class StaleRevision(ConflictError):
    """The revision given is not a leaf any more."""


class CryptoError(IcureSyncError):
    """Keys, envelopes, signatures."""


class NoAccess(CryptoError):
    """No entry in the document opens for this Hcp. `attempts` lists what was tried, one line each."""

    def __init__(self, attempted: str, wrong: str, next_step: str, attempts: tuple[str, ...] = ()) -> None:
        super().__init__(attempted, wrong, next_step)
        self.attempts = attempts


class Locked(CryptoError):
    """The keys of the replica were let go of, by word or after idle time, until it is unlocked."""


class Tampered(CryptoError):
    """A ciphertext or signature does not authenticate."""


class WriterOut(Tampered):
    """Whoever wrote this revision has no access by the statements known now: a person with access may adopt it."""


class Misplaced(Tampered):
    """This revision stands in the revision tree, as far as it is known now, where its writer did not put it."""


class UnsupportedSuite(CryptoError):
    """The document's suite is not one that this replica was opened for."""


class UntrustedKey(CryptoError):
    """A public key that nothing vouches for."""


class WrongCode(CryptoError):
    """The code of a pairing does not fit: mistyped, or guessed by somebody in between. `left`: attempts left."""

    def __init__(self, attempted: str, wrong: str, next_step: str, left: int = 0) -> None:
        super().__init__(attempted, wrong, next_step)
        self.left = left


class WeakKey(CryptoError):
    """A key, or a key-derivation cost, below the minimum."""
