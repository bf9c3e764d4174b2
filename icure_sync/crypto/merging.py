"""The merge of concurrent revisions of a record in suite `sealed-1`, as a document; and the tombstones that end leaves.

Owns who has access after it, under which key it is sealed, and that devices of one Hcp that merge the same leaves write
the same bytes. What the leaves' bodies come to is decided in `merge.joining`, and comes in. Pure: nothing here draws
anything, and no clock counts. FORMAT.md has the layout.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as chained
from typing import Any

from icure_sync.canonical import canonical, canonical_set
from icure_sync.crypto.access import MAPS, SUITE, Statement, Subject, parties, union
from icure_sync.crypto.chain import sealing_keys
from icure_sync.crypto.envelope import joint_key, merge_salt, pad
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.layout import MERGED_MOST
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.crypto.revision import extended, revision_id
from icure_sync.crypto.sealing import MEMBERS, Sealed, body_data, clear_members, seal_body, signed
from icure_sync.ids import HcpId, Kid, Rev, rev_order

_CIPHERTEXT = ("encryptedSelf", "sealedWith")
_OF_A_WRITE = frozenset({"parents", "merged", "written", *_CIPHERTEXT})  # what differs between two merges of the same
_SOMEBODY = ""  # who knows an Hcp key that was lost: nobody who could have access
_UNSIGNED = ""  # who wrote a tombstone: nobody, so that all who end the same leaf write the same


@dataclass(frozen=True, slots=True, repr=False)
class Joined:
    """What the leaves' content comes to.

    `body`: the join of theirs; `clear`: the fields of it that stand in clear; `secret_ids`: of the links that it shows;
    `whole`: the leaves whose own body is no less.
    """

    body: Mapping[str, Any]
    clear: Mapping[str, Any]
    secret_ids: Sequence[str]
    whole: Collection[Rev]


@dataclass(frozen=True, slots=True, repr=False)
class Merged:
    """`sealed`: the revision that this Hcp writes for these leaves.

    `is_safe`: False if there is no key for it that nobody who is out knows: it may be shown here, never stored.
    `outs`: who has entries in a leaf, and is out by what all of them state. `same`: the highest leaf that is in the
    very state of the merge, so that nothing need be written.
    """

    sealed: Sealed
    is_safe: bool
    outs: frozenset[HcpId]
    same: Rev | None


def merge(leaves: Sequence[Sealed], joined: Joined, keyring: Keyring, known: Iterable[Statement] = ()) -> Merged:
    """One revision for several. `leaves`: verified, of one record, all of which open here, in any order.

    `known`: verified statements remembered for the record beyond those that they carry. Raises NoAccess, Tampered.
    """
    subject = Subject.of(leaves[0].id, leaves[0].document)
    statements = union(known, *(leaf.document["access"] for leaf in leaves))
    inside = parties(subject, statements)
    revs = canonical_set(leaf.rev for leaf in leaves)
    above = _extended(leaves)
    keys = _Keys.of(subject, leaves, keyring)
    document = {
        **{name: value for name, value in above.document.items() if name in MEMBERS},
        **joined.clear,
        "parents": revs,
        "merged": _retired(leaves, above.rev),
        "access": statements,
        **{name: _entries(leaves, name, inside) for name in MAPS},
        "secretForeignKeys": canonical_set(joined.secret_ids),
    }
    names = above.document["sealedWith"]
    if not (_are_alike([*leaves, Sealed(subject.id, above.rev, document)]) and keys.are_safe(names, inside)):
        names = keys.choice(inside)
        document["sealedWith"] = names
        document["encryptedSelf"] = _sealed_body(subject, [(name, keys.known[name]) for name in names], joined, revs)
    same = (leaf.rev for leaf in leaves if leaf.rev in joined.whole and _is_state(leaf, document))
    safe = [leaf.rev for leaf in leaves if keys.are_safe(leaf.document["sealedWith"], inside)]
    return Merged(
        sealed=signed(subject, document, keyring),
        is_safe=keys.are_safe(names, inside),
        outs=_named(leaves) - inside,
        same=extended([rev for rev in same if rev in safe]),
    )


def again(hidden: Sealed, keyring: Keyring) -> Sealed:
    """The same revision once more, below itself, as this Hcp writes it: something that does not count displaced it."""
    subject = Subject.of(hidden.id, hidden.document)
    return signed(subject, {**hidden.document, "parents": [hidden.rev]}, keyring)


def retirement(leaf: Sealed) -> Sealed:
    """The tombstone that ends a leaf which a merge took in: the same from everybody.

    It says to whom the leaf belonged, since a server filters each leaf by its own body.
    """
    document = leaf.document
    kept = {name: document[name] for name in ("type", "creator", "access", "delegations")}
    return _unsigned(leaf, {"retired": True, **kept})


def notice(above: Sealed, access: Sequence[Statement], outs: Iterable[HcpId]) -> Sealed:
    """The deleted leaf beside a revision that extends `above` and puts somebody out: it tells them."""
    document = above.document
    kept = {name: document[name] for name in ("type", "creator")}
    return _unsigned(above, {"notice": True, **kept, "access": access, "delegations": {name: [] for name in outs}})


def ended_by(document: Mapping[str, Any]) -> Rev | None:
    """The leaf that this tombstone says that a merge took in; None for any other document."""
    parents = document.get("parents")
    if document.get("retired") is True and isinstance(parents, list) and len(parents) == 1:
        return Rev(str(parents[0]))
    return None


def _unsigned(above: Sealed, members: Mapping[str, Any]) -> Sealed:
    document = {**members, "cryptoSuite": SUITE, "parents": [above.rev]}
    return Sealed(above.id, revision_id(above.id, document, _UNSIGNED), document)


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    """The content keys that the leaves are sealed with, and who may know each.

    `holders`: who knows a key, as far as can be told of it alone. `joints`: sets of keys that a leaf is sealed with
    jointly, and who may know some of a set, but not all.
    """

    known: Mapping[Kid, SymmetricKey]
    holders: Mapping[Kid, frozenset[str]]
    joints: Sequence[tuple[frozenset[Kid], frozenset[str]]]

    @classmethod
    def of(cls, subject: Subject, leaves: Sequence[Sealed], keyring: Keyring) -> _Keys:
        """Holders: every owner and delegate of an entry for the key in any leaf, and who wrote one sealed with it.

        The entries of those who are out are gone. So whoever was ever granted access in a leaf that has a key, and is
        sealed otherwise, counts as a holder too: that key may have been given up because of him. And somebody unknown
        holds what an Hcp key wraps that its owner lost.
        """
        known: dict[Kid, SymmetricKey] = {}
        holders: dict[Kid, set[str]] = {}
        joints: list[tuple[frozenset[Kid], frozenset[str]]] = []
        for leaf in leaves:
            sealing = sealing_keys(subject, leaf.document, keyring)
            known.update(sealing)
            names = frozenset(name for name, _ in sealing)
            entries = [*chained.from_iterable(leaf.document["encryptionKeys"].values())]
            granted = frozenset(each["grant"] for each in leaf.document["access"] if "grant" in each)
            for name in {*names, *(Kid(entry["of"]) for entry in entries)}:
                more = {leaf.document["written"]["by"]} if name in names else granted
                holders.setdefault(name, set()).update(more)
            for entry in entries:
                holders[Kid(entry["of"])].update((entry["owner"], entry["delegatedTo"]))
                if keyring.is_exposed(entry["owner"], entry["kid"]):
                    holders[Kid(entry["of"])].add(_SOMEBODY)
            if len(names) > 1:
                joints.append((names, granted))
        for names, granted in joints * len(joints):  # as often as one may tell more of another: in any order the same
            partly = granted.intersection(chained.from_iterable(holders[name] for name in names))
            for name in names:
                holders[name].update(partly)
        return cls(known, {name: frozenset(each) for name, each in holders.items()}, joints)

    def choice(self, inside: frozenset[HcpId]) -> list[Kid]:
        """The lowest key that nobody who is out knows; if there is none, all of them, joint."""
        single = next((name for name in sorted(self.known) if self.are_safe([name], inside)), None)
        return sorted(self.known) if single is None else [single]

    def are_safe(self, names: Sequence[str], inside: frozenset[HcpId]) -> bool:
        """Nobody who is out may know all of these."""
        together = frozenset(Kid(name) for name in names)
        named = [*self.holders.values(), *(granted for _, granted in self.joints)]
        outs = frozenset(chained.from_iterable(named)) - inside
        return not any(all(self._may_know(out, name, together) for name in together) for out in outs)

    def _may_know(self, out: str, name: Kid, together: frozenset[Kid]) -> bool:
        return out in self.holders[name] or any(
            name in joint and out in granted and not joint <= together for joint, granted in self.joints
        )


def _sealed_body(
    subject: Subject, keys: Sequence[tuple[Kid, SymmetricKey]], joined: Joined, revs: Sequence[Rev]
) -> str:
    data = body_data(subject, canonical_set(name for name, _ in keys))
    return seal_body(subject, keys, joined.body, merge_salt(joint_key(keys), revs, data, pad(canonical(joined.body))))


def _extended(leaves: Sequence[Sealed]) -> Sealed:
    rev = extended([leaf.rev for leaf in leaves])
    return next(leaf for leaf in leaves if leaf.rev == rev)


def _retired(leaves: Sequence[Sealed], above: Rev) -> list[Rev]:
    """The leaves that merges on these branches have ended, the newest ones, and those that this one ends."""
    ended = {Rev(rev) for leaf in leaves for rev in leaf.document["merged"]} | {leaf.rev for leaf in leaves} - {above}
    return canonical_set(sorted(ended, key=rev_order)[-MERGED_MOST:])


def _entries(leaves: Sequence[Sealed], name: str, inside: frozenset[HcpId]) -> dict[str, list[Any]]:
    """The entries of all leaves in one access map, but for those who are out."""
    delegates = {delegate for leaf in leaves for delegate in leaf.document[name]} & inside
    return {
        delegate: canonical_set(entry for leaf in leaves for entry in leaf.document[name].get(delegate, ()))
        for delegate in sorted(delegates)
    }


def _are_alike(documents: Sequence[Sealed]) -> bool:
    """Whether all hold the same ciphertext, and show the same beside it: then it can be kept."""
    shown = [[clear_members(each.document), *(each.document[name] for name in _CIPHERTEXT)] for each in documents]
    return len(set(map(canonical, shown))) == 1


def _is_state(leaf: Sealed, document: Mapping[str, Any]) -> bool:
    """Whether a leaf whose body is the joined one says the same around it: nobody else may read it, or not."""
    states = (
        {name: value for name, value in each.items() if name not in _OF_A_WRITE} for each in (leaf.document, document)
    )
    return len(set(map(canonical, states))) == 1


def _named(leaves: Sequence[Sealed]) -> frozenset[HcpId]:
    """Everyone who holds an entry."""
    return frozenset(
        HcpId(name) for leaf in leaves for each in MAPS for name, held in leaf.document[each].items() if held
    )
