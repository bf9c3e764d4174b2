"""Histories of one stamped body, for the laws of merging: any edits, deletions, restorings and merges of it."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import strategies as st

from icure_sync.merge.joining import join
from icure_sync.merge.registers import SECRET_ID, Author, Body, Path, deletion, link, restoring, write

BORN = Author("00" * 8, "hcp-a", "laptop", 1)
VALUES: dict[Path, tuple[Any, ...]] = {
    ("name",): ("Ada", "Adah", None, 1, True, 1.5),
    ("note",): ("", "a cough", {"de": "Husten"}),
    ("order", "services"): (["p"], ["q", "p"], ["p", "q"]),
    ("services", "p"): ({"id": "p", "value": 1}, {"id": "p", "value": 2}, None),
    ("services", "q"): ({"id": "q", "value": 1}, None),
    link("22"): ({"type": "Patient", "id": "p1"}, None),
}

edits = st.sampled_from(sorted(VALUES)).flatmap(lambda path: st.tuples(st.just(path), st.sampled_from(VALUES[path])))
steps = st.one_of(
    st.tuples(st.just("edit"), st.integers(0, 99), edits),
    st.tuples(st.just("join"), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.just("delete"), st.integers(0, 99), st.none()),
    st.tuples(st.just("restore"), st.integers(0, 99), st.none()),
)


def born() -> dict[str, Any]:
    return write(None, {SECRET_ID: "11" * 16, ("name",): "A"}, BORN)


@st.composite
def histories(draw: st.DrawFn, most: int = 14) -> list[Body]:
    """The bodies of one record in any history of edits, deletions, restorings and merges, each by a writer of its own
    that goes on from any body there is."""
    bodies: list[Body] = [born()]
    for number, (what, at, more) in zip(count(1), draw(st.lists(steps, max_size=most)), strict=False):
        body = bodies[at % len(bodies)]
        author = Author(f"{number:016x}", f"hcp-{number % 3}", "phone", draw(st.integers(0, 9)))
        if what == "edit":
            bodies.append(write(body, {more[0]: more[1]}, author))
        elif what == "delete":
            bodies.append(write(body, deletion(body), author))
        elif what == "restore":
            bodies.append(write(body, restoring(), author))
        else:
            bodies.append(join([body, bodies[more % len(bodies)]]))
    return bodies


def picked(data: st.DataObject, bodies: list[Body], size: int) -> list[Body]:
    return [data.draw(st.sampled_from(bodies)) for _ in range(size)]
