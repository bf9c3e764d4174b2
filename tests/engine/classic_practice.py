"""Devices of three parties over a database that a released SDK wrote, without stores, for tests: revisions are handed
around as values. Beside them stands software that knows no stamps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, cast

from icure_sync.crypto.classic import edit_document, open_document
from icure_sync.crypto.classic_access import ClassicPair
from icure_sync.crypto.classic_cipher import decrypt_json, encrypt_json
from icure_sync.crypto.primitives import sha256
from icure_sync.engine.classic import ClassicSuite
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.classic_stamps import Stamped, read_stamped
from icure_sync.engine.opening import entity_of
from icure_sync.engine.suite import Stored, Written
from icure_sync.engine.writers import Writers
from icure_sync.ids import DocId, HcpId, Rev, generation
from icure_sync.model import Entity
from tests.crypto.classic_clinic import A, Clinic, vectors

IDS = vectors()["ids"]
PATIENT, CONTACT, ELEMENT = (IDS[name] for name in ("patient", "contact", "healthElement"))
_unwrapped: dict[tuple[str, str, bytes], bytes] = {}  # RSA is slow, and the keys stay the same


class Parties:
    """The exchange keys of one party, as the clinic's Hcp documents give them."""

    def __init__(self, clinic: Clinic, me: str) -> None:
        self._clinic = clinic
        self._me = me

    def keys_from(self, owner: str) -> Iterator[bytes]:
        return self._clinic.exchange_keys(owner, self._me, self._me)

    def pair(self, delegate: str) -> ClassicPair:
        return self._clinic.pair(self._me, delegate)


class Practice:
    """Devices of three parties over the SDK's documents, without stores: revisions are handed around as values."""

    def __init__(self) -> None:
        self.clinic = Clinic()
        self.clinic._unwrapped = _unwrapped
        self._ticks = count(1_800_000_000_000, 1000)
        self._drawn = count()

    def entropy(self, length: int) -> bytes:
        """The same in every run."""
        return sha256(str(next(self._drawn)).encode())[:length]

    def device(self, hcp_id: str, name: str = "phone") -> ClassicSuite:
        parties = cast("ClassicParties", Parties(self.clinic, hcp_id))
        writers = Writers(hcp_id, name, self.entropy, lambda: next(self._ticks))
        return ClassicSuite(HcpId(hcp_id), parties, writers, self.entropy, lambda: next(self._ticks))

    def sdk_reads(self, stored: Stored, me: str) -> dict[str, Any]:
        """What an SDK sees of what is sealed: it tries the first entry of `encryptionKeys[me]` only."""
        return self.clinic.sdk_reads(stored.document, me)

    def first(self, doc_id: str) -> Stored:
        """As the SDK wrote it."""
        return Stored(DocId(doc_id), Rev("2-" + sha256(doc_id.encode()).hex()[:32]), self.clinic.docs[doc_id])

    def edited(self, stored: Stored, hcp_id: str = A, **changes: Any) -> Stored:
        """By a device of its own."""
        suite = self.device(hcp_id)
        written = suite.edit(stored, shown(suite, stored).replace(**changes))
        return stored if written is None else stored_of(written)

    def edited_by_sdk(self, stored: Stored, hcp_id: str, changes: dict[str, Any], *, stamps: str = "kept") -> Stored:
        """By software that knows no stamps: it keeps what it does not know in the ciphertext, or drops it."""
        keys = self.clinic.keys_of(hcp_id)
        opened = open_document(stored.id, stored.document, hcp_id, keys)
        record = {**opened.record, **changes, "codes": [], "modified": next(self._ticks)}
        document = edit_document(stored.document, opened, record, me=hcp_id, keys=keys, entropy=self.entropy)
        if stamps == "dropped" and "encryptedSelf" in document:
            part = decrypt_json(opened.key, document["encryptedSelf"])
            part.pop("_sync", None)
            document["encryptedSelf"] = encrypt_json(opened.key, part, self.entropy)
        return by_sdk(stored, document)


def by_sdk(above: Stored, document: dict[str, Any]) -> Stored:
    digits = sha256(json.dumps([above.rev, document]).encode()).hex()[:32]
    return Stored(above.id, Rev(f"{generation(above.rev) + 1}-{digits}"), document)


def stored_of(written: Written) -> Stored:
    return Stored(written.id, written.rev, json.loads(json.dumps(written.document)))


def shown(suite: ClassicSuite, stored: Stored) -> Entity:
    return entity_of(stored, suite.open(stored))


def stamped(suite: ClassicSuite, stored: Stored) -> Stamped:
    return read_stamped(stored.rev, suite.opened(stored))


def merged(suite: ClassicSuite, *leaves: Stored) -> Stored:
    """The one revision that is left."""
    joined = suite.join(leaves)
    assert joined.written is not None
    live = [each for each in joined.written if not each.deleted]
    return stored_of(live[0]) if live else replace(joined.shown, leaves=(), beside=())
