"""Fuzzy dates."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.errors import InvalidEntity
from icure_sync.model import fuzzy_date, iso_text


@pytest.mark.parametrize(
    ("when", "fuzzy"),
    [
        ("1795-10-31", 17951031),
        ("1795-10", 17951000),
        ("1795", 17950000),
        ("17951031", 17951031),
        ("17950000", 17950000),
        ("20231114221320", 20231114221320),
        ("2023-11-14T22:13:20", 20231114221320),
        ("2023-11-14 22:13", 20231114221300),
        ("2023-11-14T22:13:20.5+01:00", 20231114221320),
        ("2024-02-29", 20240229),
        (dt.date(1795, 10, 31), 17951031),
        (dt.datetime(1795, 10, 31, 1, 2, 3, tzinfo=dt.UTC), 17951031010203),
    ],
)
def test_a_date_becomes_a_fuzzy_integer(when: str | dt.date, fuzzy: int):
    assert fuzzy_date(when) == fuzzy


@pytest.mark.parametrize(
    "text",
    [
        "", "31/10/1795", "1795-13-01", "1795-02-30", "1795-00-12", "0000-01-01", "2023-02-29", "1900-02-29",
        "1795-10-32",
        "2023-11-14T25:00", "2023-11-14T22:60", "tomorrow", "1795-10-31x", "²⁰²³-11-14", "2023111422", "179510310",
    ],
)  # fmt: skip
def test_what_is_no_date_is_refused_and_not_repeated(text: str):
    with pytest.raises(InvalidEntity) as caught:
        fuzzy_date(text)
    assert not text or text not in str(caught.value).replace("1795-10-31, or 1795-10 or 1795 if", "")


@given(st.dates(min_value=dt.date(1000, 1, 1)))
def test_every_day_comes_back_as_it_was_written(day: dt.date):
    assert iso_text(fuzzy_date(day)) == day.isoformat()
    assert fuzzy_date(day.isoformat()) == fuzzy_date(day)


@pytest.mark.parametrize(
    ("fuzzy", "text"),
    [(17951000, "1795-10"), (17950000, "1795"), (20231114221320, "2023-11-14T22:13:20"), (5, "5"), (-1, "-1")],
)
def test_what_is_not_known_is_not_shown(fuzzy: int, text: str):
    assert iso_text(fuzzy) == text
