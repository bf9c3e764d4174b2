"""The stamped body of a revision in suite `icure-classic`: what `_sync` in its ciphertext and the record beside it say
together, and back. Owns the layout of `_sync`; knows no keys and no access maps. Pure. MERGE.md describes it.

Other software writes the record and knows nothing of stamps: what differs from what the stamps were made for counts as
written by that revision. So every leaf of any software has one stamped body, which follows from its document and its
revision id alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icure_sync.canonical import MAX_INTEGER, canonical, canonical_set
from icure_sync.crypto.classic import Opened
from icure_sync.crypto.classic_cipher import settled_json
from icure_sync.crypto.primitives import sha256
from icure_sync.errors import InvalidEntity
from icure_sync.ids import Rev, generation
from icure_sync.merge import joining, registers
from icure_sync.merge.registers import DELETED, Author, Body, Path, Sibling
from icure_sync.model.fields import Kind, fields_of
from icure_sync.model.schema import entity_class

MODIFIED = "modified"  # every write sets it: the latest is shown, and it is no register

_DIGEST_DIGITS = 32
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_UNSTAMPED = "its stamps are not laid out as they must be"

Stamp = tuple[str, int]  # writer, n


@dataclass(frozen=True, slots=True, repr=False)
class Stamped:
    """A stamped body, and what stands beside it: when each of its deletions was written (ms since 1970), and what the
    record says of its last write."""

    body: Body
    times: Mapping[Stamp, int] = field(default_factory=dict)
    modified: Any = None

    @property
    def record(self) -> dict[str, Any]:
        """What it shows."""
        shown = registers.read(self.body).record
        return shown if self.modified is None else {**shown, MODIFIED: self.modified}

    @property
    def deleted_at(self) -> int | None:
        """The time of the deletion that it shows, None if it shows none."""
        if not registers.is_deleted(self.body):
            return None
        writer, n, _ = _deletions(self.body)[-1]
        return self.times.get((writer, n), 0)


def read_stamped(rev: Rev, opened: Opened) -> Stamped:
    """The stamped body of one revision. Raises InvalidEntity for a record that cannot have one: a field has the name of
    a register, or a value no canonical form."""
    shown = record_registers(opened.type, opened.record)
    modified = _plain(opened.record.get(MODIFIED))
    try:
        known = _Stamps.read(opened.stamps)
        made = known.applied(rev, shown, opened.deleted_at)
        registers.check_body(made.body)
    except (InvalidEntity, LookupError, TypeError, ValueError, AttributeError):
        made = _Stamps().applied(rev, shown, opened.deleted_at)
        registers.check_body(made.body)
    return Stamped(made.body, made.times, modified)


def write_stamped(before: Stamped | None, changes: Mapping[Path, Any], author: Author) -> Stamped:
    """The stamped body after one write, at the author's time. Raises InvalidEntity."""
    body = registers.write(before.body if before else None, changes, author)
    times = dict(before.times) if before else {}
    if changes.get(DELETED) is not None:
        times[author.writer, body["context"][author.writer]] = author.time
    return Stamped(body, _still(body, times), before.modified if before else None)


def join_stamped(parts: Sequence[Stamped]) -> Stamped:
    """What several come to."""
    body = joining.join([part.body for part in parts])
    times: dict[Stamp, int] = {}
    for part in parts:
        for stamp, time in part.times.items():
            times[stamp] = max(time, times.get(stamp, time))
    modified = max((part.modified for part in parts), key=_time_order)
    return Stamped(body, _still(body, times), modified)


def is_same(one: Stamped, other: Stamped) -> bool:
    """Whether both show the same and have seen the same."""
    alike = all(canonical(one.body[name]) == canonical(other.body[name]) for name in ("context", "fields"))
    return alike and one.times == other.times and canonical(one.modified) == canonical(other.modified)


