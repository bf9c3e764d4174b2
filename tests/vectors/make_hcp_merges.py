"""The part of `sealed-1.json` that is about an Hcp document which devices of its Hcp wrote concurrently."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from icure_sync.crypto.hcp_keys import wrap
from icure_sync.crypto.identity import PLANNED
from icure_sync.crypto.party import HCP_TYPE, Party, identity_members
from icure_sync.crypto.revision import written
from icure_sync.engine import hcp_document
from icure_sync.engine.suite import Stored, Written
from icure_sync.ids import DocId
from icure_sync.merge import registers
from icure_sync.merge.registers import Author, Path
from tests.keys import A, B, C, hcp_key, identity, seeded
from tests.vectors.make_records import LAPTOP

DESK = Author("d4" * 8, A, "desk", 1_735_700_000_000)


def hcp_merges() -> dict[str, Any]:
    """Two keys {AB}, two names, a retirement; and what they come to."""
    one = identity(A)
    first = _stored(hcp_document.first(one))
    keyed, again, towards_c = (_with_key(first, to, number) for to, number in ((B, 0), (B, 1), (C, 0)))
    rewrapped = _with_key(first, B, 0, "again")
    named = _rewritten(keyed, {("name",): "Practice A, Bonn", ("specialty",): "lungs"}, LAPTOP)
    renamed = _rewritten(again, {("name",): "Doctor A"}, DESK, retiredKeys=[_retired(hcp_key(A, B, 1).kid)])
    foreign = _rewritten(towards_c, {}, None, note="of another version")
    merged = _merged([named, renamed])
    found = {
        "first": first,
        "keyed": keyed,
        "rewrapped": rewrapped,
        "named": named,
        "renamed": renamed,
        "foreign": foreign,
        "merged": merged,
    }
    cases = [
        ("two keys of a pair, two names", ["named", "renamed"]),
        ("one key with two pairs of ciphertexts", ["keyed", "rewrapped"]),
        ("three, one with a member that no version here knows", ["named", "renamed", "foreign"]),
        ("a merge, and a leaf that it took in", ["merged", "named"]),
        ("one leaf stays as it is", ["named"]),
    ]
    return {
        "id": A,
        "documents": {name: {"rev": each.rev, "document": each.document} for name, each in found.items()},
        "cases": [
            *(_case(why, [found[name] for name in names], names) for why, names in cases),
            _case("what was displaced by something that does not count", [named], ["named"], standing=()),
        ],
    }


def _case(
    why: str, revisions: list[Stored], names: list[str], standing: Collection[Stored] | None = None
) -> dict[str, Any]:
    """`rev`: of what is written, None if a leaf, `same`, is the merge already. `ends`: tombstones, by what they end."""
    leaves = revisions if standing is None else standing
    joined = hcp_document.join(identity(A), revisions, [leaf.rev for leaf in leaves])
    live = [each for each in joined.written or () if not each.deleted]
    ends = [end for each in joined.written or () for end in (each, *each.beside) if end.deleted]
    return {
        "why": why,
        "leaves": names,
        "standing": len(leaves) > 0,
        "rev": live[0].rev if live else None,
        "document": live[0].document if live else None,
        "same": None if live else joined.shown.rev,
        "ends": {end.document["parents"][0]: {"rev": end.rev, "document": end.document} for end in ends},
    }


def _merged(leaves: list[Stored]) -> Stored:
    joined = hcp_document.join(identity(A), leaves, [leaf.rev for leaf in leaves])
    return _stored(next(iter(joined.written or ())))


def _stored(each: Written) -> Stored:
    return Stored(each.id, each.rev, each.document)


def _with_key(above: Stored, to: str, number: int, how: str = "once") -> Stored:
    other = next(hcp_id for hcp_id in (B, C) if hcp_id == to)
    party = Party.of(other, {"type": HCP_TYPE, **identity_members(identity(other))})
    wrapped = wrap(identity(A), party, hcp_key(A, other, number), seeded(f"{how} {to} {number}"))
    return _stored(hcp_document.with_keys(identity(A), above, [wrapped]))


def _rewritten(above: Stored, changed: Mapping[Path, Any], author: Author | None, **members: Any) -> Stored:
    document = {**above.document, **members, "parents": [above.rev]}
    if author is not None:
        body = registers.write({name: document[name] for name in ("context", "writers", "fields")}, changed, author)
        document |= {**registers.read(body).record, **body}
    unsigned = {name: value for name, value in document.items() if name != "written"}
    rev, signed = written(DocId(A), unsigned, identity(A))
    return Stored(DocId(A), rev, signed)


def _retired(kid: str) -> dict[str, str]:
    return {"kid": kid, "ended": PLANNED, "signature": identity(A).sign("retired-key", A, kid, PLANNED)}
