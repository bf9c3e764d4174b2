"""The safe seq: nothing is safe before everything read earlier is settled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icure_sync.ids import Seq
from icure_sync.replication.sequences import SafeSeq


def seqs(*texts: str | None) -> list[Seq | None]:
    return [None if text is None else Seq(text) for text in texts]


def test_an_empty_page_makes_its_last_seq_safe():
    sequence = SafeSeq(Seq("0"))
    assert list(sequence.read([], Seq("9"))) == []
    assert sequence.safe == "9"


def test_a_later_row_is_not_safe_before_an_earlier_one():
    sequence = SafeSeq(Seq("0"))
    first, second = sequence.read(seqs("a", "b"), Seq("b'"))
    sequence.settle([second])
    assert sequence.safe == "0"
    sequence.settle([first])
    assert sequence.safe == "b'"


def test_a_row_without_a_seq_is_covered_by_the_next_that_has_one():
    sequence = SafeSeq(Seq("0"))
    one, two, three = sequence.read(seqs("a", None, "c"), Seq("end"))
    sequence.settle([one, two])
    assert sequence.safe == "a"
    sequence.settle([three])
    assert sequence.safe == "end"


def test_the_next_page_waits_for_the_one_before():
    sequence = SafeSeq(Seq("0"))
    (early,) = sequence.read(seqs("a"), Seq("a"))
    (late,) = sequence.read(seqs("b"), Seq("b"))
    sequence.settle([late])
    assert sequence.safe == "0"
    sequence.settle([early])
    assert sequence.safe == "b"


def test_settling_twice_is_harmless():
    sequence = SafeSeq(Seq("0"))
    tickets = sequence.read(seqs("a", "b"), Seq("b"))
    sequence.settle(tickets[:1])
    sequence.settle(tickets)
    sequence.settle(tickets)
    assert sequence.safe == "b"
    assert list(sequence.read(seqs("c"), Seq("c")))
    assert sequence.safe == "b"


def test_seqs_are_never_ordered():
    sequence = SafeSeq(Seq("9"))
    (ticket,) = sequence.read(seqs("3-rewound"), Seq("3-rewound"))
    sequence.settle([ticket])
    assert sequence.safe == "3-rewound"


@given(st.data())
def test_in_whatever_order_rows_are_settled_the_safe_seq_is_that_of_the_settled_beginning(data: st.DataObject):
    pages = data.draw(st.lists(st.lists(st.booleans(), max_size=5), min_size=1, max_size=5))
    sequence = SafeSeq(Seq("start"))
    rows: list[tuple[int | None, Seq | None]] = []  # ticket, seq; the end of a page has no ticket
    for page, with_seq in enumerate(pages):
        named = [Seq(f"{page}.{row}") if known else None for row, known in enumerate(with_seq)]
        tickets = sequence.read(named, Seq(f"{page}.end"))
        rows += [*zip(tickets, named, strict=True), (None, Seq(f"{page}.end"))]
    settled: set[int] = set()
    for ticket in data.draw(st.permutations([ticket for ticket, _ in rows if ticket is not None])):
        sequence.settle([ticket])
        settled.add(ticket)
        expected = Seq("start")
        for row, seq in rows:
            if row is not None and row not in settled:
                break
            expected = seq or expected
        assert sequence.safe == expected
