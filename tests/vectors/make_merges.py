"""The part of `sealed-1.json` that is about merging: joins of stamped bodies, merges of records, and what ends leaves.

One contact of A, which A shares with B and with C on two devices that had not seen each other. Everything else is
written over the merge of these two revisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icure_sync.canonical import canonical, canonical_set
from icure_sync.crypto import merging, rekeying
from icure_sync.crypto.access import Statement, Subject, parties, revocation, union
from icure_sync.crypto.sealing import Draft, Link, Sealed, clear_members, create, edit, open_body, share
from icure_sync.ids import DocId, HcpId
from icure_sync.merge import joining, registers
from icure_sync.merge.registers import Author, Body, Path
from tests.keys import A, B, C, identity, keyring, seeded
from tests.vectors.make_records import LAPTOP, PHONE, SURVIVOR, shown_of
from tests.vectors.make_refused import rewritten

DESK = Author("d4" * 8, A, "desk", 1_735_700_000_000)
TABLET = Author("c3" * 8, C, "tablet", 1_735_696_800_000)
PATIENT, OTHER_PATIENT = ("5e" * 16, DocId("aa" * 16)), ("5f" * 16, DocId("bb" * 16))  # secret id, id
SECRET_ID = "c0" * 16
FIRST: dict[Path, Any] = {
    registers.SECRET_ID: SECRET_ID,
    **registers.flatten(
        {"descr": "visit", "openingDate": 20250101, "services": [{"id": "s1", "value": 1}, {"id": "s2", "value": 2}]},
        ("services",),
    ),
    registers.link(PATIENT[0]): {"type": "Patient", "id": PATIENT[1]},
}


# Joins


def joins() -> list[dict[str, Any]]:
    """Bodies in, their join and what it shows out."""
    base = registers.write(None, {**FIRST, ("note",): "n"}, LAPTOP)
    laptop = registers.write(base, {("descr",): "laptop", ("services", "s1"): {"id": "s1", "value": 1.5}}, LAPTOP)
    phone = registers.write(base, {("descr",): "phone", ("note",): None}, PHONE)
    tablet = registers.write(
        base, {("services", "s3"): {"id": "s3"}, ("order", "services"): ["s3", "s1", "s2"]}, TABLET
    )
    removed = registers.write(base, {("services", "s2"): None, ("order", "services"): ["s1"]}, PHONE)
    deleted = registers.write(base, registers.deletion(base), PHONE)
    restored = registers.write(deleted, registers.restoring(), PHONE)
    deleted_again = registers.write(deleted, registers.deletion(deleted), TABLET)
    renewed = registers.write(base, {registers.SECRET_ID: "c1" * 16}, LAPTOP)
    settled = registers.write(joining.join([laptop, phone]), {("descr",): "both"}, DESK)
    forged = {**phone, "fields": [_forged(path, siblings) for path, siblings in phone["fields"]]}
    late = {**base, "writers": {LAPTOP.writer: [A, "renamed", LAPTOP.time + 1]}}
    cases: list[tuple[str, list[Body]]] = [
        ("one body is its own join", [base]),
        ("different registers, and two siblings in one", [laptop, phone]),
        ("three bodies at once", [laptop, phone, tablet]),
        ("what one of them had seen is replaced", [laptop, phone, settled]),
        ("a record of a list is removed, another one is put into the list", [removed, tablet]),
        ("one stamp with two values keeps both", [phone, forged]),
        ("an edit that the deleter had not seen keeps the record", [deleted, laptop]),
        ("a deletion that saw everything stays", [deleted, base]),
        ("a restoring that the other deleter had not seen", [restored, deleted_again]),
        ("two deletions", [deleted_again, registers.write(base, registers.deletion(base), LAPTOP)]),
        ("a new secret id that the deleter had not seen is no edit", [deleted, renewed]),
        ("of who wrote when, the latest line", [late, base]),
        ("an edit that survived a deletion, and more", [SURVIVOR, registers.write(SURVIVOR, {("x",): 1}, PHONE)]),
    ]
    return [{"why": why, "bodies": bodies, **shown_of(joining.join(bodies))} for why, bodies in cases]


def _forged(path: list[str], siblings: list[Any]) -> list[Any]:
    return [path, [[PHONE.writer, 2, "forged"]] if path == ["descr"] else siblings]


# Records


def merge(by: HcpId, leaves: Sequence[Sealed], known: Iterable[Statement] = ()) -> merging.Merged:
    """As reading does it: leaves whose writers are out take no part, but what they state counts."""
    subject = Subject.of(leaves[0].id, leaves[0].document)
    statements = union(known, *(leaf.document["access"] for leaf in leaves))
    inside = parties(subject, statements)
    taken = [leaf for leaf in leaves if leaf.document["written"]["by"] in inside]
    bodies = {leaf.rev: body_of(leaf, by) for leaf in taken}
    body = joining.join(list(bodies.values()))
    shown = registers.read(body)
    shows = [(registers.read(bodies[leaf.rev]).record, clear_members(leaf.document)) for leaf in taken]
    clear = {
        name: value
        for name, value in shown.record.items()
        if any(name in stated for _, stated in shows) and all(name in stated for each, stated in shows if name in each)
    }
    whole = {rev for rev, each in bodies.items() if joining.covers(each, body)}
    return merging.merge(taken, merging.Joined(body, clear, [*shown.links], whole), keyring(by), statements)


def body_of(sealed: Sealed, reader: HcpId = A) -> dict[str, Any]:
    return open_body(Subject.of(sealed.id, sealed.document), sealed.document, keyring(reader))


def edited(sealed: Sealed, author: Author, changed: Mapping[Path, Any], **clear: Any) -> Sealed:
    by = HcpId(author.hcp)
    after = registers.write(body_of(sealed, by), changed, author)
    return edit(sealed, after, keyring(by), seeded(f"{sealed.rev} {author.writer}"), clear=clear)


def revoke(sealed: Sealed, delegate: HcpId, author: Author) -> rekeying.Rekeyed:
    """By A."""
    entropy = seeded(f"revoke {delegate} {sealed.rev} {author.writer}")
    access = rekeying.revoked(sealed, delegate, identity(A), entropy)
    secret_id = entropy(16).hex()
    body = body_of(sealed)
    after = registers.write(body, {registers.SECRET_ID: secret_id}, author)
    if registers.is_deleted(body):
        after = registers.write(after, registers.deletion(after), author)
    return rekeying.rekey(sealed, rekeying.Change(after, access, secret_id=secret_id), keyring(A), entropy)


def over(merged: merging.Merged, leaves: Sequence[Sealed]) -> Sealed:
    """The merge as an ordinary write finds it: shown, not stored."""
    return Sealed(merged.sealed.id, merged.sealed.rev, merged.sealed.document, tuple(leaf.rev for leaf in leaves))


def rekeyed(merged: Sealed, changed: Mapping[Path, Any]) -> rekeying.Rekeyed:
    """By A, who writes over it under a new content key."""
    after = registers.write(body_of(merged), changed, DESK)
    change = rekeying.Change(after, merged.document["access"], {"openingDate": 20250101})
    return rekeying.rekey(merged, change, keyring(A), seeded(f"rekey {merged.rev}"))


def revisions() -> dict[str, Sealed]:
    """Leaves, and the merges that are leaves themselves; each with the name that the cases call it by."""
    subject = Subject.create("Contact", identity(A), seeded("merged contact"))
    files = {"content": {"length": 21, "sha256": "ab" * 32}}
    draft = Draft(
        subject,
        SECRET_ID,
        registers.write(None, FIRST, LAPTOP),
        [Link(*PATIENT)],
        {"openingDate": 20250101},
        files,
    )
    created = create(draft, keyring(A), seeded("merged contact created"))
    with_b, with_c = (share(created, each, keyring(A), seeded(f"with {each}")) for each in (B, C))
    base = merge(A, [with_b, with_c]).sealed
    found = {"created": created, "withB": with_b, "withC": with_c, "base": base}
    link = {registers.link(OTHER_PATIENT[0]): {"type": "Patient", "id": OTHER_PATIENT[1]}}
    found["laptop"] = edited(base, LAPTOP, {("descr",): "laptop", ("openingDate",): 20250102}, openingDate=20250102)
    unlinked = {registers.link(PATIENT[0]): None}
    found["phone"] = edited(base, PHONE, {("descr",): "phone", ("services", "s2"): None, **unlinked})
    found["tablet"] = edited(base, TABLET, {("order", "services"): ["s2", "s1"], **link})
    found["unclear"] = rewritten(found["phone"], B, openingDate=...)
    old = canonical_set(f"{number}-{number:032x}" for number in range(2, 66))
    found["crowded"] = rewritten(found["laptop"], A, merged=old)
    found["deleted"] = edited(base, LAPTOP, registers.deletion(body_of(base)))
    found["twoByA"] = merge(A, [found["laptop"], found["phone"]]).sealed
    found["twoByB"] = merge(B, [found["laptop"], found["phone"]]).sealed
    found["endC"] = revoke(base, C, LAPTOP).sealed
    found["endCToo"] = revoke(base, C, DESK).sealed
    found["endB"] = revoke(base, B, DESK).sealed
    found["joint"] = merge(A, [found["endC"], found["endB"]]).sealed
    found["jointToo"] = merge(A, [found["endCToo"], found["endB"]]).sealed
    found["shareOnC"] = share(with_b, C, keyring(A), seeded("crosses"))
    found["endBEarly"] = revoke(with_b, B, DESK).sealed
    found["crossed"] = merge(A, [found["shareOnC"], found["endBEarly"]]).sealed
    return found


CASES: list[tuple[str, HcpId, list[str], bool]] = [
    ("two shares: the ciphertext is kept", A, ["withB", "withC"], False),
    ("two edits", A, ["laptop", "phone"], False),
    ("the same by another Hcp: equal but for who wrote it, and his signature", B, ["laptop", "phone"], False),
    ("three edits by three Hcps: a link ended, another one made", C, ["laptop", "phone", "tablet"], False),
    ("a merge and a leaf that it had not taken in", A, ["twoByB", "tablet"], False),
    ("a merge that is a leaf by itself", B, ["twoByA"], False),
    ("a leaf that is the merge's state: an older one adds nothing", B, ["twoByA", "laptop"], False),
    ("merges by two Hcps are in one state: the highest stays", C, ["twoByA", "twoByB"], False),
    ("a field that one leaf does not show in clear is sealed", A, ["laptop", "unclear"], False),
    ("more retired leaves than are remembered", A, ["crowded", "phone"], False),
    ("a deletion and an edit that it had not seen", B, ["deleted", "phone"], False),
    ("a revocation and an edit by somebody who stays: the new key, and a notice", B, ["endC", "phone"], False),
    ("a revocation and an edit by the one who is out: his leaf takes no part", A, ["endC", "phone", "tablet"], False),
    ("one leaf is left of those, and stays", B, ["endC", "tablet"], False),
    ("two revocations of one: the lower key", B, ["endC", "endCToo"], False),
    ("two revocations: each key is known to the other's delegate, so the joint key", A, ["endC", "endB"], False),
    ("a joint key and a key: all three", A, ["joint", "laptop"], False),
    (
        "a joint key and a part of it: the joint one, since it is not told who knows the part",
        A,
        ["joint", "endC"],
        False,
    ),
    ("who knows one key of several joint ones may know the next", A, ["joint", "jointToo", "endC"], False),
    ("a share that crosses a revocation", A, ["shareOnC", "endBEarly"], False),
    ("no key is left: nothing may be written under those there are", A, ["laptop", "phone"], True),
]


ENDS = [
    ("a parent", "twoByA", "laptop"),
    ("the parent that it extends", "twoByA", "phone"),
    ("a leaf that was ended before", "twoByA", "withB"),
    ("a leaf that it knows nothing of", "twoByA", "tablet"),
    ("a leaf in the same state, by another Hcp", "twoByA", "twoByB"),
    ("a revision that it descends from, but does not list", "laptop", "created"),
    ("a leaf whose writer is out by what it states: it made up for nothing there", "endC", "tablet"),
    ("a parent of which it does not say whom it put out", "silent", "endC"),
]


def _took_in(leaf: Sealed, ended: Sealed) -> bool:
    """Whether the retirement of `ended` counts where this leaf is."""
    document = leaf.document
    if ended.rev in document["parents"] or ended.rev in document["merged"]:
        carried = len(union(document["access"], ended.document["access"])) == len(document["access"])
        if carried:
            return True
    both = merge(A, [leaf, ended])
    return both.same == leaf.rev and ended.rev in both.sealed.document["parents"]


def merges() -> dict[str, Any]:
    """Revisions by name, their merges, and the tombstones that go with them."""
    found = revisions()
    subject = Subject.of(found["base"].id, found["base"].document)
    end_c = revocation(subject, C, identity(A), seeded("remembered"))
    hidden = rewritten(found["joint"], A, access=found["endB"].document["access"])
    found["silent"] = hidden  # it says nothing of the revocation that one of its parents states
    return {
        "id": subject.id,
        "documents": {name: {"rev": each.rev, "document": each.document} for name, each in found.items()},
        "cases": [
            _case(why, by, [found[name] for name in names], names, [end_c] if ends_c else [])
            for why, by, names, ends_c in CASES
        ],
        "retirements": [{"of": name, **_plain(merging.retirement(found[name]))} for name in ("phone", "endB")],
        "counting": [
            {"why": why, "leaf": leaf, "of": of, "counts": _took_in(found[leaf], found[of])} for why, leaf, of in ENDS
        ],
        "notices": [
            _notice("base", found["base"], found["endC"], [C]),
            _notice("endB", found["endB"], found["joint"], [B, C]),
        ],
        "writes": _writes(found, end_c),
    }


def _plain(sealed: Sealed) -> dict[str, Any]:
    return {"rev": sealed.rev, "document": sealed.document}


def _case(why: str, by: HcpId, leaves: list[Sealed], names: list[str], known: list[Statement]) -> dict[str, Any]:
    """Whoever merges the leaves makes this document: the revision id is that of all of it but the signature."""
    merged = merge(by, leaves, known)
    document = merged.sealed.document
    return {
        "why": why,
        "by": by,
        "leaves": names,
        "known": known,
        "rev": merged.sealed.rev,
        "signature": document["written"]["signature"],
        "parents": document["parents"],
        "merged": document["merged"],
        "sealedWith": document["sealedWith"],
        "body": canonical(body_of(merged.sealed, by)).hex(),
        "isSafe": merged.is_safe,
        "outs": sorted(merged.outs),
        "same": merged.same,
    }


def _notice(name: str, above: Sealed, written: Sealed, outs: Sequence[HcpId]) -> dict[str, Any]:
    return {"extended": name, "outs": outs, **_plain(merging.notice(above, written.document["access"], outs))}


def _writes(found: Mapping[str, Sealed], end_c: Statement) -> list[dict[str, Any]]:
    """Revoking, re-keying, access repair, and a hidden revision that is written again; each by A."""
    leaves = [found["laptop"], found["phone"]]
    unsafe = over(merge(A, leaves, [end_c]), leaves)
    crossed = found["crossed"]
    lacking = rekeying.lacking(crossed, keyring(A))
    content: dict[Path, Any] = {("descr",): "written after"}
    return [
        {"kind": "revoke", "of": ["base"], "known": [], **_written(revoke(found["base"], C, LAPTOP))},
        {"kind": "revoke", "of": ["deleted"], "known": [], **_written(revoke(found["deleted"], B, DESK))},
        {"kind": "rekey", "of": ["joint"], "known": [], **_written(rekeyed(found["joint"], content))},
        {"kind": "rekey", "of": ["laptop", "phone"], "known": [end_c], **_written(rekeyed(unsafe, content))},
        {
            "kind": "repair",
            "of": ["crossed"],
            "known": [],
            "outs": [],
            **_plain(rekeying.repair(crossed, lacking, keyring(A), seeded("repair"))),
        },
        {
            "kind": "again",
            "of": ["phone"],
            "known": [],
            "outs": [],
            **_plain(merging.again(found["phone"], keyring(A))),
        },
    ]


def _written(written: rekeying.Rekeyed) -> dict[str, Any]:
    return {"outs": sorted(written.outs), **_plain(written.sealed)}
