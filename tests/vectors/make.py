"""Makes `sealed-1.json`, the published vectors of the format, with this package's own code: `scripts/make_vectors`.

Nothing is drawn: keys and entropy are the fixed ones of `tests/keys.py`, so every run gives the same file. What must
be refused is in `tests/vectors/make_refused.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from icure_sync.canonical import authored, canonical
from icure_sync.crypto.access import Subject, digest, entry_digest, grant, parties, revocation
from icure_sync.crypto.chain import wrap_data
from icure_sync.crypto.envelope import joint_key, kid, merge_salt, pad, padded_length, seal
from icure_sync.crypto.files import CHUNK_BYTES, chunk_data, seal_file
from icure_sync.crypto.identity import Identity, signed_bytes
from icure_sync.crypto.primitives import SymmetricKey, lock_secret, sha256
from icure_sync.crypto.sealing import Sealed, body_data
from icure_sync.ids import Rev
from tests.keys import HCPS, A, B, C, hcp_key, identity, seeded
from tests.vectors.make_epochs import epochs
from tests.vectors.make_hcp_merges import hcp_merges
from tests.vectors.make_merges import joins, merges
from tests.vectors.make_records import bodies, describe, hcp_document, make_documents
from tests.vectors.make_refused import refused

FILE = Path(__file__).with_name("sealed-1.json")


def vectors() -> dict[str, Any]:
    """The whole file."""
    documents = make_documents()
    described = {name: describe(sealed) for name, sealed in documents.items()}
    of_hcp = hcp_merges()
    subject = Subject.of(documents["created"].id, documents["created"].document)
    return {
        "about": "sealed-1, version 1: see icure_sync/crypto/FORMAT.md. All keys here are published, so they are for "
        "tests only. Bytes are hex, unless the format itself has them as base64.",
        "parties": {hcp_id: party(identity(hcp_id)) for hcp_id in HCPS},
        "hcpKeys": [
            {"owner": one, "delegate": other, "key": hcp_key(one, other).key.hex(), "kid": hcp_key(one, other).kid}
            for one in HCPS
            for other in HCPS
            if one != other
        ],
        "canonical": canonical_bytes(),
        "padding": [{"length": length, "padded": padded_length(length)} for length in PADDED],
        "kids": [{"key": key.hex(), "kid": kid(key)} for key in KEYS],
        "jointKeys": joint_keys(),
        "envelopes": envelopes(),
        "mergeSalts": merge_salts(subject),
        "signatures": signatures(subject),
        "access": access(subject),
        "associated": associated(subject, documents["shared"]),
        "bodies": bodies(),
        "joins": joins(),
        "documents": described,
        "merges": merges(),
        "hcpDocuments": {hcp_id: hcp_document(identity(hcp_id)) for hcp_id in HCPS},
        "hcpMerges": of_hcp,
        "epochs": epochs(of_hcp, documents),
        "files": files(subject),
        "locked": locked(),
        "refused": refused(documents),
    }


KEYS = [SymmetricKey(bytes(32)), SymmetricKey(bytes(range(32))), SymmetricKey(b"\xff" * 32)]
PADDED = [*range(20), 31, 32, 33, 100, 255, 256, 257, 1000, 1024, 1025, 4095, 65535, 65537, 10**6, 2**23 + 1]
CANONICAL = [
    *("null", "true", "false", "0", "1", "127", "128", "255", "256", "65535", "65536", "4294967295", "4294967296"),
    *("9007199254740991", "9007199254740992", "-1", "-32", "-33", "-128", "-129", "-32768", "-32769", "-2147483648"),
    *("-2147483649", "-9007199254740992", "-0.0", "2.0", "-3.0", "0.5", "-0.1", "1e-7", "1e15", "9007199254740991.0"),
    *("9007199254740992.0", "9007199254740994.0", "1e17", "1.7976931348623157e308", "5e-324"),
    *('""', '"a"', r'"e\u0301"', r'"\u00e9"', r'"\ud83e\ude7a"', '"0123456789abcdef0123456789abcdef"'),
    *("[]", "{}", "[1,[2,[3]]]", '{"b":1,"a":2}', '[{"x":[null,true]},1.5]'),
    r'{"\uffff":1,"\ud800\udc00":2,"z":3,"":4,"\u00e9":5}',
]
AUTHORED = ['"e\\u0301"', '{"e\\u0301":"A\\u030a"}', "[2.0,-0.0,1e2]", '"\\ufb01"', '"\\u2126"']
NOT_CANONICAL = ["9007199254740993", "-9007199254740993", "1e999", "NaN", '"\\ud800"', '{"\\udc00":1}']
NOT_AUTHORED = ['{"e\\u0301":1,"\\u00e9":2}']


def party(one: Identity) -> dict[str, str]:
    return {
        "partyKey": one.party_key.pkcs8().hex(),
        "publicKey": one.party_key.public.spki.hex(),
        "fingerprint": one.fingerprint,
        "signingSeed": one.signing_key.seed().hex(),
        "signingKey": one.signing_key.public.hex(),
        "selfKey": one.self_key.hex(),
        "selfKid": kid(one.self_key),
    }


def canonical_bytes() -> dict[str, Any]:
    long = ['"' + "a" * length + '"' for length in (31, 256, 65536)] + ["[" + ",".join("0" * 16) + "]"]
    return {
        "values": [{"json": text, "bytes": canonical(json.loads(text)).hex()} for text in CANONICAL],
        "hashed": [{"json": text, "sha256": sha256(canonical(json.loads(text))).hex()} for text in long],
        "authored": [{"json": text, "bytes": canonical(authored(json.loads(text))).hex()} for text in AUTHORED],
        "refused": NOT_CANONICAL,
        "refusedWhenAuthored": NOT_AUTHORED,
    }


def joint_keys() -> list[dict[str, Any]]:
    return [
        {"keys": [key.hex() for key in keys], "joint": joint_key([(kid(key), key) for key in keys]).hex()}
        for keys in (KEYS[:1], KEYS[:2], KEYS, KEYS[::-1])
    ]


def envelopes() -> list[dict[str, str]]:
    cases = [
        (KEYS[0], bytes(24), b"", b""),
        (KEYS[1], bytes(range(24)), b"", b"a plaintext"),
        (KEYS[1], b"\xff" * 24, canonical(["icure-sync/test/1"]), bytes(100)),
    ]
    return [
        {
            "key": key.hex(),
            "salt": salt.hex(),
            "associated": data.hex(),
            "plaintext": plaintext.hex(),
            "envelope": seal(key, plaintext, data, salt).hex(),
        }
        for key, salt, data, plaintext in cases
    ]


def merge_salts(subject: Subject) -> list[dict[str, Any]]:
    data = body_data(subject, [kid(KEYS[1])])
    plaintext = pad(canonical({"context": {}, "fields": [], "writers": {}}))
    leaves = [Rev(f"{number}-{number:032x}") for number in (12, 9, 9 + 16, 3)]
    return [
        {
            "key": KEYS[1].hex(),
            "leaves": some,
            "associated": data.hex(),
            "padded": plaintext.hex(),
            "salt": merge_salt(KEYS[1], some, data, plaintext).hex(),
        }
        for some in (leaves, leaves[::-1], leaves[:1])
    ]


def signatures(subject: Subject) -> list[dict[str, Any]]:
    head = ["sealed-1", subject.type, subject.id]
    grant_to_b = grant(subject, B, [], identity(A))
    cases: list[tuple[str, list[Any]]] = [
        ("creator", [*head, subject.by, subject.nonce]),
        ("grant", [*head, subject.by, B, A, "", []]),
        ("grant", [*head, subject.by, C, A, digest(grant_to_b), ["0" * 64, "f" * 64]]),
        ("revocation", [*head, subject.by, B, A, "0" * 32]),
        ("written", [*head, f"1-{'0' * 32}"]),
        ("identity", [A, "cHVibGlj", "c2lnbmluZw==", 1, []]),
        ("hcp-key", [A, B, "0" * 32, ["0" * 64, "1" * 64], [1, 1], ["2" * 32, "3" * 32]]),
        ("endorsement", [A, "cHVibGlj", "c2lnbmluZw==", 2, [{"signingKey": "b2xk", "ended": "planned"}]]),
        ("retired-key", [A, "0" * 32, "planned"]),
    ]
    return [
        {
            "kind": kind,
            "fields": fields,
            "bytes": signed_bytes(kind, fields).hex(),
            "by": A,
            "signature": identity(A).sign(kind, *fields),
        }
        for kind, fields in cases
    ]


def access(subject: Subject) -> dict[str, Any]:
    """Statements of one record, and who has access by which of them."""
    to_b = grant(subject, B, [], identity(A))
    b_to_c = grant(subject, C, [to_b], identity(B))
    end_b = revocation(subject, B, identity(A), seeded("revocation of B"))
    again_b = grant(subject, B, [to_b, end_b], identity(A))
    b_to_c_again = grant(subject, C, [to_b, end_b, again_b], identity(B))
    b_ends_c = revocation(subject, C, identity(B), seeded("revocation of C"))
    c_ends_b = revocation(subject, B, identity(C), seeded("revocation by C"))
    statements = [to_b, b_to_c, end_b, again_b, b_to_c_again, b_ends_c, c_ends_b]
    cases: list[tuple[str, list[int]]] = [
        ("the creator alone", []),
        ("a grant", [0]),
        ("a grant on a grant", [0, 1]),
        ("a grant by someone without access", [1]),
        ("a concurrent revocation wins, and takes what was granted on", [0, 1, 2]),
        ("granting again does not bring back what the party had granted", [0, 1, 2, 3]),
        ("unless it grants anew", [0, 1, 2, 3, 4]),
        ("a delegate ends his own grant", [0, 1, 5]),
        ("a revocation counts although its author is out", [0, 1, 2, 3, 5]),
        ("which ends all his grants to that party that do not override it", [0, 2, 3, 4, 5]),
        ("nobody else's grant can be ended by a delegate", [0, 1, 6]),
    ]
    return {
        "subject": {"type": subject.type, "id": subject.id, "creator": subject.creator},
        "statements": [{"statement": statement, "digest": digest(statement)} for statement in statements],
        "cases": [
            {"why": why, "statements": which, "parties": sorted(parties(subject, [statements[each] for each in which]))}
            for why, which in cases
        ],
    }


def associated(subject: Subject, shared: Sealed) -> dict[str, Any]:
    entries = [
        (name, entry)
        for name in ("delegations", "cryptedForeignKeys", "encryptionKeys")
        for entry in shared.document[name].get(B, ())
    ]
    return {
        "type": subject.type,
        "id": subject.id,
        "creator": subject.creator,
        "wrap": [
            {
                "map": name,
                "entry": entry,
                "bytes": wrap_data(subject, name, entry).hex(),
                "entryDigest": entry_digest(name, entry),
            }
            for name, entry in entries
        ],
        "body": [
            {"sealedWith": names, "bytes": body_data(subject, names).hex()}
            for names in (["0" * 32], ["0" * 32, "1" * 32])
        ],
        "chunk": [
            {"index": index, "last": last, "bytes": chunk_data(subject, index, last=last).hex()}
            for index, last in ((0, True), (1, False), (128, True))
        ],
    }


def files(subject: Subject) -> list[dict[str, Any]]:
    """Content is `length` bytes that count up from 0 to 250 and begin again."""
    key = KEYS[1]
    made = []
    for length in (0, 5, CHUNK_BYTES, CHUNK_BYTES + 1):
        content = (bytes(range(251)) * (length // 251 + 1))[:length]
        sealed = b"".join(seal_file(subject, key, [content]))
        made.append({"key": key.hex(), "length": length, "sealedLength": len(sealed), "sha256": sha256(sealed).hex()})
    made[1]["sealed"] = b"".join(seal_file(subject, key, [bytes(range(5))])).hex()
    return made


def locked() -> dict[str, Any]:
    file = lock_secret(b"a secret", "pa\u0308ssphrase", "identity", seeded("locked"))
    return {
        "passphrases": ["pa\u0308ssphrase", "p\u00e4ssphrase"],
        "label": "identity",
        "secret": b"a secret".hex(),
        "file": file.decode(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n")
    sys.stdout.write(f"{FILE}: {FILE.stat().st_size} bytes\n")
