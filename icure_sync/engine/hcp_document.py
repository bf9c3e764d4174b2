"""The Hcp document of this replica's own Hcp: profile in clear with its stamps, public keys, Hcp keys. Pure.

Its first revision is a function of the identity alone, so all devices of an Hcp write the same bytes. Later ones may be
written concurrently: what several come to is the join of their profiles with all their keys, and devices of the Hcp
that merge the same revisions write the same bytes. Only the Hcp's own devices write it. FORMAT.md has the layout.

Revisions may be of several epochs of the Hcp's identity. The highest one's identity stands, whatever revision of an
older one says; what those hold is carried on under the new signature, and what a lost device knows is retired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from icure_sync.canonical import authored, canonical, canonical_set
from icure_sync.crypto import hcp_keys
from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.hcp_keys import Wrapped, wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, Identity, lost_through
from icure_sync.crypto.layout import MERGED_MOST
from icure_sync.crypto.party import HCP_TYPE, identity_members
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.retirements import Retired, retired, retired_members
from icure_sync.crypto.revision import extended, revision_id, written
from icure_sync.engine.suite import Content, Joined, Stored, Written
from icure_sync.engine.writers import RECORD_ID_BYTES, Writers
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, Rev, rev_order
from icure_sync.merge import disputes, joining, registers
from icure_sync.merge.disputes import Version
from icure_sync.merge.registers import Author, Body, Path
from icure_sync.model import Hcp, from_record, to_record, with_record_ids
from icure_sync.model.schema import SEALED_1, record_lists

_STAMPS = ("context", "writers", "fields")
_OF_A_WRITE = frozenset({"parents", "merged", "written"})  # what differs between two revisions in the same state
_MEMBERS = frozenset(
    {
        *("type", "cryptoSuite", "publicKey", "signingKey", "identity", *_OF_A_WRITE),
        *("hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures", "retiredKeys", *_STAMPS),
    }
)  # what a profile field may not be called
_NOBODY = ""  # who wrote a tombstone: so all who end the same leaf write the same


def first(identity: Identity) -> Written:
    """The first revision: the name, the public keys and {AA}."""
    born = Author(identity.birth.writer, identity.hcp_id, "", 0)
    body = registers.write(None, {("name",): identity.name}, born)
    document = {
        **_profile(body),
        "type": HCP_TYPE,
        "cryptoSuite": SEALED_1,
        "merged": [],
        "retiredKeys": [],
        **hcp_keys.key_members([hcp_keys.born(identity)]),
    }
    return _written(identity, document, [])


def with_keys(identity: Identity, shown: Stored, keys: Iterable[Wrapped], ended: Iterable[Retired] = ()) -> Written:
    """The next revision, which holds these Hcp keys too, and retires those that ended. `shown`: as `join` says."""
    members = hcp_keys.key_members([*wrapped_keys(shown.id, shown.document), *keys])
    retirements = retired_members(identity, {*retired(shown.document), *ended})
    return _over(identity, shown, {**shown.document, **members, **retirements})


def with_profile(identity: Identity, shown: Stored, hcp: Hcp, writers: Writers, entropy: Entropy) -> Written | None:
    """The next revision, which shows this profile; None if nothing would change. Raises InvalidEntity."""
    body = _body(shown.document)
    profile = authored(to_record(with_record_ids(hcp, lambda: entropy(RECORD_ID_BYTES).hex())))
    reserved = sorted(name for name in profile if name in _MEMBERS or name.startswith("_"))
    if reserved:
        raise InvalidEntity("save an Hcp", f"{', '.join(reserved)} cannot be the name of a field", "name it otherwise")
    wanted = registers.flatten(profile, record_lists(HCP_TYPE))
    changed = registers.changes(registers.shown_registers(body), wanted)
    return _rewritten(identity, shown, _write(shown.id, body, changed, writers)) if changed else None


def settled(identity: Identity, shown: Stored, choices: Mapping[Path, Any], writers: Writers) -> Written:
    """The next revision, in which these registers have these values and no others. Raises InvalidEntity."""
    after = _write(shown.id, _body(shown.document), choices, writers)
    from_record(Hcp, registers.read(after).record, id=shown.id, rev=shown.rev)  # so that no device stumbles over it
    return _rewritten(identity, shown, after)


def versions(stored: Stored) -> Mapping[Path, Sequence[Version]]:
    """Of each register with several values, what it shows, then the others."""
    return disputes.versions(_body(stored.document))


def content(stored: Stored) -> Content:
    """What an Hcp document shows of its Hcp. Raises InvalidEntity."""
    body = _body(stored.document)
    registers.check_body(body)
    shown = registers.read(body)
    return Content(HCP_TYPE, shown.record, shown.deleted, frozenset(), {}, shown.alternatives)


def united(revisions: Sequence[Stored]) -> Stored:
    """What believed revisions of one Hcp document come to, in any order, for showing: under the highest one's id.

    Their profiles joined, all their keys, and the retirements of all; the identity of the highest epoch.
    """
    ascending = sorted(revisions, key=lambda each: (_epoch(each), rev_order(each.rev)))
    highest = ascending[-1]
    if len(ascending) == 1:
        return highest
    body = joining.join([_body(each.document) for each in ascending])
    document: dict[str, Any] = {}
    for each in ascending:
        document |= _unstamped(each.document, body)
    keys = [wrapped for each in ascending for wrapped in wrapped_keys(each.id, each.document)]
    ended = {(item["kid"], item["ended"]): item for each in ascending for item in each.document["retiredKeys"]}
    document |= {**_profile(body), **hcp_keys.key_members(keys), "retiredKeys": canonical_set(ended.values())}
    return Stored(highest.id, highest.rev, document)


def takes_in(one: Stored, other: Stored) -> bool:
    """Whether one revision makes up for the other: it lists it, or holds all that it holds."""
    listed = (*one.document["parents"], *one.document["merged"])
    return other.rev in listed or _state(united([one, other]).document) == _state(one.document)


def join(identity: Identity, revisions: Sequence[Stored], standing: Collection[Rev]) -> Joined:
    """What believed revisions of the own document come to, and what there is to write so that one leaf is left.

    `standing`: those that are live leaves; the others were displaced by something that does not count. A leaf that is
    in the very state of the merge stays, and the rest are retired.
    """
    revs = canonical_set(each.rev for each in revisions)
    highest = max(revs, key=rev_order)
    document = {**_carried_on(identity, revisions), "merged": _merged(revisions, highest)}
    ends = {each.rev: _retirement(each) for each in sorted(revisions, key=lambda each: rev_order(each.rev))}
    beside = tuple(end for rev, end in ends.items() if rev != highest)
    merge = _written(identity, document, revs, beside)
    state = _state(merge.document)
    same = extended([each.rev for each in revisions if each.rev in standing and _state(each.document) == state])
    if len(revisions) == 1 and _is_of(identity, revisions[0]):
        shown = revisions[0]
    else:
        shown = Stored(merge.id, same or merge.rev, merge.document, tuple(revs), beside)
    return Joined(shown, (merge,) if same is None else tuple(end for rev, end in ends.items() if rev != same))


def _carried_on(identity: Identity, revisions: Sequence[Stored]) -> Mapping[str, Any]:
    """What the own document says from these revisions on. What is of epochs before comes under the own signature: every
    key, since something was wrapped with it; and those are retired that somebody knows who should not."""
    document = united(revisions).document
    if all(_is_of(identity, each) for each in revisions):
        return document
    keys = [hcp_keys.signed_anew(identity, each) for each in wrapped_keys(identity.hcp_id, document)]
    lost = lost_through(identity.previous)
    ended = {Retired(each.kid, COMPROMISED) for each in keys if each.epochs[0] <= lost}
    return {
        **document,
        **hcp_keys.key_members([*keys, hcp_keys.born(identity)]),
        **retired_members(identity, retired(document) | ended),
    }


def _is_of(identity: Identity, revision: Stored) -> bool:
    return bool(revision.document["signingKey"] == to_text(identity.signing_key.public))


def _write(doc_id: DocId, body: Body, changed: Mapping[Path, Any], writers: Writers) -> dict[str, Any]:
    author = writers.author(doc_id, body["context"])
    after = registers.write(body, changed, author)
    writers.wrote(doc_id, author, after["context"])
    return after


def _rewritten(identity: Identity, shown: Stored, body: Body) -> Written:
    return _over(identity, shown, {**_unstamped(shown.document, body), **_profile(body)})


def _over(identity: Identity, shown: Stored, document: Mapping[str, Any]) -> Written:
    """A write over what is shown: it extends and ends whatever that stands for."""
    return _written(identity, document, shown.leaves or (shown.rev,), shown.beside)


def _written(
    identity: Identity, document: Mapping[str, Any], parents: Sequence[Rev], beside: tuple[Written, ...] = ()
) -> Written:
    doc_id = DocId(identity.hcp_id)
    unsigned = {name: value for name, value in document.items() if name != "written"}
    unsigned |= {"parents": canonical_set(parents), **identity_members(identity)}
    rev, signed = written(doc_id, unsigned, identity)
    return Written(doc_id, rev, extended(parents), signed, beside=beside)


def _retirement(leaf: Stored) -> Written:
    """The tombstone that ends a leaf which a merge took in. A server filters it by its type, as it does the leaf."""
    document = {"retired": True, "type": HCP_TYPE, "cryptoSuite": SEALED_1, "parents": [leaf.rev]}
    return Written(leaf.id, revision_id(leaf.id, document, _NOBODY), leaf.rev, document, deleted=True)


def _merged(revisions: Sequence[Stored], highest: Rev) -> list[Rev]:
    """The leaves that merges on these branches have ended, the newest ones, and those that this one ends."""
    ended = {Rev(rev) for each in revisions for rev in each.document["merged"]}
    ended |= {each.rev for each in revisions} - {highest}
    return canonical_set(sorted(ended, key=rev_order)[-MERGED_MOST:])


def _epoch(revision: Stored) -> int:
    epoch: int = revision.document["identity"]["epoch"]
    return epoch


def _body(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document.get(name) for name in _STAMPS}


def _profile(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a stamped body shows, and the body itself."""
    return {**registers.read(body).record, **body}


def _unstamped(document: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what a body shows, or had shown before it was emptied."""
    stamped = {path[0] for path, _ in body["fields"]}
    return {name: value for name, value in document.items() if name not in stamped}


def _state(document: Mapping[str, Any]) -> bytes:
    return canonical({name: value for name, value in document.items() if name not in _OF_A_WRITE})