def to_stamps(stamped: Stamped, type_name: str, parents: Iterable[Rev]) -> dict[str, Any]:
    """`_sync`. `parents`: the revisions that it was made from.

    Values that the record shows are not repeated: their digest stands for them.
    """
    shown = record_registers(type_name, stamped.record)
    fields = [
        [path, *_brief(siblings, shown.get(tuple(path)))]
        for path, siblings in stamped.body["fields"]
        if tuple(path) != DELETED
    ]
    deletions = [
        [writer, n, None if seen is None else {"at": stamped.times.get((writer, n), 0), "seen": dict(seen)}]
        for writer, n, seen in _deletions(stamped.body)
    ]
    return {
        "parents": canonical_set(parents),
        "context": stamped.body["context"],
        "writers": stamped.body["writers"],
        "fields": fields,
        **({"deleted": deletions} if deletions else {}),
    }


def alternatives(rev: Rev, opened: Opened) -> Mapping[Path, Sequence[Any]]:
    """The values that a revision does not show, by path. Most records have none, which is seen at once."""
    if not _has_siblings(opened.stamps):
        return {}
    try:
        return registers.read(read_stamped(rev, opened).body).alternatives
    except InvalidEntity:
        return {}  # no body, so nothing beside what is shown


def record_registers(type_name: str, record: Mapping[str, Any]) -> dict[Path, Any]:
    """The registers of a record, `modified` left out.

    A list whose records have ids in iCure's data is one register per record and one for their order; any other list is
    one register. What is empty is not there: other software writes it or leaves it out as it likes. Raises
    InvalidEntity.
    """
    plain = {name: value for name, value in _plain(record).items() if name != MODIFIED}
    lists = {
        name: _keyed(value)
        for name, value in plain.items()
        if name in _keyed_lists(type_name) and type(value) is list and all(type(item) is dict for item in value)
    }
    orders = {name: [{"id": key} for key in keyed] for name, keyed in lists.items()}
    items: dict[Path, Any] = {(name, key): item for name, keyed in lists.items() for key, item in keyed.items()}
    return {**registers.flatten({**plain, **orders}, lists), **items}


@dataclass(frozen=True, slots=True, repr=False)
class _Stamps:
    """`_sync` as it was read. `fields`: by path, the digest of the value it was made for and its siblings, without
    values where they are that one."""

    context: Mapping[str, int] = field(default_factory=dict)
    writers: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[Path, tuple[str | None, Sequence[Sibling]]] = field(default_factory=dict)
    deletions: Sequence[Sibling] = ()
    times: Mapping[Stamp, int] = field(default_factory=dict)

    @classmethod
    def read(cls, stamps: Any) -> _Stamps:
        """Raises something of what `read_stamped` expects if it is in another form; the rest `check_body` finds."""
        if stamps is None:
            return cls()
        deleted = stamps.get("deleted", [])
        times = {(writer, n): value["at"] for writer, n, value in deleted if value is not None}
        if not all(type(time) is int for time in times.values()):
            raise ValueError(_UNSTAMPED)
        return cls(
            dict(stamps["context"]),
            dict(stamps["writers"]),
            {tuple(path): (digest, siblings) for path, digest, siblings in stamps["fields"]},
            [[writer, n, None if value is None else value["seen"]] for writer, n, value in deleted],
            times,
        )

    def applied(self, rev: Rev, shown: Mapping[Path, Any], deleted_at: int | None) -> Stamped:
        """The body that shows this: what the stamps were not made for was written by this revision."""
        fields = {path: self._siblings(path, shown.get(path), rev) for path in {**self.fields, **shown}}
        stamp = [rev, generation(rev)]
        times = dict(self.times)
        if deleted_at == self._deleted_at():
            fields[DELETED] = self.deletions
        elif deleted_at is None:
            fields[DELETED] = [[*stamp, None]]
        body = _body(self.context, self.writers, fields, stamp)
        if deleted_at is not None and not registers.is_deleted(
            body
        ):  # somebody deleted it, or changed it and left it so
            fields[DELETED] = [[*stamp, {**body["context"], rev: generation(rev)}]]
            times[rev, generation(rev)] = deleted_at
            body = _body(self.context, self.writers, fields, stamp)
        return Stamped(body, _still(body, times))

    def _siblings(self, path: Path, value: Any, rev: Rev) -> Sequence[Sibling]:
        digest, siblings = self.fields.get(path, (None, ()))
        if path not in self.fields or digest != _digest(value):
            return [[rev, generation(rev), value]]
        return sorted(([*each, value] if len(each) == 2 else each for each in siblings), key=registers.sibling_order)

    def _deleted_at(self) -> int | None:
        """What the record said of its deletion when these stamps were made."""
        fields = [[path, [[*each[:2], None] for each in siblings]] for path, (_, siblings) in self.fields.items()]
        return Stamped({"fields": [*fields, [DELETED, self.deletions]]}, self.times).deleted_at


