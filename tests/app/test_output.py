"""What is printed."""

from __future__ import annotations

import pytest

from icure_sync.app.output import counted, fields, printable, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë, 38 °C", "Zoë, 38 °C"),
        ("two\nlines\tand\u00a0more", "two lines and more"),
        ("\x1b[31mred\x07", "�[31mred�"),
        ("\u202eturned", "�turned"),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_text_of_others_is_shown_on_one_line_and_steers_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_columns_are_aligned_without_trailing_blanks() -> None:
    assert table(["ID", "NAME"], [["1", "Keats"], ["22", ""]]) == "ID  NAME\n1   Keats\n22"


def test_fields_are_aligned() -> None:
    assert fields({"id": "1", "first_name": "John"}) == "id:         1\nfirst_name: John"
    assert fields({}) == ""


def test_one_is_not_many() -> None:
    assert [counted(number, "document") for number in (0, 1, 2)] == ["0 documents", "1 document", "2 documents"]
