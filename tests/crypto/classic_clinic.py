"""Three parties of a database that a released iCure SDK wrote (tests/vectors/icure-classic-4.2.39.json), for tests.

`Clinic` holds their documents and keys, and plays what a replica does around the pure functions: it looks up Hcp
documents and unwraps Hcp keys, each once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from icure_sync.crypto.classic import Opened, edit_document, open_document, share_document
from icure_sync.crypto.classic_access import ENCRYPTION_KEYS, ClassicPair, entry_value
from icure_sync.crypto.classic_cipher import decrypt_json, key_bytes
from icure_sync.crypto.classic_keys import ClassicParty, unwrap_exchange_key, with_exchange_key, wrapped_keys
from icure_sync.crypto.primitives import RsaPrivateKey, system_entropy

A, B, C = "hcp-a-0000", "hcp-b-0000", "hcp-c-0000"
PARTIES = (A, B, C)


@functools.cache
def vectors() -> dict[str, Any]:
    path = Path(__file__).parent.parent / "vectors" / "icure-classic-4.2.39.json"
    return json.loads(path.read_text(encoding="utf-8"))


@functools.cache
def private_key(party: str) -> RsaPrivateKey:
    return RsaPrivateKey(bytes.fromhex(vectors()["keys"][party]["pkcs8Hex"]))


def counting_entropy() -> Callable[[int], bytes]:
    """The same bytes in every run, all of them different."""
    numbers = iter(range(1, 256))
    return lambda length: bytes([next(numbers)]) * length


class Clinic:
    def __init__(self, documents: str = "docs") -> None:
        copies = json.loads(json.dumps(vectors()[documents]))
        self.docs: dict[str, dict[str, Any]] = {doc.pop("_id"): doc for doc in copies}
        for doc in self.docs.values():
            doc.pop("_rev")
        self._unwrapped: dict[tuple[str, str, bytes], bytes] = {}

    def party(self, hcp_id: str) -> ClassicParty:
        return ClassicParty.of(hcp_id, self.docs[hcp_id])

    def exchange_keys(self, owner: str, delegate: str, reader: str) -> Iterator[bytes]:
        if owner not in self.docs:
            return
        for wrapped in wrapped_keys(owner, self.docs[owner], delegate, self.party(reader)):
            place = (owner, delegate, wrapped)
            if place not in self._unwrapped:
                self._unwrapped[place] = unwrap_exchange_key(wrapped, self.party(reader), private_key(reader))
            yield self._unwrapped[place]

    def keys_of(self, me: str) -> Callable[[str], Iterator[bytes]]:
        return lambda owner: self.exchange_keys(owner, me, me)

    def first_key(self, document: dict[str, Any], me: str) -> bytes:
        """The content key of the first entry of `encryptionKeys[me]`, the only one that released SDKs try."""
        entry = document[ENCRYPTION_KEYS][me][0]
        keys = self.exchange_keys(entry["owner"], me, me)
        return key_bytes(next(value for key in keys if (value := entry_value(entry, key))))

    def sdk_reads(self, document: dict[str, Any], me: str) -> dict[str, Any]:
        """What an SDK sees of what is sealed."""
        return decrypt_json(self.first_key(document, me), document["encryptedSelf"])

    def pair(self, owner: str, delegate: str) -> ClassicPair:
        """{owner, delegate}, minted now if there is none."""
        key = next(self.exchange_keys(owner, delegate, owner), None)
        if key is None:
            key = system_entropy(32)
            self.mint(owner, delegate, key)
        return ClassicPair(owner, delegate, key)

    def mint(self, owner: str, delegate: str, key: bytes) -> None:
        parties = self.party(owner), self.party(delegate)
        self.docs[owner] = with_exchange_key(self.docs[owner], *parties, key, system_entropy)

    def open(self, doc_id: str, me: str) -> Opened:
        return open_document(doc_id, self.docs[doc_id], me, self.keys_of(me))

    def edit(self, doc_id: str, me: str, record: dict[str, Any]) -> None:
        opened = self.open(doc_id, me)
        self.docs[doc_id] = edit_document(
            self.docs[doc_id], opened, record, me=me, keys=self.keys_of(me), entropy=system_entropy
        )

    def share(self, doc_id: str, owner: str, delegate: str) -> None:
        opened, pair = self.open(doc_id, owner), self.pair(owner, delegate)
        self.docs[doc_id] = share_document(self.docs[doc_id], opened, pair, system_entropy)
