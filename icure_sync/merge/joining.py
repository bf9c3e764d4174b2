"""The join of stamped bodies: what several devices wrote without seeing each other, as one body.

Field by field, a sibling stays unless one of the bodies has seen its stamp and has it no more: then a write that had
seen it took its place. This is the join of the causal map of dotted version vectors: commutative, associative and
idempotent, without clocks and without the bodies that came before. See MERGE.md. Pure; knows no keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.merge.registers import Body, Path, Sibling, sibling_order

_Stamp = tuple[str, int]  # writer, n


def join(bodies: Sequence[Body]) -> dict[str, Any]:
    """The least body that has seen everything that these have. `bodies`: at least one, each passes `check_body`."""
    contexts = [body["context"] for body in bodies]
    registers: dict[Path, list[Sequence[Sibling]]] = {}
    for body in bodies:
        for path, siblings in body["fields"]:
            registers.setdefault(tuple(path), []).append(siblings)
    fields = {path: _joined(held, contexts) for path, held in registers.items()}
    context = _context(contexts)
    writers = _writers(bodies)
    return {
        "context": {writer: context[writer] for writer in sorted(context)},
        "writers": {writer: writers[writer] for writer in sorted(writers)},
        "fields": [[list(path), fields[path]] for path in sorted(fields) if fields[path]],
    }


def covers(one: Body, other: Body) -> bool:
    """Whether `one` shows everything that `other` does and has seen all that it has: the join of both is `one`.

    Who wrote when, which is for people to read, does not count.
    """
    joined = join([one, other])
    return all(canonical(joined[name]) == canonical(one[name]) for name in ("context", "fields"))


def _joined(held: Sequence[Sequence[Sibling]], contexts: Sequence[Mapping[str, int]]) -> list[Sibling]:
    """One register. `held`: its siblings in each body that has it.

    A stamp with two values is a forgery: both are kept.
    """
    if len(held) == len(contexts) and all(_is_same(each, held[0]) for each in held[1:]):
        return list(held[0])
    having: dict[_Stamp, int] = {}
    values: dict[_Stamp, dict[bytes, Sibling]] = {}
    for siblings in held:
        for stamp in {(writer, n) for writer, n, _ in siblings}:
            having[stamp] = having.get(stamp, 0) + 1
        for sibling in siblings:
            values.setdefault((sibling[0], sibling[1]), {}).setdefault(canonical(sibling[2]), sibling)
    kept = (
        values[writer, n].values()
        for (writer, n), count in having.items()
        if count + sum(context.get(writer, 0) < n for context in contexts) == len(contexts)
    )
    return sorted((sibling for each in kept for sibling in each), key=sibling_order)


def _is_same(one: Sequence[Sibling], other: Sequence[Sibling]) -> bool:
    """The usual case, quickly. To Python 1, 1.0 and True are equal, and a forger might tell them apart."""
    return one == other and repr(one) == repr(other)


def _context(contexts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    joined: dict[str, int] = {}
    for context in contexts:
        for writer, n in context.items():
            joined[writer] = max(n, joined.get(writer, 0))
    return joined


def _writers(bodies: Sequence[Body]) -> dict[str, Any]:
    """By the latest time; what decides between equal ones is the same everywhere."""
    joined: dict[str, Any] = {}
    for body in bodies:
        for writer, line in body["writers"].items():
            known = joined.get(writer)
            if known is None or _line_order(line) > _line_order(known):
                joined[writer] = line
    return joined


def _line_order(line: Sequence[Any]) -> tuple[int, str, str]:
    hcp, device, time = line
    return time, hcp, device
