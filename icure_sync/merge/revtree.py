"""Revision trees: which revisions of one document are known, and how they descend from each other.

Owns the tree as a value, and CouchDB's rule for the winner. Knows no bodies, no storage and no clock.

What a revision tree is. Every write of a document makes a revision `N-hash` that names the one it was made from, its
parent, of generation N-1. Two devices that write from the same parent make two children of it: the history forks, and
nothing is lost. A revision without children is a *leaf*; a deletion is a leaf too, a *tombstone*. The *winner* is the
leaf that every device picks without asking another: live before deleted, then the higher generation, then the higher
hash. More than one live leaf is a conflict, which ends when all but one are extended by tombstones.

    1-a ── 2-b ── 3-c          leaf, winner
             └─── 3-b ── 4-d   leaf, a tombstone: deleted, so the lower generation wins

A revision travels with its *history*, a path from itself towards the root: ("4-d", "3-b", "2-b", "1-a"). Putting such a
path into a tree is *grafting*. Long histories are cut from the root's end, *stemmed*, so one path may begin further up
than another, and a tree may come in several pieces; they join when a path arrives that spans the gap.

How it is held here. Knowledge only grows, so a tree is the set of known (child, parent) pairs, and grafting is set
union: idempotent, commutative and associative whatever arrives, in whatever order. A liar can claim a second parent for
a revision; both claims are then kept, neither parent turns into a leaf, and `history` follows the higher hash.
Nearly all trees are one unbranched path. So the pairs are kept as paths that cover them: the first one whole,
each further one down to where it meets an earlier one. The cover is a function of the pairs: equal trees are equal
values.

What must hold of a history: at least one revision, generations falling by exactly one (`is_path`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from icure_sync.ids import Rev, generation, is_rev, rev_hash, rev_order

Path = tuple[Rev, ...]

_NONE: frozenset[Rev] = frozenset()
_HEX = re.compile(r"[0-9a-f]+")  # a server keeps revisions with other hashes too
_PACKED_HASH = 32  # digits: hashes of this length, CouchDB's and ours, are packed two digits a byte


@dataclass(frozen=True, slots=True)
class Leaf:
    """A revision without children. `deleted`: it is a tombstone."""

    rev: Rev
    deleted: bool


@dataclass(frozen=True, slots=True)
class RevTree:
    """The known revisions of one document. `RevTree()` is the empty tree.

    `paths`: newest revision first, the cover described above. `deleted`: the revisions known to be deletions.
    """

    paths: tuple[Path, ...] = ()
    deleted: frozenset[Rev] = _NONE
    _pairs_once: dict[Rev, Path] = field(default_factory=dict, init=False, repr=False, compare=False)

    def graft(self, history: Sequence[Rev], deleted: bool = False) -> RevTree:
        """This tree and one more path. `deleted` says it of `history[0]`."""
        path = tuple(history)
        gone = self.deleted | {path[0]} if deleted else self.deleted
        if not self.paths:
            return RevTree((path,), gone)
        if len(self.paths) == 1 and (whole := _overlay(self.paths[0], path)) is not None:
            return RevTree((whole,), gone)
        return RevTree(_cover(_pairs((*self.paths, path))), gone)

    def graft_all(self, histories: Iterable[tuple[Sequence[Rev], bool]]) -> RevTree:
        """As `graft` of each (history, deleted); for many at once, in one pass."""
        paths = [(tuple(history), deleted) for history, deleted in histories]
        if len(paths) == 1:
            return self.graft(*paths[0])
        gone = self.deleted.union(path[0] for path, deleted in paths if deleted)
        return RevTree(_cover(_pairs((*self.paths, *(path for path, _ in paths)))), gone)

    def leaves(self) -> tuple[Leaf, ...]:
        """The leaves in CouchDB's order: the winner first, tombstones last."""
        if len(self.paths) == 1:
            tip = self.paths[0][0]
            return (Leaf(tip, tip in self.deleted),)
        inner = {rev for path in self.paths for rev in path[1:]}
        tips = {path[0] for path in self.paths} - inner
        ordered = sorted(tips, key=lambda rev: (rev not in self.deleted, *rev_order(rev)), reverse=True)
        return tuple(Leaf(rev, rev in self.deleted) for rev in ordered)

    def winner(self) -> Leaf:
        """The leaf that stands for the document. Raises LookupError for the empty tree."""
        return self.leaves()[0]

    def __contains__(self, rev: Rev) -> bool:
        return any(rev in path for path in self.paths)

    def __bool__(self) -> bool:
        return bool(self.paths)

    def missing(self, revs: Iterable[Rev]) -> tuple[Rev, ...]:
        """Those of `revs` that are not known here, in the order given."""
        return tuple(rev for rev in revs if rev not in self)

    def possible_ancestors(self, rev: Rev) -> tuple[Rev, ...]:
        """The leaves of a lower generation than `rev`: an unknown `rev` may descend from them (`_revs_diff`)."""
        limit = generation(rev)
        return tuple(leaf.rev for leaf in self.leaves() if generation(leaf.rev) < limit)

    def parents(self, rev: Rev) -> tuple[Rev, ...]:
        """The known parent of `rev`; none if it is a root or unknown; several, highest first, if they contradict."""
        return self._known_pairs().get(rev, ())

    def history(self, rev: Rev) -> Path:
        """`rev` and its known ancestors, newest first. Raises LookupError for an unknown revision."""
        if len(self.paths) == 1 and rev in self.paths[0]:
            path = self.paths[0]
            return path[path.index(rev) :]
        pairs = self._known_pairs()
        line = [rev]
        above = pairs[rev]
        while above:
            line.append(above[0])
            above = pairs[above[0]]
        return tuple(line)

    def stem(self, limit: int) -> RevTree:
        """The tree without the revisions that are `limit` or more generations below every leaf that descends from them.

        All leaves stay. `limit` is at least 1.
        """
        if len(self.paths) == 1:
            kept = self.paths[0][:limit]
            return RevTree((kept,), self.deleted.intersection(kept))
        return self._stem_branched(limit)

    def _stem_branched(self, limit: int) -> RevTree:
        pairs = _pairs(self.paths)
        reach = {leaf.rev: generation(leaf.rev) for leaf in self.leaves()}  # the highest leaf above each revision
        for rev in sorted(pairs, key=generation, reverse=True):
            for parent in pairs[rev]:
                reach[parent] = max(reach.get(parent, 0), reach[rev])
        kept = {rev for rev in pairs if reach[rev] - generation(rev) < limit}
        pairs = {rev: tuple(parent for parent in pairs[rev] if parent in kept) for rev in pairs if rev in kept}
        return RevTree(_cover(pairs), self.deleted & kept)

    def without(self, leaves: Iterable[Rev]) -> RevTree:
        """The other leaves with all their ancestors: what purging these leaves. What is no leaf of it is passed over.

        No ancestor of a leaf turns into a leaf by it: what only purged leaves descend from is gone with them.
        """
        gone = frozenset(leaves)
        pairs = _pairs(self.paths)
        kept: set[Rev] = set()
        walk = [leaf.rev for leaf in self.leaves() if leaf.rev not in gone]
        while walk:
            rev = walk.pop()
            if rev not in kept:
                kept.add(rev)
                walk += pairs[rev]
        return RevTree(_cover({rev: above for rev, above in pairs.items() if rev in kept}), self.deleted & kept)

    def _known_pairs(self) -> dict[Rev, Path]:
        """Worked out once for a tree: a wide one is asked for the history of each of its leaves."""
        if not self._pairs_once:
            self._pairs_once.update(_pairs(self.paths))
        return self._pairs_once

    def to_value(self) -> list[Any]:
        """A compact plain value for msgpack: `[[[generation, hashes], …], [deleted revision, …]]`."""
        return [[_pack_path(path) for path in self.paths], sorted(self.deleted)]

    @classmethod
    def from_value(cls, value: Sequence[Any]) -> RevTree:
        """The tree that `to_value` wrote."""
        paths, deleted = value
        return cls(tuple(_unpack_path(*path) for path in paths), frozenset(deleted))


