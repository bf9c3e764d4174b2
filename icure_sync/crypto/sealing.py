"""Seal and open records in suite `sealed-1`: create, open, edit, share.

Owns the layout of a sealed document (FORMAT.md). Knows bodies as plain values: what is in them is the business of
`merge.registers`. A document is the JSON object without `_` members; its id and revision id stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical, canonical_set, check_canonical, pack, unpack
from icure_sync.crypto.access import MAPS, SUITE, Statement, Subject, grant, union, with_entries
from icure_sync.crypto.chain import Wrapper, malformed, sealing_keys, unwrap_chain
from icure_sync.crypto.envelope import (
    KEY_BYTES,
    SALT_BYTES,
    check_padding,
    from_text,
    joint_key,
    kid,
    open_envelope,
    pad,
    seal,
    to_text,
)
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.layout import check_layout
from icure_sync.crypto.primitives import Entropy, SymmetricKey
from icure_sync.crypto.revision import written
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, HcpId, Kid, Rev

SECRET_ID_BYTES = 16

MEMBERS = frozenset(
    {
        *("type", "cryptoSuite", "creator", "parents", "merged", "access", *MAPS, "secretForeignKeys", "sealedWith"),
        *("files", "encryptedSelf", "written", "retired", "erased", "notice"),
    }
)  # what a clear field may not be called


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """One revision of one record, as it is stored.

    `leaves`: of one that is a merge, and not stored: what the next revision is made from in its place.
    """

    id: DocId
    rev: Rev
    document: Mapping[str, Any]
    leaves: tuple[Rev, ...] = ()

    @property
    def parents(self) -> list[Rev]:
        """Of the next revision."""
        return canonical_set(self.leaves or [self.rev])


@dataclass(frozen=True, slots=True, repr=False)
class Link:
    """To one parent: its secret id, shown in `secretForeignKeys`, and its id, hidden in `cryptedForeignKeys`."""

    secret_id: str
    parent_id: DocId


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """What a new record is made of. `clear`: fields that everyone may read; `files`: of its CouchDB attachments."""

    subject: Subject
    secret_id: str
    body: Mapping[str, Any]
    links: Sequence[Link] = ()
    clear: Mapping[str, Any] | None = None
    files: Mapping[str, Any] | None = None


def create(draft: Draft, keyring: Keyring, entropy: Entropy) -> Sealed:
    """The first revision of a record, which its creator alone can open."""
    subject = draft.subject
    content_key = SymmetricKey(entropy(KEY_BYTES))
    name = kid(content_key)
    wrapper = Wrapper(subject, keyring.towards(subject.by), entropy)
    document = {
        **checked_clear(draft.clear),
        "type": subject.type,
        "cryptoSuite": SUITE,
        "creator": subject.creator,
        "parents": [],
        "merged": [],
        "access": [],
        **wrapper.access_maps({name: content_key}, [draft.secret_id], {link.parent_id for link in draft.links}),
        "secretForeignKeys": canonical_set(link.secret_id for link in draft.links),
        "sealedWith": [name],
        "encryptedSelf": seal_body(subject, [(name, content_key)], draft.body, entropy(SALT_BYTES)),
    }
    if draft.files:
        document["files"] = draft.files
    return signed(subject, document, keyring)


def open_body(subject: Subject, document: Mapping[str, Any], keyring: Keyring) -> dict[str, Any]:
    """The sealed body. Raises NoAccess, Tampered. Signatures are not looked at here: see `trust`."""
    return _open_body(subject, document, keyring)[0]


def check_body(subject: Subject, document: Mapping[str, Any], keyring: Keyring) -> dict[str, Any]:
    """The sealed body, its bytes in canonical form. Raises NoAccess, Tampered, InvalidEntity."""
    body, padded, length = _open_body(subject, document, keyring)
    check_canonical(padded, length, body)
    return body


def edit(
    sealed: Sealed,
    body: Mapping[str, Any],
    keyring: Keyring,
    entropy: Entropy,
    *,
    clear: Mapping[str, Any] | None = None,
) -> Sealed:
    """The next revision, with another body under the same content key. Raises NoAccess, Tampered."""
    subject = Subject.of(sealed.id, sealed.document)
    keys = sealing_keys(subject, sealed.document, keyring)
    changed = {
        **sealed.document,
        **checked_clear(clear),
        "parents": sealed.parents,
        "encryptedSelf": seal_body(subject, keys, body, entropy(SALT_BYTES)),
    }
    return signed(subject, changed, keyring)


def share(
    sealed: Sealed, delegate: HcpId, keyring: Keyring, entropy: Entropy, *, known: Iterable[Statement] = ()
) -> Sealed:
    """The next revision, which `delegate` can open too: a grant, and its entries in each access map. The body stays.

    `known`: statements remembered for this record beyond those that it carries. Raises NoAccess, Tampered.
    """
    document = sealed.document
    subject = Subject.of(sealed.id, document)
    check_layout(sealed.id, document)
    chain = unwrap_chain(subject, document, keyring)
    statements = union(document["access"], known)
    granted = grant(subject, delegate, statements, keyring.identity)
    sealing = {Kid(name): chain.content_keys[Kid(name)] for name in document["sealedWith"]}
    wrapper = Wrapper(subject, keyring.towards(delegate), entropy)
    additions = wrapper.access_maps(sealing, chain.secret_ids, chain.foreign_keys)
    changed = {
        **document,
        **{name: with_entries(document[name], entries.get(delegate, ())) for name, entries in additions.items()},
        "parents": sealed.parents,
        "access": union(statements, [granted]),
    }
    return signed(subject, changed, keyring)


def clear_members(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that stand in clear."""
    return {name: value for name, value in document.items() if name not in MEMBERS}


def checked_clear(clear: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Fields that may stand in clear beside what a document has. Raises InvalidEntity."""
    for name in clear or {}:
        if name in MEMBERS or name.startswith("_"):
            raise InvalidEntity("write a record", f"the clear field {name} has a reserved name", "seal that field")
    return clear or {}


def seal_body(subject: Subject, keys: Sequence[tuple[Kid, SymmetricKey]], body: Mapping[str, Any], salt: bytes) -> str:
    """`encryptedSelf`: one envelope over the padded canonical body."""
    names = canonical_set(name for name, _ in keys)
    return to_text(seal(joint_key(keys), pad(canonical(body)), body_data(subject, names), salt))


def body_data(subject: Subject, sealed_with: Sequence[str]) -> bytes:
    """Associated data of a body."""
    return pack(["icure-sync/body/1", SUITE, subject.type, subject.id, subject.creator, sealed_with])


def _open_body(subject: Subject, document: Mapping[str, Any], keyring: Keyring) -> tuple[dict[str, Any], bytes, int]:
    """The body, and the padded bytes that hold it with the length that it takes there."""
    key = joint_key(sealing_keys(subject, document, keyring))
    data = body_data(subject, document["sealedWith"])
    padded = open_envelope(key, from_text(document.get("encryptedSelf")), data)
    try:
        body, length = unpack(padded)
    except InvalidEntity as error:
        raise malformed(subject.id, "its body is not msgpack") from error
    check_padding(padded, length)
    if not isinstance(body, dict):
        raise malformed(subject.id, "its body is not a map")
    return body, padded, length


def signed(subject: Subject, document: Mapping[str, Any], keyring: Keyring) -> Sealed:
    """The document as a revision of this Hcp's."""
    unsigned = {name: value for name, value in document.items() if name != "written"}
    rev, document = written(subject.id, unsigned, keyring.identity)
    return Sealed(subject.id, rev, document)
