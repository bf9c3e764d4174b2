"""Revision ids: a function of what was written; and who wrote it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.revision import (
    check_place,
    check_revision_id,
    check_written,
    extended,
    revision_id,
    writer_of,
    written,
)
from icure_sync.crypto.signers import Signer
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, Rev, generation, is_rev, rev_order
from tests.crypto.records import JSON_VALUES, shared_patient
from tests.keys import A, B, identity

DOC_ID = DocId("0" * 32)
PUBLIC = Signer(identity(A).signing_key.public)
revs = st.builds(lambda n, digits: Rev(f"{n}-{digits:032x}"), st.integers(1, 10**6), st.integers(0, 2**128 - 1))
plain = st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9) | st.text("xyz"), max_size=3)


@given(plain, st.lists(revs, max_size=4))
def test_the_same_bytes_make_the_same_revision_whatever_the_order_of_members(
    fields: dict[str, Any], parents: list[Rev]
):
    document = {"type": "Patient", "parents": parents, **fields}
    rev = revision_id(DOC_ID, document, A)
    assert is_rev(rev)
    assert revision_id(DOC_ID, dict(reversed(document.items())), A) == rev
    assert revision_id(DOC_ID, {**document, "written": {}, "_id": "x", "_rev": "y", "_attachments": {}}, A) == rev


@given(plain, st.lists(revs, max_size=4))
def test_a_revision_extends_the_winner_among_its_parents(fields: dict[str, Any], parents: list[Rev]):
    rev = revision_id(DOC_ID, {"type": "Patient", "parents": parents, **fields}, A)
    above = extended(parents)
    assert generation(rev) == (generation(above) + 1 if above else 1)
    assert above is None or all(rev_order(above) >= rev_order(parent) for parent in parents)


def test_everything_that_was_written_is_in_the_revision_id():
    document = {"type": "Patient", "parents": [], "field": 1}
    variants = [
        revision_id(DOC_ID, document, A),
        revision_id(DOC_ID, document, B),
        revision_id("1" * 32, document, A),
        revision_id(DOC_ID, {**document, "type": "Contact"}, A),
        revision_id(DOC_ID, {**document, "field": 2}, A),
        revision_id(DOC_ID, {**document, "further": None}, A),
        revision_id(DOC_ID, {**document, "parents": [Rev("1-a")]}, A),
        revision_id(DOC_ID, {**document, "parents": [Rev("1-b")]}, A),
    ]
    assert len(set(variants)) == len(variants)


def test_a_written_document_checks_and_an_altered_one_does_not():
    rev, document = written(DOC_ID, {"type": "Patient", "parents": [], "field": 1}, identity(A))
    assert writer_of(DOC_ID, document) == A
    check_written(DOC_ID, rev, document, PUBLIC)
    check_revision_id(DOC_ID, rev, document)
    for doc_id, other_rev, other in (
        (DOC_ID, rev, {**document, "field": 2}),
        (DOC_ID, rev, {**document, "field": 1, "further": 1}),
        (DOC_ID, Rev(f"1-{'0' * 32}"), document),
        (DOC_ID, Rev(rev.replace("1-", "2-")), document),
        (DocId("1" * 32), rev, document),
        (DOC_ID, rev, {**document, "written": {**document["written"], "by": B}}),
    ):
        with pytest.raises(Tampered, match="revision id"):
            check_written(doc_id, other_rev, other, PUBLIC)
    for key, signature in (
        (Signer(identity(B).signing_key.public), document["written"]["signature"]),
        (PUBLIC, shared_patient().document["written"]["signature"]),
    ):
        with pytest.raises(Tampered, match="does not hold"):
            check_written(DOC_ID, rev, {**document, "written": {"by": A, "signature": signature}}, key)


@pytest.mark.parametrize(
    "members",
    [
        {"parents": None},
        {"parents": ["x"]},
        {"parents": [["1-a"]]},
        {"written": None},
        {"written": {"by": A}},
        {"written": {"by": A, "signature": 1}},
        {"written": {"by": None, "signature": ""}},
        {"written": {"by": A, "signature": "", "at": 0}},
        {"type": ...},
        {"parents": ...},
    ],
)
def test_a_revision_that_is_not_stated_as_it_must_be_is_refused(members: dict[str, Any]):
    rev, document = written(DOC_ID, {"type": "Patient", "parents": []}, identity(A))
    changed = {name: value for name, value in {**document, **members}.items() if value is not ...}
    with pytest.raises(Tampered):
        check_written(DOC_ID, rev, changed, PUBLIC)


@given(st.sampled_from(["type", "parents", "written", "field"]), JSON_VALUES)
def test_no_value_stops_a_revision_from_being_judged(member: str, value: Any):
    rev, document = written(DOC_ID, {"type": "Patient", "parents": [], "field": None}, identity(A))
    try:
        check_written(DOC_ID, rev, {**document, member: value}, PUBLIC)
    except (Tampered, InvalidEntity):
        return
    assert document[member] == value


def test_a_revision_stands_where_its_writer_put_it():
    check_place(DOC_ID, {"parents": ["2-b", "2-a"]}, [Rev("2-b")])
    check_place(DOC_ID, {"parents": ["2-b"]}, ())  # past what is known of the tree
    for parents, above in ((["2-b", "2-a"], "2-a"), (["3-a"], "2-a"), ([], "1-a")):
        with pytest.raises(Tampered, match="did not put it"):
            check_place(DOC_ID, {"parents": parents}, [Rev(above)])
