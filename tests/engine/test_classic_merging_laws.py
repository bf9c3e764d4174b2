"""Laws of merging in `icure-classic`, over any history of edits by this package and by other software, with and without
stamps: whoever merges the same leaves writes the same bytes, and what was typed stays.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.crypto.classic import with_deletion
from icure_sync.crypto.classic_access import ACCESS_MAPS
from icure_sync.engine.classic import ClassicSuite
from icure_sync.engine.classic_stamps import join_stamped
from icure_sync.engine.suite import Stored
from icure_sync.ids import HcpId
from icure_sync.merge.joining import covers
from icure_sync.model import Address, Content, Service, to_record
from tests.crypto.classic_clinic import PARTIES, A, B, C
from tests.engine.classic_practice import (
    CONTACT,
    PATIENT,
    Practice,
    by_sdk,
    merged,
    shown,
    stamped,
    stored_of,
)

TEXTS = st.sampled_from(["a", "b", "Épanchement — 🩺"])
ADDRESSES = st.lists(st.builds(Address, city=TEXTS), max_size=2).map(tuple)
SERVICES = st.lists(
    st.builds(
        lambda number, text, letter: Service(
            id=f"svc-{number}", label=letter, content={"fr": Content(string_value=text, number_value=1.5)}
        ),
        st.integers(1, 3),
        TEXTS,
        st.sampled_from("xy"),
    ),
    unique_by=lambda service: service.id,
    max_size=3,
).map(tuple)
CHANGES = {
    PATIENT: st.fixed_dictionaries(
        {}, optional={"note": TEXTS | st.none(), "first_name": TEXTS, "addresses": ADDRESSES}
    ),
    CONTACT: st.fixed_dictionaries({}, optional={"description": TEXTS, "services": SERVICES, "location": TEXTS}),
}
SDK_CHANGES = {
    PATIENT: st.fixed_dictionaries({}, optional={"note": TEXTS, "firstName": TEXTS, "comment": TEXTS}),
    CONTACT: st.fixed_dictionaries({}, optional={"descr": TEXTS, "location": TEXTS, "services": st.just([])}),
}
KINDS = ("ours", "ours", "sdk", "sdk", "join", "delete", "restore", "share", "sdk-delete")


class History:
    """Revisions of one record in any order; any of them may be leaves for those who know no others."""

    def __init__(self, practice: Practice, known: list[Stored]) -> None:
        self.practice = practice
        self.known = known

    def __repr__(self) -> str:
        return f"{len(self.known)} revisions"

    def leaves(self, data: st.DataObject, most: int = 4) -> list[Stored]:
        places = st.lists(st.integers(0, len(self.known) - 1), min_size=1, max_size=most, unique=True)
        return [self.known[place] for place in data.draw(places)]


def distinct(*revisions: Stored) -> list[Stored]:
    return list({each.rev: each for each in revisions}.values())


@st.composite
def histories(draw: st.DrawFn, most: int = 8) -> History:
    practice, doc_id = Practice(), draw(st.sampled_from([PATIENT, CONTACT]))
    known = [practice.first(doc_id)]
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=most)):
        above, other = (known[draw(st.integers(0, 99)) % len(known)] for _ in range(2))
        me = draw(st.sampled_from(PARTIES))
        suite = practice.device(me)
        if kind == "ours":
            known.append(practice.edited(above, me, **draw(CHANGES[doc_id])))
        elif kind == "sdk":
            stamps = draw(st.sampled_from(["kept", "dropped"]))
            known.append(practice.edited_by_sdk(above, me, draw(SDK_CHANGES[doc_id]), stamps=stamps))
        elif kind == "join":
            known.append(merged(suite, *distinct(above, other)))
        elif kind == "share":
            known.append(stored_of(suite.share(above, HcpId(draw(st.sampled_from(PARTIES))))))
        elif kind == "sdk-delete":
            at = draw(st.sampled_from([None, 5, 7]))
            known.append(by_sdk(above, with_deletion(above.document, at)))
        else:
            known.append(stored_of(suite.delete(above) if kind == "delete" else suite.restore(above)))
    return History(practice, distinct(*known))


@settings(max_examples=60)
@given(histories(), st.data())
def test_whoever_merges_the_same_leaves_in_whatever_order_writes_the_same_bytes(history: History, data: st.DataObject):
    practice = history.practice
    leaves = history.leaves(data)
    one = practice.device(A).join(leaves)
    for party in PARTIES:
        order = data.draw(st.permutations(range(len(leaves))))
        assert practice.device(party).join([leaves[place] for place in order]) == one
    assert one.shown.leaves == tuple(sorted(leaf.rev for leaf in leaves))


@settings(max_examples=60)
@given(histories(), st.data())
def test_a_merge_holds_the_join_of_its_leaves_and_merging_it_again_changes_nothing(
    history: History, data: st.DataObject
):
    practice = history.practice
    leaves, suite = history.leaves(data), practice.device(B)
    joined = suite.join(leaves)
    expected = join_stamped([stamped(suite, leaf) for leaf in leaves])
    found = stamped(suite, joined.shown)
    for name in ("fields", "context"):
        assert differing(found.body[name], expected.body[name]) == []
    assert (found.times, found.modified, found.deleted_at) == (expected.times, expected.modified, expected.deleted_at)
    assert suite.open(joined.shown).deleted == (expected.deleted_at is not None)
    again = suite.join(distinct(joined.shown, *leaves))
    assert again.shown.rev == joined.shown.rev
    assert again.written is not None
    assert all(each.deleted for each in again.written)


@settings(max_examples=60)
@given(histories(), st.data())
def test_merging_step_by_step_comes_to_what_merging_at_once_does(history: History, data: st.DataObject):
    practice = history.practice
    leaves = history.leaves(data)
    suite = practice.device(C)
    at_once = merged(suite, *leaves)
    staged = leaves[0]
    for leaf in (leaves[place] for place in data.draw(st.permutations(range(len(leaves))))):
        if leaf.rev != staged.rev:
            staged = merged(practice.device(data.draw(st.sampled_from(PARTIES))), staged, leaf)
    assert differing(state(suite, staged), state(suite, at_once)) == []


@settings(max_examples=60)
@given(histories(), st.data())
def test_every_value_stays_until_a_write_that_had_seen_it_takes_its_place(history: History, data: st.DataObject):
    practice = history.practice
    leaves, suite = history.leaves(data), practice.device(A)
    bodies = [stamped(suite, leaf).body for leaf in leaves]
    joined = stamped(suite, suite.join(leaves).shown).body
    kept = {tuple(path): siblings for path, siblings in joined["fields"]}
    for body in bodies:
        assert covers(joined, body)
        for path, siblings in body["fields"]:
            for sibling in siblings:
                stamp = sibling[:2]
                replaced = any(
                    each["context"].get(stamp[0], 0) >= stamp[1]
                    and stamp not in [other[:2] for at, some in each["fields"] if at == path for other in some]
                    for each in bodies
                )
                assert replaced or sibling in kept[tuple(path)]


@settings(max_examples=40)
@given(histories(), st.data())
def test_released_readers_open_what_a_merge_wrote(history: History, data: st.DataObject):
    practice = history.practice
    leaves = history.leaves(data)
    written = merged(practice.device(A), *leaves)
    for party in PARTIES:
        sealed = practice.sdk_reads(written, party)
        content = practice.device(party).open(written).record
        assert {name: value for name, value in sealed.items() if name != "_sync"}.items() <= content.items()


def state(suite: ClassicSuite, stored: Stored) -> dict[str, Any]:
    """What counts of a revision: what it shows, what else it keeps, who can open it."""
    made = stamped(suite, stored)
    maps = {
        name: {party: sorted(map(json.dumps, entries)) for party, entries in stored.document[name].items()}
        for name in ACCESS_MAPS
    }
    return {
        "context": made.body["context"],
        "fields": made.body["fields"],
        "times": made.times,
        "record": to_record(shown(suite, stored)),
        "siblings": suite.open(stored).siblings,
        "deleted": stored.document.get("deleted"),
        "links": sorted(stored.document.get("secretForeignKeys", ())),
        **maps,
    }


def differing(one: Any, other: Any) -> Any:
    """What two values do not have in common, to be read in a failure."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {name: differing(one.get(name), other.get(name)) for name in {**one, **other}}
        return [[name, each] for name, each in names.items() if each != []]
    if isinstance(one, list) and isinstance(other, list):
        return (
            [[each for each in some if each not in others] for some, others in ((one, other), (other, one))]
            if one != other
            else []
        )
    return [] if one == other else [one, other]
