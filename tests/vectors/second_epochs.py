"""A second reading of the format, to check the published vectors: identities that follow each other.

Written from FORMAT.md alone; imports nothing of the package.
"""

from __future__ import annotations

import hashlib
from typing import Any

from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import eddsa

from tests.vectors.second_bytes import SUITE, C, b64, need, sha256, text
from tests.vectors.second_merges import merge_hcp, united, written
from tests.vectors.second_records import revision_id, signed, wrapped_keys


def carried_on(doc_id: str, leaves: list[dict[str, Any]], first: dict[str, Any], key: EccKey) -> dict[str, Any]:
    """What a device writes over these leaves, once it has the identity of which `first` is the first revision."""
    document = dict(merge_hcp(doc_id, leaves, key)["document"])
    now = first["document"]
    pairs = {(item["kid"], item["ended"]) for item in document["retiredKeys"]}
    previous = enumerate(now["identity"]["previous"], 1)
    lost = max((epoch for epoch, each in previous if each["ended"] == "compromised"), default=0)
    for name in ("publicKey", "signingKey", "identity"):
        document[name] = now[name]
    found = [*wrapped_keys(doc_id, document), *wrapped_keys(doc_id, now)]
    for member in ("hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures"):
        document[member] = {}
    for owner, delegate, name, ciphertexts, mark in sorted(found, key=lambda each: each[1:3]):
        hashed = [sha256(text(each)).hex() for each in ciphertexts]
        epochs, fingerprints = mark["epochs"], mark["fingerprints"]
        anew = signature(key, "hcp-key", owner, delegate, name, hashed, epochs, fingerprints)
        document["hcPartyKeys"].setdefault(delegate, []).extend(ciphertexts)
        document["hcPartyKeyIds"].setdefault(delegate, []).append(name)
        document["hcPartyKeySignatures"].setdefault(delegate, []).append({**mark, "signature": anew})
        if epochs[0] <= lost:
            pairs.add((name, "compromised"))
    items = [
        {"kid": name, "ended": how, "signature": signature(key, "retired-key", doc_id, name, how)}
        for name, how in pairs
    ]
    document["retiredKeys"] = united([items])
    return written(doc_id, document, doc_id, key)


def attested(doc_id: str, rev: str, document: dict[str, Any], key: bytes) -> list[bytes]:
    """The digests of an attestation that is signed with this key."""
    named = f"attestation-{document['hcp']}-{document['epoch']}-{document['number']}"
    need(doc_id == named and document["epoch"] > 1 and document["written"]["by"] == document["hcp"], "attestation")
    need(text(document["signingKey"]) == key and document["parents"] == [], "attestation")
    need(revision_id(doc_id, document) == rev, "revision id")
    signed(key, document["written"]["signature"], "written", SUITE, document["type"], doc_id, rev)
    block = text(document["digests"])
    found = [block[at : at + 16] for at in range(0, len(block), 16)]
    need(len(block) % 16 == 0 and found == sorted(set(found)) and found != [], "digests")
    return found


def digest(kind: str, *fields: Any) -> bytes:
    return sha256(C(f"icure-sync/{kind}/1", *fields))[:16]


def number(*parties: tuple[str, str, str, int]) -> str:
    """To be compared: of (Hcp id, publicKey, signingKey, epoch) of two parties."""
    halves = []
    for party in parties:
        stated = C("icure-sync/comparison/1", *party)
        found = hashlib.sha512(stated).digest()
        for _ in range(5_199):
            found = hashlib.sha512(found + stated).digest()
        halves.append([f"{int.from_bytes(found[at : at + 5], 'big') % 100_000:05}" for at in range(0, 30, 5)])
    return " ".join(group for half in sorted(halves) for group in half)


def signature(key: EccKey, kind: str, *fields: Any) -> str:
    return b64(eddsa.new(key, "rfc8032").sign(C(f"icure-sync/{kind}/1", *fields)))
