"""What winners show: entries in order and in pages, without what only losing leaves show, and their numbers."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.ids import DocId
from icure_sync.store import Store
from icure_sync.store.heads import DELEGATE, FOREIGN_KEY, TYPE
from icure_sync.store.lookups import CONFLICT, Entry, Place, Span
from tests.store.revisions import rev, revision

ALL = Span(DELEGATE)


def fill(store: Store) -> None:
    """Four documents; in `k` hcp-b is named by a leaf that lost."""
    store.documents.apply(
        [
            revision("p2", "1a", delegations={"hcp-a": []}),
            revision("p1", "1a", delegations={"hcp-a": [], "hcp-b": []}, secretForeignKeys=["s"]),
            revision("gone", "1a", deleted=True, delegations={"hcp-a": []}),
            revision("k", "1b", delegations={"hcp-a": []}, type="Patient"),
            revision("k", "1a", delegations={"hcp-b": []}, type="Contact"),
        ]
    )


def found(store: Store, span: Span, limit: int = 100, *, descending: bool = False) -> list[tuple[str, str]]:
    """All entries of a span, page by page."""
    entries: list[Entry] = []
    rest: Span | None = span
    while rest is not None:
        page = store.lookups.entries(rest, limit, descending=descending)
        entries += page.found
        rest = page.rest
    return [(entry.term, entry.id) for entry in entries]


def test_entries_are_sorted_by_term_and_id_whatever_the_order_of_arrival(store: Store):
    fill(store)
    wanted = [("hcp-a", "k"), ("hcp-a", "p1"), ("hcp-a", "p2"), ("hcp-b", "p1")]
    for limit in (1, 2, 3, 100):
        assert found(store, ALL, limit) == wanted
        assert found(store, ALL, limit, descending=True) == wanted[::-1]
    assert found(store, Span(FOREIGN_KEY)) == [("s", "p1")]


def test_bounds_are_places_open_or_not(store: Store):
    fill(store)
    assert found(store, Span(DELEGATE, Place("hcp-a", "p1"))) == [("hcp-a", "p1"), ("hcp-a", "p2"), ("hcp-b", "p1")]
    assert found(store, Span(DELEGATE, Place("hcp-a", "p1", is_open=True), Place("hcp-b"))) == [("hcp-a", "p2")]
    assert found(store, Span(DELEGATE, None, Place("hcp-a", "p1"))) == [("hcp-a", "k"), ("hcp-a", "p1")]
    assert found(store, Span(DELEGATE, None, Place("hcp-a", "p1", is_open=True))) == [("hcp-a", "k")]


def test_conflicts_are_entries_of_the_empty_term(store: Store):
    fill(store)
    assert found(store, Span(CONFLICT)) == [("", "k")]
    assert found(store, Span(CONFLICT, Place("", "k", is_open=True))) == []
    assert store.lookups.conflict_count() == 1


def test_numbers_count_what_winners_show(store: Store):
    fill(store)
    lookups = store.lookups
    assert (lookups.count(DELEGATE), lookups.count(FOREIGN_KEY)) == (4, 1)
    assert [lookups.count_of(TYPE, one) for one in ("Patient", "Contact")] == [1, 0]
    assert lookups.count_in(Span(DELEGATE, None, Place("hcp-b")), 10) == 3
    assert lookups.count_in(ALL, 3) is None
    store.documents.apply([revision("k", "2b", "1b", deleted=True)])
    assert (lookups.count(DELEGATE), found(store, ALL)[-1]) == (4, ("hcp-b", "p1"))
    assert ("hcp-b", "k") in found(store, ALL)
    store.purges.purge({DocId("k"): [rev(1, "a")]})
    assert lookups.count(DELEGATE) == len(found(store, ALL)) == 3


arrivals = st.lists(
    st.tuples(
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(["1a", "1b", "2a 1a", "2b 1b", "3c 2b 1b"]),
        st.booleans(),
        st.sets(st.sampled_from(["hcp-a", "hcp-b"])),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals=arrivals, limit=st.integers(1, 4))
def test_the_entries_are_those_of_a_look_at_every_winner(
    store: Store, arrivals: list[tuple[str, str, bool, set[str]]], limit: int
):
    for name in ("x", "y", "z"):
        if held := store.documents.leaves(DocId(name)):
            store.purges.purge({DocId(name): [one.rev for one in held]})
    for name, line, deleted, delegates in arrivals:
        store.documents.apply(
            [revision(name, *line.split(), deleted=deleted, delegations={one: [] for one in sorted(delegates)})]
        )
    wanted = []
    for name in ("x", "y", "z"):
        winner = store.documents.get(DocId(name))
        if winner is not None and not winner.deleted:
            wanted += [(hcp, name) for hcp in ("hcp-a", "hcp-b") if f'"{hcp}"'.encode() in winner.body]
    assert found(store, ALL, limit) == sorted(wanted)
    assert found(store, ALL, limit, descending=True) == sorted(wanted, reverse=True)
    assert store.lookups.count(DELEGATE) == len(wanted) == store.lookups.count_in(ALL, 100)
    assert [one for _, one in found(store, Span(CONFLICT), limit)] == sorted(store.documents.conflicted_ids())
    assert store.check() == []
