"""The access list of a record: who has access, by whose grant, and who was put out, by whom.

Owns how statements are told to a person. Says what is proven, and apart from it what nobody can judge yet. Entries
carry keys and prove nothing: they count in `icure-classic` only, where there is nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from icure_sync.crypto.access import Statement, Subject, counting, endings
from icure_sync.engine.opening import Opened
from icure_sync.engine.stated import Stated
from icure_sync.ids import DocId, HcpId


@dataclass(frozen=True, slots=True)
class Granted:
    """One grant that counts. `by`: whose it is; `through`: who had let that one in, and so on, up to the creator.

    `digest` names the grant, `source` the one that gave its author access, "" for the creator's own.
    """

    by: HcpId
    through: tuple[HcpId, ...] = ()
    digest: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """Who has access. `grants`: several if several gave it; none for the creator, who needs none."""

    hcp: HcpId
    is_creator: bool
    grants: tuple[Granted, ...] = ()


@dataclass(frozen=True, slots=True)
class PutOut:
    """Who had access and has none. `by`: whose revocations ended it; if nobody's, those who had shared with it, and
    are out themselves, are `with_`."""

    hcp: HcpId
    by: tuple[HcpId, ...]
    with_: tuple[HcpId, ...] = ()


@dataclass(frozen=True, slots=True)
class Unproven:
    """What somebody states, whose key is not known here or not trusted: it does not count (yet)."""

    hcp: HcpId
    by: HcpId
    is_grant: bool


@dataclass(frozen=True, slots=True)
class AccessList:
    """Of one record. `creator`: None in `icure-classic`, where nothing is signed (`is_signed`)."""

    id: DocId
    type: str
    creator: HcpId | None
    is_signed: bool
    members: tuple[Member, ...]
    put_out: tuple[PutOut, ...] = ()
    pending: tuple[Unproven, ...] = ()


def access_list(found: Stated) -> AccessList:
    """As signed statements say it; members and those who are out by Hcp id, the creator first."""
    subject = found.subject
    counted = counting(subject, found.proven)
    by_delegate: dict[HcpId, list[Granted]] = {}
    for name, each in counted.items():
        through = _through(counted, each)
        by_delegate.setdefault(HcpId(each["grant"]), []).append(Granted(each["by"], through, name, each["from"]))
    by_delegate.pop(subject.by, None)  # who needs none
    grants = [each for each in found.proven if "grant" in each]
    outs = sorted({HcpId(each["grant"]) for each in grants} - {subject.by, *by_delegate})
    return AccessList(
        subject.id,
        subject.type,
        subject.by,
        True,
        (Member(subject.by, True), *(Member(hcp, False, tuple(each)) for hcp, each in sorted(by_delegate.items()))),
        tuple(_put_out(subject, hcp, grants, found.proven) for hcp in outs),
        tuple(_unproven(each) for each in found.pending),
    )


def unsigned_list(opened: Opened) -> AccessList:
    """As entries say it: whoever has one, and whose they are."""
    stored = opened.stored
    entries = stored.document.get("delegations", {})
    members = []
    for hcp in sorted(opened.content.shared_with):
        owners = sorted({each["owner"] for each in entries.get(hcp, ()) if isinstance(each.get("owner"), str)})
        members.append(Member(hcp, False, tuple(Granted(HcpId(owner)) for owner in owners if owner != hcp)))
    return AccessList(stored.id, opened.content.type, None, False, tuple(members))


def _through(counted: dict[str, Statement], granted: Statement) -> tuple[HcpId, ...]:
    """Grants name older ones only, so this ends."""
    line: list[HcpId] = []
    source = counted.get(granted["from"])
    while source is not None:
        line.append(HcpId(source["by"]))
        source = counted.get(source["from"])
    return tuple(line)


def _put_out(subject: Subject, hcp: HcpId, grants: Iterable[Statement], proven: list[Statement]) -> PutOut:
    given = [each for each in grants if each["grant"] == hcp]
    by = {HcpId(ending["by"]) for each in given for ending in endings(subject, each, proven)}
    with_ = () if by else tuple(sorted({HcpId(each["by"]) for each in given}))
    return PutOut(hcp, tuple(sorted(by)), with_)


def _unproven(statement: Statement) -> Unproven:
    is_grant = "grant" in statement
    return Unproven(HcpId(statement["grant" if is_grant else "revoke"]), HcpId(statement["by"]), is_grant)
