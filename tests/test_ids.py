"""Identifiers: which texts are accepted, and how revisions are ordered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.ids import MAX_GENERATION, Rev, generation, is_hcp_id, is_kid, is_rev, rev_hash, rev_order

revs = st.builds(
    lambda number, digits: Rev(f"{number}-{digits}"),
    st.integers(1, MAX_GENERATION),
    st.text("0123456789abcdef", min_size=1, max_size=64),
)


@given(revs)
def test_a_revision_id_is_a_generation_and_a_hash(rev: Rev):
    assert is_rev(rev)
    assert f"{generation(rev)}-{rev_hash(rev)}" == rev


@given(revs, revs)
def test_the_higher_generation_wins_then_the_higher_hash(one: Rev, other: Rev):
    if generation(one) != generation(other):
        assert (rev_order(one) > rev_order(other)) == (generation(one) > generation(other))
    else:
        assert (rev_order(one) > rev_order(other)) == (rev_hash(one) > rev_hash(other))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1",
            "1-",
            "-a",
            "0-a",
            "01-a",
            "+1-a",
            "1-A",
            "1-g",
            "1-a\n",
            " 1-a",
            "\u0661-a",
            "1-a-b",
            f"1-{'a' * 65}",
        ),
        *(f"{MAX_GENERATION + 1}-a", f"{10**16}-a", None, 1, b"1-a", ["1-a"]),
    ],
)
def test_other_texts_are_no_revision_ids(text: object):
    assert not is_rev(text)


@pytest.mark.parametrize("text", ["a", "hcp-a", "-", "A_1", "0" * 64, "550e8400-e29b-41d4-a716-446655440000"])
def test_hcp_ids_are_letters_digits_dashes_and_underscores(text: str):
    assert is_hcp_id(text)


@pytest.mark.parametrize("text", ["", "_design", "a" * 65, "a b", "é", "a\n", "a.b", "a$", None, 1, ["a"]])
def test_other_texts_are_no_hcp_ids(text: object):
    assert not is_hcp_id(text)


def test_a_kid_is_32_hex_digits():
    assert is_kid("0123456789abcdef" * 2)
    for text in ("", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "\n", None, b"0" * 32):
        assert not is_kid(text)
