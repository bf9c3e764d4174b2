"""`$regex`: what PCRE's patterns mean, in a time that grows with the text alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.hub import automaton
from icure_sync.hub import patterns as patterns_of_the_hub
from icure_sync.hub.allowance import MAX_COMPARISONS, MAX_WORK, Allowance, Exhausted
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.pattern_reader import MAX_PATTERN, read_pattern
from icure_sync.hub.patterns import Search, compile_automaton, compile_pattern


def finds(search: Search, text: str) -> bool:
    return search(text, Allowance())


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
    assert finds(compile_pattern(pattern), text)
    assert finds(compile_automaton(pattern), text)


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
    assert not finds(compile_pattern(pattern), text)
    assert not finds(compile_automaton(pattern), text)


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
    assert not finds(compile_pattern(pattern), text)


def test_a_search_spends_what_it_does_and_ends_with_the_allowance() -> None:
    search = compile_automaton("(a|b)*a(a|b){8}c")
    cold, warm = Allowance(), Allowance()
    text = "abbabaaab" * 50
    assert not search(text, cold)
    assert not search(text, warm)
    assert warm.work == MAX_WORK - len(text)
    assert cold.work < warm.work - len(text) * 8
    with pytest.raises(Exhausted):
        search(text, Allowance(len(text) - 1))


def test_a_match_that_is_near_costs_little_in_a_long_text() -> None:
    allowance = Allowance()
    assert compile_automaton("a")("a" + "b" * 1_000_000, allowance)
    assert allowance.work > MAX_WORK - 10_000


def test_nothing_however_often_is_nothing() -> None:
    assert finds(compile_pattern("(((((){1999}){1999}){1999}){1999}){1999}a"), "ba")


def test_a_pattern_with_more_parts_than_can_be_built_is_refused() -> None:
    for pattern in ("(a" + "|" * 900 + "){1999}", "(a" + "()" * 490 + "){1999}"):
        with pytest.raises(HttpRefusal, match="more involved than allowed"):
            compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "is_quick"),
    [
        ("a?a?a?.*b", "a" * 150, True),
        ("a?a?a?.*b", "a" * 300, False),
        ("foo.*bar", "a" * 500, True),
        ("foo.*bar", "a" * 600, False),
        ("^foo.*bar", "a" * 100_000, True),
        ("^foo.*bar|x", "a" * 5_000, False),
        (".*" + "[ab]" * 200 + "c", "a" * 100, False),
        ("foo", "a" * 100_000, True),
        ("foo", "a" * 1_000_000, False),
    ],
)
def test_long_texts_are_no_match_for_backtracking(pattern: str, text: str, is_quick: bool) -> None:
    """The longer the pattern and the more ways there are through it, the shorter the text must be."""
    allowance = Allowance()
    assert not compile_pattern(pattern)(text, allowance)
    assert (allowance.work == MAX_WORK) is is_quick
    assert (allowance.comparisons == MAX_COMPARISONS) is not is_quick


def test_once_the_quick_way_has_had_its_share_the_automaton_goes_on() -> None:
    allowance = Allowance(comparisons=1_000)
    search = compile_pattern("^Ann")
    for _ in range(1_000):
        assert search("Ann", allowance)
        assert not search("Bob", allowance)
    assert 0 <= allowance.comparisons < 40
    assert allowance.work < MAX_WORK


@pytest.mark.parametrize("kept", [0, 2, 40])
def test_what_is_kept_of_a_search_is_bounded(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(automaton, "MAX_KEPT", kept)
    search = read_pattern("(a|b)*a(a|b){5}c")
    allowance = Allowance()
    assert not search.search("abbabaaab" * 20, allowance)
    assert search.search("abbabaaabc", allowance)
    states = sum(len(node.known) + len(node.following) for node in search._nodes.values())
    assert states <= kept + 10  # what is reached last is kept, whatever its size


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


texts = st.lists(st.text("abA_ \n1é", min_size=1, max_size=8), min_size=1, max_size=4)


@given(patterns, texts, st.sampled_from([0, 8, automaton.MAX_KEPT]))
def test_a_pattern_means_what_it_means_elsewhere(pattern: str, texts: list[str], kept: int) -> None:
    """Whatever was searched before with the same automaton, and whatever is kept of that."""
    in_another_engine = re.compile(pattern.replace("(?m:^)", "(?m:^)(?:(?!\\Z)|\\A)"), re.ASCII)
    search = compile_automaton(pattern)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(automaton, "MAX_KEPT", kept)
        for text in texts:
            assert finds(search, text) == (in_another_engine.search(text) is not None)


simple = st.lists(
    st.sampled_from(
        ["a", "b", "A", " ", "1", "é", ".", "^", "$", "|", "a*", ".+", "b?", "[^a]", "[a-c1]+", "\\w", "\\.", "\\b"]
    ),
    max_size=5,
).map("".join)


@given(simple, st.booleans(), st.text("abA_ \n1é.", max_size=8))
def test_the_quick_way_finds_the_same(pattern: str, in_either_case: bool, text: str) -> None:
    whole = "(?i)" * in_either_case + pattern
    assert finds(compile_pattern(whole), text) == finds(compile_automaton(whole), text)


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
