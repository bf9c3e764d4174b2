"""What is malformed ends in a typed error: in documents of every kind, in bytes and texts, in what a hub is asked.

Of records: tests/crypto/test_trust.py; of keys and locked files: tests/crypto/test_primitives.py; of whole databases:
test_junk.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.canonical import unpack
from icure_sync.crypto.attestations import attest, attested, attesting, digests_in
from icure_sync.crypto.devices import Count, DeviceHead, DeviceKeys, Told, head_document, head_id, open_told
from icure_sync.crypto.envelope import from_text, open_envelope
from icure_sync.crypto.glass import Glass, glass_id, glass_members, open_glass, opened_hcp
from icure_sync.crypto.hcp_keys import born, key_members, self_key, wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, Identity
from icure_sync.crypto.merging import ended_by, notice, retirement
from icure_sync.crypto.pairing_messages import letter_of, read_code
from icure_sync.crypto.party import HCP_TYPE, Party, identity_members
from icure_sync.crypto.primitives import RsaPrivateKey, RsaPublicKey, SymmetricKey
from icure_sync.crypto.publishing import holds, is_withdrawal, publish
from icure_sync.crypto.recovery import Recovery, open_recovery, recovery_id, recovery_members
from icure_sync.crypto.retirements import check_retired
from icure_sync.crypto.shares import Purpose, RecoverySecret, Share, Split
from icure_sync.crypto.signers import Signer
from icure_sync.errors import IcureSyncError
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.mango import compile_selector
from icure_sync.ids import HcpId
from tests.crypto.records import JSON_VALUES, patient, shared_patient
from tests.keys import A, B, C, identity, seeded, successor
from tests.places import places, with_value
from tests.trust.evil import EvilServer

Document = dict[str, Any]
SIGNER = Signer(identity(A).signing_key.public)
EXAMPLES = settings(max_examples=60)


@dataclass(frozen=True)
class Kind:
    """A kind of document that comes from a server, and all that reads it."""

    genuine: Document
    readers: tuple[Callable[[Document], object], ...]


def _head() -> Kind:
    device = "00112233445566ff"
    doc_id, told = head_id(device), Told("laptop", 1, ())
    keys, key = DeviceKeys.draw(seeded("device")), self_key(identity(A))
    rev, document = head_document(
        identity(A), device, keys, count=Count().then("x", "1-a"), told=told, key=key, above=None, entropy=seeded("s")
    )
    head = DeviceHead.of(doc_id, rev, document, ())
    return Kind(
        document,
        (
            lambda changed: DeviceHead.of(doc_id, rev, changed, ()),
            lambda changed: DeviceHead.of(doc_id, rev, changed, ()).registered(changed, SIGNER),
            lambda changed: open_told(head, {**document, "sealed": changed.get("sealed")}, key.key),
        ),
    )


def _recovery() -> Kind:
    secret = RecoverySecret.draw(Purpose.RECOVERY, seeded("recovery"))
    doc_id = recovery_id(secret)
    rev, document = publish(doc_id, recovery_members(secret, identity(A), 1, Split(2, 3), seeded("salt")), identity(A))
    return Kind(
        document,
        (
            lambda changed: Recovery.of(doc_id, changed),
            lambda changed: open_recovery(secret, doc_id, changed),
            lambda changed: holds(doc_id, rev, changed, SIGNER),
            is_withdrawal,
        ),
    )


def _glass() -> Kind:
    secret = RecoverySecret.draw(Purpose.GLASS, seeded("glass"))
    doc_id = glass_id(secret)
    emergency = Identity.from_private_key("glass-0123456789abcdef", identity(C).party_key.pkcs8())
    members = glass_members(
        secret,
        emergency,
        identity(A),
        self_key(identity(A)),
        patient="p1",
        made=1,
        split=Split(2, 3),
        entropy=seeded("salt"),
    )
    _, document = publish(doc_id, members, identity(A))
    return Kind(
        document,
        (
            lambda changed: Glass.of(doc_id, changed),
            lambda changed: Glass.of(doc_id, changed).evidence_key(self_key(identity(A))),
            lambda changed: open_glass(secret, doc_id, changed),
            lambda changed: opened_hcp(doc_id, changed, A),
        ),
    )


def _attestation() -> Kind:
    now = successor(COMPROMISED)
    party = Party.of_identity(now)
    ((doc_id, rev, document),) = attest(now, [bytes(32)])
    signer = Signer.of(party.signing_key, party.previous)
    return Kind(
        document,
        (
            lambda changed: attesting(doc_id, changed),
            lambda changed: attesting(doc_id, changed) and digests_in(doc_id, changed),
            lambda changed: attesting(doc_id, changed) and attested(doc_id, rev, changed, signer),
        ),
    )


def _hcp() -> Kind:
    one = identity(A)
    document = {"type": HCP_TYPE, **identity_members(one), **key_members([born(one)]), "retiredKeys": []}
    party = Party.of_identity(one)
    return Kind(
        document,
        (
            lambda changed: Party.of(A, changed),
            lambda changed: [each.check_signature(party) for each in wrapped_keys(A, changed)],
            lambda changed: [each.unwrap(one) for each in wrapped_keys(A, changed) if each.check_signature(party)],
            lambda changed: check_retired(A, changed, party),
        ),
    )


def _tombstone() -> Kind:
    return Kind(dict(retirement(shared_patient()).document), (ended_by,))


def _notice() -> Kind:
    document = dict(notice(shared_patient(), shared_patient().document["access"], [HcpId(B)]).document)
    return Kind(document, (ended_by,))


KINDS = {
    made.__name__.strip("_"): made() for made in (_head, _recovery, _glass, _attestation, _hcp, _tombstone, _notice)
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@EXAMPLES
@given(data=st.data())
def test_any_value_anywhere_in_a_document_is_read_or_refused(kind: Kind, data: st.DataObject):
    place = data.draw(st.sampled_from([each for each in places(kind.genuine) if each]))
    changed = with_value(kind.genuine, place, data.draw(JSON_VALUES))
    for read in kind.readers:
        _refused_or_read(read, changed)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_document_without_one_of_its_members_is_read_or_refused(kind: Kind):
    for name in kind.genuine:
        for read in kind.readers:
            _refused_or_read(read, {other: value for other, value in kind.genuine.items() if other != name})


def _refused_or_read(read: Callable[[Any], object], value: Any) -> None:
    """Any other error leaves."""
    with suppress(IcureSyncError):
        read(value)


# Bytes and texts

LOCKED_SECRET = identity(A).secret()
SHARE = RecoverySecret.draw(Purpose.RECOVERY, seeded("shares")).shares(Split(2, 3))[0].text
CODE = RecoverySecret.draw(Purpose.RECOVERY, seeded("code")).code
LETTER = b'{"type":"Pairing","pairing":"x","step":"offer"}'
OF_BYTES: Mapping[str, tuple[bytes, Callable[[bytes], object]]] = {
    "msgpack": (b"\x83\xa1a\x01\xa1b\x92\xc3\xcb\x3f\xf8\0\0\0\0\0\0\xa1c\xc4\x02ab", unpack),
    "envelope": (bytes([1]) + bytes(120), lambda data: open_envelope(SymmetricKey(bytes(32)), data, b"")),
    "SPKI": (identity(A).party_key.public.spki, lambda data: RsaPublicKey(data).encrypt(b"x", seeded("oaep"))),
    "PKCS#8": (identity(A).party_key.pkcs8(), RsaPrivateKey),
    "identity": (LOCKED_SECRET, Identity.of_secret),
    "letter": (LETTER, letter_of),
    "sealed record": (json.dumps(dict(patient().document)).encode(), lambda data: from_text(data.decode("latin-1"))),
}
OF_TEXT: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "recovery code": (CODE, RecoverySecret.of_code),
    "share": (SHARE, Share.of_text),
    "pairing code": ("1234-5678", read_code),
    "base64": ("AAECAwQ=", from_text),
}


@st.composite
def mangled(draw: st.DrawFn, genuine: Any, alphabet: st.SearchStrategy[Any]) -> Any:
    """With a stretch of it cut out, repeated, or replaced, a few times; or something else altogether."""
    value = genuine if draw(st.integers(0, 9)) else draw(alphabet)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 40)))
        value = value[:start] + draw(st.one_of(alphabet, st.just(value[start:end] * 3))) + value[end:]
    return value


@pytest.mark.parametrize("name", OF_BYTES)
@EXAMPLES
@given(data=st.data())
def test_mangled_bytes_are_read_or_refused(name: str, data: st.DataObject):
    genuine, read = OF_BYTES[name]
    _refused_or_read(read, data.draw(mangled(genuine, st.binary(max_size=40))))


@pytest.mark.parametrize("name", OF_TEXT)
@EXAMPLES
@given(data=st.data())
def test_mangled_texts_are_read_or_refused(name: str, data: st.DataObject):
    genuine, read = OF_TEXT[name]
    _refused_or_read(read, data.draw(mangled(genuine, st.text(max_size=20))))


@pytest.mark.parametrize("levels", [10_000, 1_000_000])
@pytest.mark.parametrize(
    "opening", [b"\x91", b"\x81\xa1a", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_bytes_that_promise_more_than_there_is_take_neither_stack_nor_memory(opening: bytes, levels: int):
    with pytest.raises(IcureSyncError):
        unpack(opening * levels)


# What a hub is asked

OPERATORS = "and or not nor gt in all elemMatch regex size mod type exists eq ne beginsWith keyMapMatch allMatch text"
NAMES = st.sampled_from(["a", "a.b", "", "_id", "a..b", "$x", "$near", *("$" + each for each in OPERATORS.split())])
SELECTORS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(SELECTORS, JSON_VALUES)
def test_any_selector_is_refused_or_judges_any_document(selector: Any, value: Any):
    try:
        judge = compile_selector(selector)
    except HttpRefusal:
        return
    for document in ({"_id": "x", "a": value}, value if isinstance(value, dict) else {}):
        assert judge(document) in (True, False)


BODIES = {
    "_bulk_docs": {"docs": [{"_id": "a", "_rev": "1-a", "x": 1}], "new_edits": False},
    "_bulk_get": {"docs": [{"id": "a", "rev": "1-a"}]},
    "_revs_diff": {"a": ["1-a"]},
    "_missing_revs": {"a": ["1-a"]},
    "_find": {"selector": {"a": 1}, "fields": ["a"], "sort": [{"a": "asc"}], "limit": 1, "skip": 0, "bookmark": "nil"},
    "_index": {"index": {"fields": ["a"]}, "name": "x", "ddoc": "y", "type": "json"},
    "_all_docs": {"keys": ["a"]},
    "_changes?filter=_selector": {"selector": {"a": 1}},
    "_changes?filter=_doc_ids": {"doc_ids": ["a"]},
    "_purge": {"a": ["1-a"]},
    "_explain": {"selector": {"a": {"$gt": 1}}},
}
MULTIPART = (
    b'--bound\r\nContent-Type: application/json\r\n\r\n{"_attachments":{"f":{"follows":true,"length":3,'
    b'"content_type":"text/plain"}}}\r\n--bound\r\nContent-Encoding: gzip\r\n\r\nabc\r\n--bound--'
)


async def test_a_hub_answers_whatever_it_is_asked(evil: EvilServer):
    """Never by an error of its own."""
    chance = random.Random(1)
    for path, genuine in BODIES.items():
        for _ in range(15):
            changed: Any = genuine
            for _ in range(chance.randrange(1, 3)):
                place = chance.choice([each for each in places(changed) if each] or [()])
                changed = with_value(changed, place, value_of(chance))
            await asked(evil, "POST", "/" + path, json.dumps(changed).encode(), "application/json")
    for _ in range(60):
        start, length = chance.randrange(len(MULTIPART)), chance.randrange(30)
        body = MULTIPART[:start] + chance.randbytes(chance.choice([0, 3])) + MULTIPART[start + length :]
        await asked(evil, "PUT", f"/m{chance.randrange(10**9)}", body, "multipart/related; boundary=bound")


def value_of(chance: random.Random) -> Any:
    plain = ["", "1-a", "x" * 300, "\u0000", -1, 0, 2**70, 1e300, None, True, [], {}, [[]], {"$gt": None}, [{"a": []}]]
    return chance.choice(plain)


async def asked(evil: EvilServer, method: str, path: str, body: bytes, kind: str) -> None:
    async with evil._request(method, path, data=body, headers={"Content-Type": kind}) as answer:
        assert answer.status < 500, (path, body, await answer.text())
