"""The part of `sealed-1.json` that is about records: stamped bodies, sealed documents, Hcp documents."""

from __future__ import annotations

from typing import Any

from icure_sync.canonical import canonical
from icure_sync.crypto.access import Subject, parties
from icure_sync.crypto.chain import sealing_keys, unwrap_chain
from icure_sync.crypto.hcp_keys import born, key_members, wrap
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.party import HCP_TYPE, Party, identity_members
from icure_sync.crypto.primitives import sha256
from icure_sync.crypto.revision import written
from icure_sync.crypto.sealing import Draft, Link, Sealed, create, edit, open_body, share
from icure_sync.ids import DocId
from icure_sync.merge import registers
from icure_sync.merge.registers import Author
from tests.keys import HCPS, A, B, hcp_key, identity, keyring, seeded

LAPTOP = Author("a1" * 8, A, "laptop", 1_735_689_600_000)
PHONE = Author("b2" * 8, B, "phone", 1_735_693_200_000)
SECRET_ID, CONTACT_SECRET_ID = "5e" * 16, "c0" * 16
LISTS = ("services",)


def bodies() -> list[dict[str, Any]]:
    """Writes one after the other, each on the body before it; and what each body shows."""
    record = {"firstName": "John", "services": [{"id": "s2", "value": 1}, {"id": "s1", "value": None}]}
    link = {registers.link("ab" * 16): {"type": "Patient", "id": "cd" * 16}}
    writes: list[tuple[Author, dict[registers.Path, Any]]] = [
        (LAPTOP, {registers.SECRET_ID: SECRET_ID, **registers.flatten(record, LISTS), **link}),
        (PHONE, {("firstName",): "Johnny", ("note",): "e\u0301"}),
        (LAPTOP, {("note",): None, ("services", "s2"): None, ("order", "services"): ["s1"]}),
        (PHONE, {registers.DELETED: {LAPTOP.writer: 3, PHONE.writer: 2}}),
        (LAPTOP, registers.restoring()),
    ]
    body: dict[str, Any] | None = None
    made = []
    for author, changed in writes:
        body = registers.write(body, changed, author)
        made.append({"author": author_of(author), "changes": changes_of(changed), **shown_of(body)})
    return [
        *made,
        {"author": None, "changes": None, **shown_of(CONFLICT)},
        {"author": None, "changes": None, **shown_of(SURVIVOR)},
        {"author": None, "changes": None, **shown_of(RENEWED)},
    ]


# Two writers that had not seen each other; one stamp with two values; a deletion that had not seen the second edit.
CONFLICT: dict[str, Any] = {
    "context": {LAPTOP.writer: 3, PHONE.writer: 3},
    "writers": {LAPTOP.writer: [A, "laptop", 1], PHONE.writer: [B, "phone", 2]},
    "fields": [
        [["firstName"], [[LAPTOP.writer, 2, "John"], [PHONE.writer, 2, "Johnny"]]],
        [["note"], [[LAPTOP.writer, 3, 1], [LAPTOP.writer, 3, True], [PHONE.writer, 3, None]]],
        [["secretId"], [[LAPTOP.writer, 1, SECRET_ID]]],
    ],
}
SURVIVOR: dict[str, Any] = {
    "context": {LAPTOP.writer: 2, PHONE.writer: 2},
    "writers": {},
    "fields": [
        [["deleted"], [[LAPTOP.writer, 2, {LAPTOP.writer: 1}]]],
        [["note"], [[PHONE.writer, 2, "typed meanwhile"]]],
        [["secretId"], [[LAPTOP.writer, 1, SECRET_ID]]],
    ],
}
RENEWED: dict[str, Any] = {  # a deletion that had not seen the second secret id, which nobody typed
    "context": {LAPTOP.writer: 2, PHONE.writer: 2},
    "writers": {},
    "fields": [
        [["deleted"], [[LAPTOP.writer, 2, {LAPTOP.writer: 1}]]],
        [["note"], [[LAPTOP.writer, 1, "typed before"]]],
        [["secretId"], [[PHONE.writer, 2, CONTACT_SECRET_ID]]],
    ],
}


