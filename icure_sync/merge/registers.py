"""The stamped body: every value of a record with the causal data that lets concurrent edits be joined.

    {"context": {writer: n, …},                                    what this body has seen
     "writers": {writer: [hcp, device, ms of its last write], …},  for people to read, decides nothing
     "fields":  [[path, [[writer, n, value], …]], …]}              path: ["firstName"], ["services", "<id>"], …

A path leads to one register; a register with several stamped values (*siblings*) was written concurrently. Lists of
records are one register per record and one `["order", list]` register. Values are plain; null means removed. Pure: the
clock and the writer ids come in. This is the causal map of dotted version vectors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.errors import InvalidEntity

Path = tuple[str, ...]
Body = Mapping[str, Any]
Sibling = Sequence[Any]  # [writer, n, value]

WRITERS_MOST = 256  # in a context; older ones that stamp nothing any more may go
MAX_STAMP = 2**53

SECRET_ID: Path = ("secretId",)
DELETED: Path = ("deleted",)
LINKS = "links"
_ORDER = "order"
_RESERVED = frozenset({SECRET_ID[0], DELETED[0], LINKS, _ORDER})
_UNREVIEWED = frozenset({SECRET_ID[0], _ORDER})  # their other siblings are nothing that a person typed


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the writer id of this opening of the replica, and for people to read: Hcp, device, ms since 1970."""

    writer: str
    hcp: str
    device: str
    time: int


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """What a body shows: the record, and the values of other siblings that differ, by path, the latest first.

    Of a record that is kept alive by an edit which the deleter had not seen, the deletion is an alternative.
    """

    record: dict[str, Any]
    alternatives: dict[Path, tuple[Any, ...]]
    links: dict[str, Any]  # secret id to what the link says of the parent
    deleted: bool


def write(body: Body | None, changes: Mapping[Path, Any], author: Author) -> dict[str, Any]:
    """The body after one write of these registers: each takes the place of all its siblings.

    None for `body`: the first write; else one that passes `check_body`. Raises InvalidEntity when no stamp is left.
    """
    context = dict(body["context"]) if body else {}
    writers = dict(body["writers"]) if body else {}
    fields = {tuple(path): siblings for path, siblings in body["fields"]} if body else {}
    stamp = 1 + max(context.values(), default=0)
    if stamp >= MAX_STAMP:
        raise InvalidEntity("write a record", "its stamps are used up", "make a new record")
    fields.update({path: [[author.writer, stamp, value]] for path, value in changes.items()})
    context[author.writer] = stamp
    writers[author.writer] = [author.hcp, author.device, author.time]
    kept = _kept_writers(context, fields.values(), author.writer)
    return {
        "context": {writer: context[writer] for writer in sorted(kept)},
        "writers": {writer: writers[writer] for writer in sorted(kept) if writer in writers},
        "fields": [[list(path), sorted(fields[path], key=sibling_order)] for path in sorted(fields)],
    }