def is_path(history: Sequence[Rev]) -> bool:
    """True if this can be grafted: revision ids that a replica accepts, generations falling by one."""
    if not history or not all(map(is_rev, history)):
        return False
    if len(history) == 1:
        return True
    top = generation(history[0])
    return all(rev.startswith(f"{top - depth}-") for depth, rev in enumerate(history))


def _overlay(one: Path, other: Path) -> Path | None:
    """The one path that holds both, or None if they fork, contradict each other or do not meet."""
    if one == other:
        return one
    offset = generation(one[0]) - generation(other[0])
    upper, lower = (one, other) if offset >= 0 else (other, one)
    offset = abs(offset)
    shared = min(len(upper) - offset, len(lower))
    if shared < 1 or upper[offset : offset + shared] != lower[:shared]:
        return None
    return upper if offset + len(lower) <= len(upper) else upper[:offset] + lower


def _pairs(paths: Iterable[Path]) -> dict[Rev, Path]:
    """Each revision with its known parents, highest first."""
    pairs: dict[Rev, Path] = {}
    for path in paths:
        for child, parent in pairwise(path):
            above = pairs.get(child, ())
            if parent not in above:
                pairs[child] = tuple(sorted((*above, parent), key=rev_hash, reverse=True))
        pairs.setdefault(path[-1], ())
    return pairs


def _cover(pairs: dict[Rev, Path]) -> tuple[Path, ...]:
    """The pairs as paths: one from each leaf, the highest first, then one for each contradicting parent."""
    inner = {parent for above in pairs.values() for parent in above}
    walks: list[list[Rev]] = [[rev] for rev in sorted(pairs.keys() - inner, key=rev_order, reverse=True)]
    covered: set[Rev] = set()
    for walk in walks:  # grows while it is read: contradicting parents are walked last
        rev = walk[-1]
        while rev not in covered:
            covered.add(rev)
            above = pairs[rev]
            if not above:
                break
            walks.extend([rev, parent] for parent in above[1:])
            rev = above[0]
            walk.append(rev)
    return tuple(tuple(walk) for walk in walks)


def _pack_path(path: Path) -> list[Any]:
    hashes = [rev_hash(rev) for rev in path]
    digits = "".join(hashes)
    packable = all(len(each) == _PACKED_HASH for each in hashes) and _HEX.fullmatch(digits)
    return [generation(path[0]), bytes.fromhex(digits) if packable else hashes]


def _unpack_path(top: int, packed: bytes | list[str]) -> Path:
    if isinstance(packed, bytes):
        digits = packed.hex()
        packed = [digits[start : start + _PACKED_HASH] for start in range(0, len(digits), _PACKED_HASH)]
    return tuple(Rev(f"{top - depth}-{digits}") for depth, digits in enumerate(packed))
