"""What of a stamped body is left to a person: registers with several values, who wrote each, and what another body
would bring, which a person may adopt. Pure; decides nothing, and knows no keys. See MERGE.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.ids import is_hcp_id
from icure_sync.merge.registers import (
    DELETED,
    LINKS,
    SECRET_ID,
    Author,
    Body,
    Path,
    Sibling,
    deletion,
    is_deleted,
    read,
    sibling_order,
    write,
)


@dataclass(frozen=True, slots=True, repr=False)
class Version:
    """One value of a register, and whose device wrote it last: Hcp, device, ms since 1970 as that device's clock said.

    These three are None of a value that nobody put there, or whose writer the body does not name. For people to read.
    """

    value: Any
    hcp: str | None = None
    device: str | None = None
    time: int | None = None

    def __repr__(self) -> str:
        """Who wrote it, never what: medical text must not land in a log."""
        return f"<Version by {self.hcp}>" if self.hcp is not None and is_hcp_id(self.hcp) else "<Version>"


def versions(body: Body) -> dict[Path, tuple[Version, ...]]:
    """Of each register with alternatives, as `registers.read` says: what it shows, then these, the latest first.

    Of `deleted` the values are True and False.
    """
    registers = {tuple(path): siblings for path, siblings in body["fields"]}
    return {
        path: _deletion(body, registers[path]) if path == DELETED else _versions(body, registers[path])
        for path in read(body).alternatives
    }


def news(body: Body, other: Body) -> dict[Path, tuple[Any, ...]]:
    """What `other` has that `body` has not seen, of each register that this would change: the latest first.

    Fields only, no links and no secret id. Of `deleted`: (True,) if `other` counts as deleted; else False, and then
    True if it has an unseen deletion, which does not count there.
    """
    brought = _brought(body, other)
    found = {path: tuple(reversed(each.values)) for path, each in brought.items() if path != DELETED}
    if _deletes(body, other, brought):
        found[DELETED] = (True,)
    elif DELETED in brought:
        found[DELETED] = (False, True) if any(value is not None for value in brought[DELETED].values) else (False,)
    return found


def adopted(body: Body, other: Body, author: Author) -> dict[str, Any]:
    """`body` with what `news` says, as writes of this author; the context of `other` is not taken over.

    Both pass `check_body`. Several values of one register get successive stamps, and stand beside each other and beside
    those siblings that `other` had not seen. What comes of it has to be written (`registers.write`), which checks that
    there are stamps left.
    """
    brought = _brought(body, other)
    last = max(body["context"].values())
    most = max((len(each.values) for each in brought.values()), default=1)  # at least one, for the author to go on from
    fields: dict[Path, Sequence[Sibling]] = {tuple(path): siblings for path, siblings in body["fields"]}
    for path, each in brought.items():
        own = [[author.writer, last + number, value] for number, value in enumerate(each.values, 1)]
        fields[path] = sorted([*each.kept, *own], key=sibling_order)
    context = {**body["context"], author.writer: last + most}
    writers = {**body["writers"], author.writer: [author.hcp, author.device, author.time]}
    after = {
        "context": {writer: context[writer] for writer in sorted(context)},
        "writers": {writer: writers[writer] for writer in sorted(writers)},
        "fields": [[list(path), fields[path]] for path in sorted(fields)],
    }
    # It covers all the others, as it did there: they come first.
    return write(after, deletion(after), author) if _deletes(body, other, brought) else after


@dataclass(frozen=True, slots=True, repr=False)
class _Brought:
    """Of one register: siblings which stay, and values which another body has unseen, the latest last, each once."""

    kept: Sequence[Sibling]
    values: Sequence[Any]


def _brought(body: Body, other: Body) -> dict[Path, _Brought]:
    """Registers that come to hold other values. A deletion that counts in `other` is none of them: see `_deletes`."""
    mine: dict[Path, Sequence[Sibling]] = {tuple(path): siblings for path, siblings in body["fields"]}
    theirs: dict[Path, Sequence[Sibling]] = {tuple(path): siblings for path, siblings in other["fields"]}
    found: dict[Path, _Brought] = {}
    for path in sorted(theirs, key=lambda each: each == DELETED):  # `deleted` last
        values = _unseen(body["context"], theirs[path])
        if path == DELETED:
            values = [] if is_deleted(other) else _kept_alive(values, is_deleted(body) and not found)
        if not values or path == SECRET_ID or path[0] == LINKS:
            continue
        held = mine.get(path, [])
        kept = _not_replaced(held, theirs[path], other["context"])
        before = {canonical(value) for _, _, value in held} or {canonical(None)}
        if before != {canonical(value) for value in (*values, *(value for _, _, value in kept))}:
            found[path] = _Brought(kept, values)
    return found


def _not_replaced(held: Sequence[Sibling], theirs: Sequence[Sibling], seen: Mapping[str, int]) -> list[Sibling]:
    """As in a join."""
    stamps = {(writer, n) for writer, n, _ in theirs}
    return [each for each in held if (each[0], each[1]) in stamps or seen.get(each[0], 0) < each[1]]


def _unseen(context: Mapping[str, int], siblings: Sequence[Sibling]) -> list[Any]:
    distinct: dict[bytes, Any] = {}
    for writer, n, value in sorted(siblings, key=sibling_order, reverse=True):
        if context.get(writer, 0) < n:
            distinct.setdefault(canonical(value), value)
    return [*distinct.values()][::-1]


def _kept_alive(unseen: Sequence[Any], stays_deleted: bool) -> list[Any]:
    """What to write of `deleted` where the other body does not count as deleted: a null comes last, so it stays alive.

    Deletions alone, which did not count there, are no reason to bring back what would stay deleted.
    """
    deletions = [value for value in unseen if value is not None]
    if not unseen or (stays_deleted and len(deletions) == len(unseen)):
        return []
    return [*deletions, None]


def _deletes(body: Body, other: Body, brought: Mapping[Path, _Brought]) -> bool:
    """Whether adopting deletes, or deletes again what it would otherwise bring back."""
    if not is_deleted(other) or (is_deleted(body) and not brought):
        return False
    theirs = next(siblings for path, siblings in other["fields"] if tuple(path) == DELETED)
    return bool(_unseen(body["context"], theirs))


def _versions(body: Body, siblings: Sequence[Sibling]) -> tuple[Version, ...]:
    """Each value once, as its latest writer wrote it."""
    distinct: dict[bytes, Version] = {}
    for sibling in sorted(siblings, key=sibling_order, reverse=True):
        distinct.setdefault(canonical(sibling[2]), _version(body, sibling, sibling[2]))
    return tuple(distinct.values())


def _deletion(body: Body, siblings: Sequence[Sibling]) -> tuple[Version, ...]:
    """The record is kept: by who restored it, or by an edit which the deleter had not seen."""
    latest = sorted(siblings, key=sibling_order, reverse=True)
    kept = next((_version(body, each, False) for each in latest if each[2] is None), Version(False))
    deleted = next(_version(body, each, True) for each in latest if each[2] is not None)
    return kept, deleted


def _version(body: Body, sibling: Sibling, value: Any) -> Version:
    return Version(value, *body["writers"].get(sibling[0], ()))