def changes(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> dict[Path, Any]:
    """The registers to write so that what showed `before` shows `after`; removed ones become null.

    Values are the same if their canonical bytes are: 2 and 2.0, not 1 and true.
    """
    paths = {**before, **after}
    return {path: after.get(path) for path in paths if not _equal(before.get(path), after.get(path))}


def flatten(record: Mapping[str, Any], record_lists: Collection[str]) -> dict[Path, Any]:
    """The registers of a record. `record_lists`: members that are lists of records, each with an `id`.

    Raises InvalidEntity if a record in a list has no id, or two have the same.
    """
    registers: dict[Path, Any] = {}
    for name, value in record.items():
        if name in _RESERVED:
            raise InvalidEntity("write a record", f"a field is called {name}, which is reserved", "name it otherwise")
        if name in record_lists:
            registers |= _flatten_list(name, value)
        else:
            registers[(name,)] = value
    return registers


def deletion(body: Body) -> dict[Path, Any]:
    """The write that deletes: it holds what the deleter had seen."""
    return {DELETED: dict(body["context"])}


def restoring() -> dict[Path, Any]:
    """The write that undoes a deletion."""
    return {DELETED: None}


def link(secret_id: str) -> Path:
    """The register of the link to the parent that has this secret id."""
    return (LINKS, secret_id)


def shown_registers(body: Body) -> dict[Path, Any]:
    """Each register's shown value: that of the sibling with the largest (n, writer)."""
    return {tuple(path): _winner(siblings)[2] for path, siblings in body["fields"]}


def read(body: Body) -> Shown:
    """What a body shows. Raises InvalidEntity if it is not laid out as above."""
    record: dict[str, Any] = {}
    lists: dict[str, dict[str, Any]] = {}
    links: dict[str, Any] = {}
    order: dict[str, Any] = {}
    alternatives: dict[Path, tuple[Any, ...]] = {}
    try:
        for path, siblings in body["fields"]:
            value = siblings[0][2] if len(siblings) == 1 else _reviewed(tuple(path), siblings, alternatives)
            if value is None:
                continue
            if len(path) == 1:
                record[path[0]] = value
            elif path[0] == LINKS:
                links[path[1]] = value
            elif path[0] == _ORDER:
                order[path[1]] = value
            else:
                lists.setdefault(path[0], {})[path[1]] = value
        for name, records in lists.items():
            record[name] = _in_order(records, order.get(name, ()))
        record.pop(SECRET_ID[0], None)
        deletion = record.pop(DELETED[0], None)
        deleted = deletion is not None and is_deleted(body)
        if deletion is not None and not deleted:
            alternatives[DELETED] = (deletion,)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise InvalidEntity("read a record", "its body is not laid out as it must be", "sync again") from error
    return Shown(record, alternatives, links, deleted)


def is_deleted(body: Body) -> bool:
    """No sibling of `deleted` is null, and one of them had seen every stamp of the other registers.

    An edit that the deleter had not seen keeps the record alive; a new secret id is none: nobody typed it.
    """
    siblings: Sequence[Sibling] = next((siblings for path, siblings in body["fields"] if tuple(path) == DELETED), [])
    if not siblings or any(value is None for _, _, value in siblings):
        return False
    content = (each for path, each in body["fields"] if tuple(path) not in (DELETED, SECRET_ID))
    stamps = [(writer, n) for each in content for writer, n, _ in each]
    return any(all(seen.get(writer, 0) >= n for writer, n in stamps) for _, _, seen in siblings)


def secret_id(body: Body) -> str:
    """The record's current secret id."""
    value = shown_registers(body).get(SECRET_ID)
    if not isinstance(value, str):
        raise InvalidEntity("read a record", "its body holds no secret id", "sync again")
    return value


def check_body(body: Any) -> None:
    """That a received body has this layout, in this order. Raises InvalidEntity."""
    if not _well_formed(body):
        raise InvalidEntity("read a record", "its body is not laid out as it must be", "have it written again")


def sibling_order(sibling: Sibling) -> tuple[int, str, bytes]:
    """Siblings stand in this order; the last one is shown."""
    return sibling[1], sibling[0], canonical(sibling[2])


def _flatten_list(name: str, records: Sequence[Mapping[str, Any]]) -> dict[Path, Any]:
    ids = [each.get("id") for each in records]
    if not all(isinstance(each, str) and each for each in ids) or len(set(ids)) != len(ids):
        raise InvalidEntity("write a record", f"an item of {name} has no id of its own", "give each item its own id")
    return {(_ORDER, name): ids, **{(name, each["id"]): each for each in records}}


def _in_order(records: Mapping[str, Any], order: Iterable[str]) -> list[Any]:
    """By the order register; records that it does not know come after, by id."""
    known = [each for each in dict.fromkeys(order) if each in records]
    placed = set(known)
    return [records[each] for each in (*known, *sorted(each for each in records if each not in placed))]


def _reviewed(path: Path, siblings: Sequence[Sibling], alternatives: dict[Path, tuple[Any, ...]]) -> Any:
    """The value that several siblings show; those of the others that differ go among the alternatives.

    Of `deleted`, the latest deletion: whether it counts is for `is_deleted`.
    """
    values = [each[2] for each in sorted(siblings, key=sibling_order, reverse=True)]
    if path == DELETED:
        return next((value for value in values if value is not None), None)
    distinct: dict[bytes, Any] = {}
    for value in values:
        distinct.setdefault(canonical(value), value)
    if len(distinct) > 1 and path[0] not in _UNREVIEWED:
        alternatives[path] = tuple(distinct.values())[1:]
    return values[0]


def _winner(siblings: Sequence[Sibling]) -> Sibling:
    return max(siblings, key=sibling_order)


def _equal(one: Any, other: Any) -> bool:
    return canonical(one) == canonical(other)


def _kept_writers(context: Mapping[str, int], registers: Iterable[Sequence[Sibling]], author: str) -> set[str]:
    """All, unless there are too many: then the oldest that stamp nothing go, but not who writes just now."""
    if len(context) <= WRITERS_MOST:
        return set(context)
    stamping = {author, *(writer for siblings in registers for writer, _, _ in siblings)}
    idle = sorted((n, writer) for writer, n in context.items() if writer not in stamping)
    dropped = {writer for _, writer in idle[: len(context) - WRITERS_MOST]}
    return set(context) - dropped


def _well_formed(body: Any) -> bool:
    if not isinstance(body, dict) or body.keys() != {"context", "writers", "fields"}:
        return False
    context, writers, fields = body["context"], body["writers"], body["fields"]
    return (
        _is_context(context)
        and isinstance(writers, dict)
        and writers.keys() <= context.keys()
        and all(_is_author(each) for each in writers.values())
        and isinstance(fields, list)
        and all(_is_register(each, context) for each in fields)
        and all(before < after for before, after in pairwise(path for path, _ in fields))
    )


def _is_context(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(writer, str) for writer in value)
        and all(type(n) is int and 0 < n < MAX_STAMP for n in value.values())
    )


def _is_author(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and isinstance(value[1], str)
        and type(value[2]) is int
    )


def _is_register(value: Any, context: Mapping[str, int]) -> bool:
    """Its stamps lie within what the body has seen; reserved names hold what they are reserved for."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    path, siblings = value
    return (
        _is_path(path)
        and isinstance(siblings, list)
        and len(siblings) > 0
        and all(_is_sibling(each, context) for each in siblings)
        and all(_is_value_of(path, each[2]) for each in siblings)
        and all(before < after for before, after in pairwise(map(sibling_order, siblings)))
    )


def _is_path(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(step, str) for step in value):
        return False
    if len(value) == 1:
        return value[0] not in (LINKS, _ORDER)
    return len(value) == 2 and value[0] not in (SECRET_ID[0], DELETED[0])


def _is_sibling(value: Any, context: Mapping[str, int]) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and type(value[1]) is int
        and 0 < value[1] <= context.get(value[0], 0)
    )


def _is_value_of(path: Sequence[str], value: Any) -> bool:
    """Whether this can stand in that register: fields hold what they like, reserved ones do not."""
    if value is None:
        return path[0] != SECRET_ID[0]
    if path[0] == SECRET_ID[0]:
        return isinstance(value, str)
    if path[0] == DELETED[0]:
        return _is_context(value)
    if path[0] == _ORDER:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return True
