"""Full-text search: what is found, in which order, and which changes wait to be indexed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.errors import NotFound
from icure_sync.ids import DocId
from icure_sync.store import Store
from tests.store.revisions import rev, revision

JOHN, ANN, VISIT = DocId("john"), DocId("ann"), DocId("visit")


@pytest.fixture
def filled(store: Store) -> Store:
    store.documents.apply([revision(doc_id, "1a") for doc_id in ("john", "ann", "visit")])
    store.search.index(JOHN, "Patient", "John Keats, Guy's Hospital, haemoptysis")
    store.search.index(ANN, "Patient", "Anne Kéats-Brawne Łódź")
    store.search.index(VISIT, "Contact", "cough, seen with John; cough again")
    return store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keats", {JOHN, ANN}),
        ("KEATS john", {JOHN}),
        ("john kea", {JOHN}),
        ("kea john", set()),  # only the last word is a beginning
        ("kéats", {JOHN, ANN}),
        ("keats-brawne", {ANN}),
        ("john", {JOHN, VISIT}),
        ("nobody", set()),
        ("", set()),
        ("   ", set()),
    ],
)
def test_words_are_found_whatever_their_case_and_accents(filled: Store, text: str, expected: set[DocId]):
    assert set(filled.search.find(text)) == expected


def test_a_type_narrows_the_search(filled: Store):
    assert filled.search.find("john", "Contact") == [VISIT]
    assert filled.search.find("john", "Form") == []


def test_the_best_match_comes_first_and_the_limit_holds(filled: Store):
    filled.search.index(ANN, "Patient", "a long life, with one cough in it and many other words that matter more")
    assert filled.search.find("cough") == [VISIT, ANN]
    assert filled.search.find("cough", limit=1) == [VISIT]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.text(max_size=20) | st.text('"*()^:-+{}~ ANDORNOTEAR,.\0', max_size=20))
def test_what_a_person_types_is_never_query_syntax(filled: Store, text: str):
    filled.search.find(text)


@pytest.mark.parametrize(
    "text", ["john OR anne", "NOT keats", "text:john", "jo*n", "NEAR(john keats)", '"john', "john)"]
)
def test_operators_are_plain_words(filled: Store, text: str):
    assert set(filled.search.find(text)) <= {JOHN, VISIT}
    assert filled.search.find("john OR anne") == []


def test_a_very_long_text_is_cut(filled: Store):
    assert filled.search.find("john " * 10_000) == filled.search.find("john")


def test_indexing_again_replaces_and_removing_removes(filled: Store):
    filled.search.index(JOHN, "Patient", "Fanny")
    assert filled.search.find("haemoptysis") == []
    assert filled.search.find("fanny") == [JOHN]
    filled.search.remove(JOHN)
    assert filled.search.find("fanny") == []


def test_an_unknown_document_cannot_be_indexed(store: Store):
    with pytest.raises(NotFound):
        store.search.index(JOHN, "Patient", "text")
    with pytest.raises(NotFound):
        store.search.remove(JOHN)


def test_changes_wait_until_they_are_indexed_or_removed(store: Store):
    store.documents.apply([revision("john", "1a"), revision("ann", "1a"), revision("visit", "1a")])
    assert store.search.pending() == [JOHN, ANN, VISIT]
    assert store.search.pending(limit=1) == [JOHN]
    store.search.index(JOHN, "Patient", "john")
    store.search.remove(ANN)
    assert store.search.pending() == [VISIT]
    store.documents.apply([revision("john", "2b", "1a")])
    assert store.search.pending() == [VISIT, JOHN]
    for doc_id in store.search.pending():
        store.search.index(doc_id, "Patient", "text")
    assert store.search.pending() == []


def test_what_is_indexed_out_of_turn_waits_for_its_turn(store: Store):
    store.documents.apply([revision("john", "1a"), revision("ann", "1a")])
    store.search.index(ANN, "Patient", "ann")
    assert store.search.pending() == [JOHN, ANN]
    assert store.search.find("ann") == [ANN]


def test_a_purged_document_does_not_hold_up_the_others(store: Store):
    store.documents.apply([revision("john", "1a"), revision("ann", "1a")])
    store.purges.purge({JOHN: [rev(1, "a")]})
    assert store.search.pending() == [ANN]
    store.search.index(ANN, "Patient", "ann")
    assert store.search.pending() == []


def test_everything_can_be_indexed_again(filled: Store):
    assert filled.search.pending() == []
    filled.search.restart()
    assert filled.search.pending() == [JOHN, ANN, VISIT]
    assert filled.search.find("keats john") == [JOHN]