def _body(
    context: Mapping[str, int], writers: Mapping[str, Any], fields: Mapping[Path, Sequence[Sibling]], stamp: list[Any]
) -> dict[str, Any]:
    """`stamp` is in the context if it stands somewhere."""
    rev, n = stamp
    here = any(sibling[:2] == stamp for siblings in fields.values() for sibling in siblings)
    return {
        "context": {**context, rev: n} if here else dict(context),
        "writers": dict(writers),
        "fields": [[list(path), fields[path]] for path in sorted(fields) if fields[path]],
    }


def _deletions(body: Body) -> Sequence[Sibling]:
    found: Sequence[Sibling] = next((siblings for path, siblings in body["fields"] if tuple(path) == DELETED), ())
    return found


def _still(body: Body, times: Mapping[Stamp, int]) -> dict[Stamp, int]:
    """The times of deletions that are in the body."""
    return {(writer, n): times.get((writer, n), 0) for writer, n, seen in _deletions(body) if seen is not None}


def _brief(siblings: Sequence[Sibling], shown: Any) -> list[Any]:
    """`shown`: what the record has there. An order that was joined may name more than the list has, and less."""
    alike = canonical(shown)
    return [_digest(shown), [each[:2] if canonical(each[2]) == alike else each for each in siblings]]


def _digest(value: Any) -> str | None:
    return None if value is None else sha256(canonical(value)).hex()[:_DIGEST_DIGITS]


def _has_siblings(stamps: Any) -> bool:
    try:
        return "deleted" in stamps or any(len(siblings) > 1 for _, _, siblings in stamps["fields"])
    except (LookupError, TypeError, ValueError):  # no stamps
        return False


def _time_order(modified: Any) -> tuple[int, float, bytes]:
    """A time before nothing, the later time before the earlier one; anything else has some place."""
    if type(modified) in (int, float):
        return 2, modified, b""
    return (0, 0, b"") if modified is None else (1, 0, canonical(modified))


@functools.cache
def _keyed_lists(type_name: str) -> frozenset[str]:
    """The lists whose records have ids in iCure's data."""
    return frozenset(
        each.wire
        for each in fields_of(entity_class(type_name))
        if each.kind is Kind.RECORDS and each.record is not None and each.record.ID_STORED == "_id"
    )


def _keyed(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By id; by what it says if it has none; by its number as well if others have that name."""
    found: dict[str, Any] = {}
    for item in items:
        name = key = _name(item)
        number = 1
        while key in found:
            number += 1
            key = f"{name}#{number}"
        found[key] = item
    return found


def _name(item: Mapping[str, Any]) -> str:
    if isinstance(item.get("id"), str):
        return str(item["id"])
    code = [item.get(name) for name in ("type", "code", "version")]
    return "|".join(each or "" for each in code) if any(code) and all(map(_is_text, code)) else f"#{_digest(item)}"


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _plain(value: Any) -> Any:
    """The value as any software would have it: without empty members, numbers as JavaScript has them.

    Raises InvalidEntity for a number that JavaScript would not have written.
    """
    if type(value) is dict:
        return {name: plain for name, item in value.items() if (plain := _plain(item)) not in _EMPTY}
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is float and abs(value) <= MAX_INTEGER and value.is_integer():
        return int(value)
    if type(value) is int and abs(value) > MAX_INTEGER:
        return _double(value)
    return value


def _double(number: int) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = 0.0
    if settled_json(found) != str(number).encode():
        raise InvalidEntity("stamp a record", "a whole number in it is not exact everywhere", "write it as text")
    return found