def author_of(author: Author) -> dict[str, Any]:
    return {"writer": author.writer, "hcp": author.hcp, "device": author.device, "time": author.time}


def changes_of(changed: dict[registers.Path, Any]) -> list[Any]:
    return [[list(path), value] for path, value in changed.items()]


def shown_of(body: dict[str, Any]) -> dict[str, Any]:
    registers.check_body(body)
    shown = registers.read(body)
    return {
        "body": body,
        "bytes": canonical(body).hex(),
        "shown": {
            "record": shown.record,
            "links": shown.links,
            "deleted": shown.deleted,
            "alternatives": [[list(path), list(values)] for path, values in shown.alternatives.items()],
        },
    }


def make_documents() -> dict[str, Sealed]:
    """A patient created by A, edited by A, shared with B, edited by B; and a contact of it, shared with B."""
    patient = Subject.create("Patient", identity(A), seeded("patient"))
    contact = Subject.create("Contact", identity(A), seeded("contact"))
    first = registers.write(None, {registers.SECRET_ID: SECRET_ID, ("firstName",): "John"}, LAPTOP)
    created = create(Draft(patient, SECRET_ID, first), keyring(A), seeded("created"))
    second = registers.write(first, {("lastName",): "Keats", ("note",): "haemoptysis"}, LAPTOP)
    edited = edit(created, second, keyring(A), seeded("edited"))
    shared = share(edited, B, keyring(A), seeded("shared"))
    third = registers.write(second, {("note",): "better"}, PHONE)
    link = {registers.link(SECRET_ID): {"type": "Patient", "id": patient.id}}
    visit = registers.write(None, {registers.SECRET_ID: CONTACT_SECRET_ID, ("descr",): "first visit", **link}, LAPTOP)
    draft = Draft(
        contact,
        CONTACT_SECRET_ID,
        visit,
        [Link(SECRET_ID, patient.id)],
        {"openingDate": 20250101},
        {"content": {"length": 21, "sha256": sha256(b"").hex()}},
    )
    of_contact = create(draft, keyring(A), seeded("contact created"))
    return {
        "created": created,
        "edited": edited,
        "shared": shared,
        "editedByB": edit(shared, third, keyring(B), seeded("edited by B")),
        "contact": of_contact,
        "sharedContact": share(of_contact, B, keyring(A), seeded("contact shared")),
    }


def describe(sealed: Sealed) -> dict[str, Any]:
    """The document, and what its creator finds in it."""
    subject = Subject.of(sealed.id, sealed.document)
    chain = unwrap_chain(subject, sealed.document, keyring(A))
    body = open_body(subject, sealed.document, keyring(A))
    return {
        "id": sealed.id,
        "rev": sealed.rev,
        "document": sealed.document,
        "parties": sorted(parties(subject, sealed.document["access"])),
        "contentKeys": {name: key.hex() for name, key in sealing_keys(subject, sealed.document, keyring(A))},
        "secretIds": sorted(chain.secret_ids),
        "foreignKeys": sorted(chain.foreign_keys),
        "body": body,
        "record": registers.read(body).record,
    }


def hcp_document(one: Identity) -> dict[str, Any]:
    """With {XX}, and a key towards each other Hcp; A has two towards B."""
    wrapped = [born(one)]
    for other in HCPS:
        if other != one.hcp_id:
            public = Party.of(other, {"type": HCP_TYPE, **identity_members(identity(other))})
            wrapped.append(wrap(one, public, hcp_key(one.hcp_id, other), seeded(f"wrap {one.hcp_id} {other}")))
            if (one.hcp_id, other) == (A, B):
                wrapped.append(wrap(one, public, hcp_key(A, B, 1), seeded("wrap again")))
    stamps = registers.write(None, {("name",): one.name}, Author(one.birth.writer, one.hcp_id, "", 0))
    document = {
        "type": HCP_TYPE,
        "cryptoSuite": "sealed-1",
        "name": one.name,
        **stamps,
        "parents": [],
        "merged": [],
        **identity_members(one),
        **key_members(wrapped),
        "retiredKeys": [],
    }
    rev, signed = written(DocId(one.hcp_id), document, one)
    return {"id": one.hcp_id, "rev": rev, "document": signed}
