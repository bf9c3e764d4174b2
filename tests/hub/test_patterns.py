"""`$regex`: what PCRE's patterns mean, in a time that grows with the text alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.hub import automaton
from icure_sync.hub import patterns as patterns_of_the_hub
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.pattern_reader import MAX_PATTERN
from icure_sync.hub.patterns import compile_automaton, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", ""),
        ("foo", "a foo b"),
        ("^foo$", "foo"),
        ("^foo$", "foo\n"),
        (".*foo.*", "xx foo yy"),
        ("^@.*[0-9]+$", "@user_1"),
        ("(A|B)+$", "xABAB"),
        ("(?i)^ann", "ANNA"),
        ("a(?i)b|c", "C"),
        ("(?i:A)b", "ab"),
        ("(?i)[^b]", "a"),
        ("(?s)a.b", "a\nb"),
        ("(?m)^b$", "a\nb\nc"),
        ("(?i-i:A)", "A"),
        ("a{2}b{1,}c{0,1}d?", "aabbd"),
        ("a{,3}", "a{,3}"),
        ("x{a}", "x{a}"),
        ("a*?b+?", "b"),
        ("\\bfoo\\B", "a fooo"),
        ("\\Afoo\\z", "foo"),
        ("foo\\Z", "foo\n"),
        ("\\d\\D\\w\\W\\s\\S\\h\\v", "1a_- x\t\n"),
        ("\\x41\\x{1F600}\\t\\.\\/\\-\\0", "A😀\t./-\0"),
        ("[]a]", "]"),
        ("[^]a]", "b"),
        ("[a-c-]+$", "b-"),
        ("[\\w-]+$", "a-b"),
        ("[a-\\d]$", "-"),
        ("[[:alpha:][:^print:]]", "\x01"),
        ("[\\b\\x41\\]]", "\b"),
        ("[.*+?(){}|^$]{3}", "$.|"),
        ("(?<name>a)(?P<other>b)(?'third'c)", "abc"),
        ("]}", "]}"),
        ("é.", "éa"),
        ("\\N+$", "ab"),
        ("(|a)b", "b"),
        ("(a*)*b", "aab"),
        ("(^a)?b", "b"),
    ],
)
def test_what_is_found(pattern: str, text: str) -> None:
    assert compile_pattern(pattern)(text)
    assert compile_automaton(pattern)(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^foo$", "foo\n\n"),
        ("^foo", "a\nfoo"),
        ("\\Afoo\\z", "foo\n"),
        ("a.b", "a\nb"),
        ("(?i)[^a]", "A"),
        ("(?i)é", "É"),
        ("\\w", "é"),
        ("\\d", "٣"),
        ("(?-i)a", "A"),
        ("a{2,3}$", "a"),
        ("\\bfoo\\b", "foobar"),
        ("[^a-z]", "abc"),
        ("(?m)^$", "a\nb\n"),
        ("ab|cd$", "xcdx"),
    ],
)
def test_what_is_not_found(pattern: str, text: str) -> None:
    assert not compile_pattern(pattern)(text)
    assert not compile_automaton(pattern)(text)


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "a)",
        "[a",
        "[]",
        "*a",
        "a**",
        "a{2}{3}*+",
        "a{3,2}",
        "[b-a]",
        "[[:nope:]]",
        "\\",
        "[\\",
        "\\x{110000}",
        "{2}",
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(HttpRefusal, match="Bad argument for operator"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a)\\1",
        "(?=a)",
        "(?<!a)b",
        "(?>a)b",
        "a++",
        "(?R)",
        "(*ANY)",
        "\\p{L}",
        "[\\p{L}]",
        "[\\1]",
        "a{3000}",
        "(a{60}){60}",
        "a" * (MAX_PATTERN + 1),
        "(" * 60 + ")" * 60,
    ],
)
def test_what_needs_backtracking_or_too_much_room_is_refused(pattern: str) -> None:
    with pytest.raises(HttpRefusal, match="more involved than allowed"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 20_000 + "b"),
        ("(a|aa)*c", "a" * 20_000),
        (".*.*.*x", "a" * 20_000),
        ("(x+x+)+y", "x" * 20_000),
        ("(a|b)*a(a|b){12}c", "abbabaaab" * 2_000),
    ],
)
def test_no_pattern_runs_away(pattern: str, text: str) -> None:
    assert not compile_pattern(pattern)(text)


def test_a_search_that_would_take_too_long_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "MAX_WORK", 100)
    assert compile_automaton("a")("b" * 50 + "a")
    assert not compile_automaton("a")("b" * 200 + "a")


def test_nothing_however_often_is_nothing() -> None:
    assert compile_pattern("(((((){1999}){1999}){1999}){1999}){1999}a")("ba")


@pytest.mark.parametrize(("pattern", "length", "is_searched"), [("a?a?a?.*b", 500, False), ("a?a?a?.*b", 501, True)])
def test_long_texts_are_no_match_for_backtracking(
    monkeypatch: pytest.MonkeyPatch, pattern: str, length: int, is_searched: bool
) -> None:
    monkeypatch.setattr(automaton, "MAX_WORK", -1)
    assert compile_pattern(pattern)("a" * (length - 1) + "b") is not is_searched


def test_what_is_kept_of_a_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "MAX_KEPT", 2)
    assert compile_pattern("(a|b)*abba$")("abaababba")


chars = st.sampled_from(
    ["a", "b", "A", "_", " ", "\n", "1", "é", "\\.", ".", "\\w", "\\d", "\\s", "\\W", "[ab]", "[^a]", "[a-c1]"]
)
atoms = st.one_of(chars, st.sampled_from(["^", "$", "\\b", "\\B", "(?m:^)", "(?m:$)"]))
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda one: f"(?i:{one})"),
        inner.map(lambda one: f"(?s:{one})"),
    ),
    max_leaves=6,
)


@given(patterns, st.text("abA_ \n1é", min_size=1, max_size=8))
def test_a_pattern_means_what_it_means_elsewhere(pattern: str, text: str) -> None:
    in_another_engine = re.compile(pattern.replace("(?m:^)", "(?m:^)(?:(?!\\Z)|\\A)"), re.ASCII)
    assert compile_automaton(pattern)(text) == (in_another_engine.search(text) is not None)


simple = st.lists(
    st.sampled_from(
        ["a", "b", "A", " ", "1", "é", ".", "^", "$", "|", "a*", ".+", "b?", "[^a]", "[a-c1]+", "\\w", "\\.", "\\b"]
    ),
    max_size=5,
).map("".join)


@given(simple, st.booleans(), st.text("abA_ \n1é.", max_size=8))
def test_the_quick_way_finds_the_same(pattern: str, in_either_case: bool, text: str) -> None:
    whole = "(?i)" * in_either_case + pattern
    assert compile_pattern(whole)(text) == compile_automaton(whole)(text)


@pytest.mark.parametrize(
    ("pattern", "is_quick"),
    [
        ("^Ann", True),
        ("(?i)^ann.*$", True),
        ("a|b|[0-9]+\\.pdf$", True),
        ("(a)b", True),
        ("(a)*", False),
        ("a*b*", False),
        ("a?a?a?a?a", False),
        ("(a|a)(a|a)(a|a)(a|a)", False),
        ("a{2}", False),
        ("[[:alpha:]]", False),
        ("a(?i)b", False),
        ("a++", False),
    ],
)
def test_only_patterns_that_cannot_run_away_go_the_quick_way(pattern: str, is_quick: bool) -> None:
    assert (patterns_of_the_hub._quick(pattern) is not None) == is_quick
