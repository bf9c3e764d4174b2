"""Another passphrase for what a passphrase locks: an identity, or the key file of a replica.

Owns the change of one such file's bytes; where they are kept, and that several change at once, is their owner's.
The secret itself stays as it is: a copy of the old bytes goes on opening by the old passphrase.
"""

from __future__ import annotations

from icure_sync import strict_json
from icure_sync.crypto.identity import LABEL
from icure_sync.crypto.primitives import Entropy, lock_secret, system_entropy, unlock_secret
from icure_sync.errors import InvalidEntity

REPLICA_LABEL = "replica"  # of the key file beside a database


def relock(locked: bytes, old: str, new: str, *, entropy: Entropy = system_entropy) -> bytes:
    """The bytes to keep instead of `locked` (of `Identity.lock`, or of a replica's key file), opened by `new` alone.

    Takes a second: two passphrases are worked out. Raises WrongPassphrase if `old` does not open them; InvalidEntity
    for an empty new passphrase, or one that is no Unicode text; StoreCorrupt; WeakKey.
    """
    if not new:
        raise InvalidEntity("change the passphrase", "the new one is empty", "choose a long one")
    label = _label(locked)
    return lock_secret(unlock_secret(locked, old, label), new, label, entropy)


def _label(locked: bytes) -> str:
    """What the file says it is; what cannot be read is left to unlocking, which knows how to say so."""
    try:
        head = strict_json.loads(locked)
    except InvalidEntity:
        return LABEL
    return REPLICA_LABEL if isinstance(head, dict) and head.get("label") == REPLICA_LABEL else LABEL
