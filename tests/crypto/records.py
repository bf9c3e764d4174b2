"""A small set of records for tests: a patient of A, shared with B, and a contact linked to it."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from icure_sync.crypto.access import Subject, parties
from icure_sync.crypto.chain import Chain, unwrap_chain
from icure_sync.crypto.revision import written
from icure_sync.crypto.sealing import Draft, Link, Sealed, create, edit, open_body, share
from icure_sync.ids import HcpId
from tests.keys import A, B, identity, keyring, seeded

SECRET_ID, CONTACT_SECRET_ID = "11" * 16, "22" * 16
BODY = {"firstName": "John", "note": "a cough"}
CONTACT_BODY = {"descr": "first visit"}

ODD_TEXTS = st.text(max_size=4) | st.sampled_from(["0" * 32, "1-a", "\ud800"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just(A), inner, max_size=2),
    max_leaves=5,
)


@cache
def patient() -> Sealed:
    """Created by A, who alone can open it."""
    subject = Subject.create("Patient", identity(A), seeded("patient"))
    return create(Draft(subject, SECRET_ID, BODY), keyring(A), seeded("patient 1"))


@cache
def contact() -> Sealed:
    """Of that patient, created by A."""
    subject = Subject.create("Contact", identity(A), seeded("contact"))
    link = Link(SECRET_ID, patient().id)
    draft = Draft(subject, CONTACT_SECRET_ID, CONTACT_BODY, [link], {"openingDate": 20240102}, FILES)
    return create(draft, keyring(A), seeded("contact 1"))


FILES = {"content": {"length": 5, "sha256": "ab" * 32}}


@cache
def shared_patient() -> Sealed:
    """Shared by A with B."""
    return share(patient(), B, keyring(A), seeded("patient 2"))


@cache
def shared_contact() -> Sealed:
    """Shared by A with B."""
    return share(contact(), B, keyring(A), seeded("contact 2"))


@cache
def edited_patient() -> Sealed:
    """Shared with B, then edited by B."""
    return edit(shared_patient(), {**BODY, "note": "better"}, keyring(B), seeded("patient 3"))


def subject_of(sealed: Sealed) -> Subject:
    return Subject.of(sealed.id, sealed.document)


def inside(sealed: Sealed) -> frozenset[HcpId]:
    """Those with access."""
    return parties(subject_of(sealed), sealed.document["access"])


def opened(sealed: Sealed, reader: HcpId) -> dict[str, Any]:
    return open_body(subject_of(sealed), sealed.document, keyring(reader))


def unwrapped(sealed: Sealed, reader: HcpId) -> Chain:
    return unwrap_chain(subject_of(sealed), sealed.document, keyring(reader))


def altered(sealed: Sealed, **members: Any) -> Sealed:
    """With other members, but neither a fitting revision id nor a signature: what a server can do."""
    return Sealed(sealed.id, sealed.rev, {**sealed.document, **members})


def rewritten(sealed: Sealed, by: HcpId, **members: Any) -> Sealed:
    """With other members, the revision id and the signature that fit: what a party can do."""
    document = {name: value for name, value in {**sealed.document, **members}.items() if value is not ...}
    document.pop("written", None)
    rev, signed = written(sealed.id, document, identity(by))
    return Sealed(sealed.id, rev, signed)
