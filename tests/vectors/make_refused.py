"""The part of `sealed-1.json` that must be refused, and by which step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.crypto.access import Subject, grant, revocation, union
from icure_sync.crypto.chain import Wrapper, sealing_keys
from icure_sync.crypto.envelope import joint_key, kid, pad, seal, to_text
from icure_sync.crypto.files import seal_file
from icure_sync.crypto.primitives import SymmetricKey, lock_secret, sha256
from icure_sync.crypto.revision import written
from icure_sync.crypto.sealing import Sealed, body_data
from icure_sync.ids import HcpId
from tests.keys import A, B, C, hcp_key, identity, keyring, seeded

KEY = SymmetricKey(bytes(range(32)))


def refused(documents: Mapping[str, Sealed]) -> dict[str, Any]:
    """Everything that a reader must not accept."""
    return {
        "base64": ["QQ", "QR==", "QQ==\n", " QQ==", "QQ==QQ==", "Q-Q=", "="],
        "json": ['{"a":1,"a":1}', '{"a":1,"\\u0061":1}', "NaN", "1e999", '"\\ud800"', "[" * 65 + "]" * 65, "[1,]"],
        "bodyBytes": [
            "cc05",
            "cb4000000000000000",
            "82a16201a16101",
            "82a16101a16101",
            "d90161",
            "ca3f000000",
            "c40161",
        ],
        "envelopes": envelopes(),
        "files": files(documents["created"]),
        "locked": locked(),
        "bodies": BODIES,
        "documents": [*altered(documents), *signed_by_parties(documents), *not_opened(documents)],
        "hcpDocuments": HCP_DOCUMENTS,
    }


def envelopes() -> list[dict[str, str]]:
    whole = seal(KEY, b"a plaintext", b"place", bytes(24))
    other = seal(KEY, b"another one", b"place", b"\x01" * 24)
    cases = [(f"one bit of byte {place}", flip(whole, place)) for place in (0, 1, 24, 25, 56, 57, 67, 68, 83)]
    cases += [
        ("cut", whole[:-1]),
        ("too short", whole[:72]),
        ("longer", whole + b"\x00"),
        ("the salt of another", whole[:1] + other[1:25] + whole[25:]),
        ("the ciphertext of another", whole[:57] + other[57:]),
        ("another key", seal(bytes(32), b"a plaintext", b"place", bytes(24))),
        ("another place", seal(KEY, b"a plaintext", b"elsewhere", bytes(24))),
    ]
    return [
        {"why": why, "key": KEY.hex(), "associated": b"place".hex(), "envelope": envelope.hex()}
        for why, envelope in cases
    ]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def files(record: Sealed) -> list[dict[str, str]]:
    subject = Subject.of(record.id, record.document)
    whole = b"".join(seal_file(subject, KEY, [b"12345"]))
    return [
        {"why": why, "key": KEY.hex(), "sealed": sealed.hex()}
        for why, sealed in (
            ("nothing", b""),
            ("cut", whole[:-1]),
            ("longer", whole + b"\x00"),
            ("altered", flip(whole, 0)),
        )
    ]


def locked() -> list[dict[str, str]]:
    head = json.loads(lock_secret(b"a secret", "passphrase", "identity", seeded("locked")))

    def file(**members: Any) -> str:
        changed = {**head, **members}
        fields = [changed[name] for name in ("label", "kdf", "n", "r", "p", "salt")]
        checksum = sha256(canonical(["icure-sync/lock/1", *fields]) + changed["locked"].encode()).hex()
        return json.dumps({**changed, "checksum": checksum})

    return [
        {"why": "a wrong passphrase", "as": "WrongPassphrase", "passphrase": "passphrases", "file": file()},
        {"why": "little work", "as": "WeakKey", "passphrase": "passphrase", "file": file(n=2**14)},
        {"why": "another label", "as": "StoreCorrupt", "passphrase": "passphrase", "file": file(label="database")},
        {
            "why": "another checksum",
            "as": "StoreCorrupt",
            "passphrase": "passphrase",
            "file": json.dumps({**head, "p": 2}),
        },
        {"why": "an impossible cost", "as": "StoreCorrupt", "passphrase": "passphrase", "file": file(n=2**17 + 2)},
        {"why": "no end of work", "as": "StoreCorrupt", "passphrase": "passphrase", "file": file(n=2**40)},
    ]


W = "a1" * 8
BODIES: list[dict[str, Any]] = [
    {"why": why, "body": {"context": {W: 2}, "writers": {}, "fields": fields}}
    for why, fields in (
        ("a stamp that the context has not seen", [[["a"], [[W, 3, 1]]]]),
        ("a writer that the context has not seen", [[["a"], [["b2" * 8, 1, 1]]]]),
        ("paths out of order", [[["b"], [[W, 1, 1]]], [["a"], [[W, 1, 1]]]]),
        ("siblings out of order", [[["a"], [[W, 2, 1], [W, 1, 1]]]]),
        ("one sibling twice", [[["a"], [[W, 1, 1], [W, 1, 1]]]]),
        ("no sibling", [[["a"], []]]),
        ("a path of three steps", [[["a", "b", "c"], [[W, 1, 1]]]]),
        ("an order of no list", [[["order"], [[W, 1, []]]]]),
        ("a deletion that holds no context", [[["deleted"], [[W, 1, True]]]]),
        ("a secret id that was removed", [[["secretId"], [[W, 1, None]]]]),
    )
]


def case(why: str, step: str, of: str, sealed: Sealed, base: Sealed, **further: Any) -> dict[str, Any]:
    """`set`: the members that differ from those of document `of`; `step`: who must notice."""
    changed = {name: value for name, value in sealed.document.items() if base.document.get(name) != value}
    missing = sorted(base.document.keys() - sealed.document.keys())
    return {
        "why": why,
        "step": step,
        "of": of,
        "id": sealed.id,
        "rev": sealed.rev,
        "set": changed,
        "remove": missing,
        **further,
    }


def with_members(base: Sealed, **members: Any) -> Sealed:
    document = {name: value for name, value in {**base.document, **members}.items() if value is not ...}
    return Sealed(base.id, base.rev, document)


def rewritten(base: Sealed, by: HcpId, **members: Any) -> Sealed:
    unsigned = with_members(base, **members, written=...).document
    rev, document = written(base.id, unsigned, identity(by))
    return Sealed(base.id, rev, document)


def altered(documents: Mapping[str, Sealed]) -> list[dict[str, Any]]:
    """What a server can do, without any key."""
    base, contact = documents["editedByB"], documents["sharedContact"]
    creator = base.document["creator"]
    mark = base.document["written"]
    inflated = f"99-{base.rev.split('-')[1]}"
    cases = [
        ("an old body", with_members(base, encryptedSelf=documents["edited"].document["encryptedSelf"])),
        ("statements stripped", with_members(base, access=[])),
        ("another entry added", with_members(base, delegations=contact.document["delegations"])),
        ("a clear field added", with_members(base, note="added")),
        ("a secret foreign key added", with_members(base, secretForeignKeys=["5e" * 16])),
        ("files added", with_members(base, files={"content": {"length": 1, "sha256": "0" * 64}})),
        ("another writer", with_members(base, written={**mark, "by": A})),
        ("no writer", with_members(base, written=...)),
        ("another suite", with_members(base, cryptoSuite="icure-classic")),
        ("another type", with_members(base, type="Contact")),
        ("another nonce", with_members(base, creator={**creator, "nonce": "0" * 32})),
        ("the creator of another record", with_members(base, creator=contact.document["creator"])),
        ("another revision id", Sealed(base.id, documents["shared"].rev, base.document)),
        ("a higher generation", Sealed(base.id, type(base.rev)(inflated), base.document)),
        ("another document id", Sealed(contact.id, base.rev, base.document)),
    ]
    found = [case(why, "verify", "editedByB", sealed, base) for why, sealed in cases]
    elsewhere = documents["created"].rev
    return [*found, case("another place in the tree", "verify", "editedByB", base, base, treeParent=elsewhere)]


def signed_by_parties(documents: Mapping[str, Sealed]) -> list[dict[str, Any]]:
    """What a party can do with its own signature: the revision id fits, and `written` holds."""
    base, contact = documents["editedByB"], documents["sharedContact"]
    subject = Subject.of(base.id, base.document)
    granted = base.document["access"]
    to_c = grant(subject, C, [], identity(A))
    end_b = revocation(subject, B, identity(A), seeded("end of B"))
    own = {"grant": C, "by": C, "from": "", "after": []}
    own["signature"] = identity(C).sign("grant", "sealed-1", subject.type, subject.id, A, C, C, "", [])
    forged = {**granted[0], "grant": C}
    replayed = grant(Subject.of(contact.id, contact.document), C, [], identity(A))
    cases = [
        ("a writer without access", rewritten(base, C)),
        ("a writer who grants himself access", rewritten(base, C, access=union(granted, [own]))),
        ("a grant that was altered", rewritten(base, C, access=union(granted, [forged]))),
        ("a grant of another document", rewritten(base, C, access=union(granted, [replayed]))),
        ("a statement with a further member", rewritten(base, A, access=[{**granted[0], "note": 1}])),
        ("statements out of order", rewritten(base, A, access=union(granted, [to_c])[::-1])),
        ("a statement twice", rewritten(base, A, access=granted * 2)),
        ("parents out of order", rewritten(base, A, parents=["2-b", "2-a"])),
        ("a parent twice", rewritten(base, A, parents=["2-a", "2-a"])),
        ("sixty-five retired leaves", rewritten(base, A, merged=[f"2-{number:02x}" for number in range(65)])),
        ("an entry for someone else", rewritten(base, A, delegations={C: base.document["delegations"][B]})),
        ("nothing that it is sealed with", rewritten(base, A, sealedWith=[])),
        ("no suite", rewritten(base, A, cryptoSuite=...)),
    ]
    found = [case(why, "verify", "editedByB", sealed, base) for why, sealed in cases]
    hidden = case("a statement that was hidden", "verify", "editedByB", base, base, displaced=[*granted, end_b])
    out = case("a writer who was put out", "verify", "editedByB", base, base, statements=[end_b])
    return [*found, hidden, out]


def not_opened(documents: Mapping[str, Sealed]) -> list[dict[str, Any]]:
    """What B, who has access, can seal and sign, and A must not take: these verify, and do not open."""
    base, contact = documents["editedByB"], documents["sharedContact"]
    subject = Subject.of(base.id, base.document)
    keys = sealing_keys(subject, base.document, keyring(B))
    data = body_data(subject, base.document["sealedWith"])

    def sealed(padded: bytes, associated: bytes = data) -> str:
        return to_text(seal(joint_key(keys), padded, associated, bytes(24)))

    wrapper = Wrapper(subject, hcp_key(B, A), seeded("not opened"))
    liar = wrapper.access_maps({kid(KEY): SymmetricKey(bytes(32))}, [], [])["encryptionKeys"]
    cases = [
        ("the body of another record", {"encryptedSelf": contact.document["encryptedSelf"]}),
        ("a body that was sealed for another type", {"encryptedSelf": sealed(pad(canonical({})), b"elsewhere")}),
        ("padding that is not zero", {"encryptedSelf": sealed(canonical({"a": "b" * 20}) + b"\x01")}),
        ("too much padding", {"encryptedSelf": sealed(canonical({}) + bytes(40))}),
        ("a body that is no map", {"encryptedSelf": sealed(pad(canonical([1, 2, 3])))}),
        ("a body whose keys are out of order", {"encryptedSelf": sealed(pad(b"\x82\xa1b\x01\xa1a\x01"))}),
        ("a body whose keys are there twice", {"encryptedSelf": sealed(pad(b"\x82\xa1a\x01\xa1a\x02"))}),
        ("a body that is no msgpack", {"encryptedSelf": sealed(b"\xc1")}),
        ("an envelope that is not base64", {"encryptedSelf": "%"}),
        ("a key that nobody has", {"sealedWith": ["0" * 32]}),
        ("a key that is not what its kid promises", {"encryptionKeys": liar, "sealedWith": [kid(KEY)]}),
    ]
    return [case(why, "open", "editedByB", rewritten(base, B, **members), base) for why, members in cases]


# Each with one member of the Hcp document of A exchanged for the one of B: what a server can do.
HCP_DOCUMENTS: list[dict[str, Any]] = [
    {"of": A, "with": B, "members": members}
    for members in (
        ["publicKey"],
        ["signingKey"],
        ["identity"],
        ["publicKey", "signingKey", "identity"],
        ["hcPartyKeys"],
        ["hcPartyKeyIds"],
        ["hcPartyKeySignatures"],
        ["hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures"],
        ["written"],
        ["name"],
    )
]
