"""Revision trees: the laws of grafting, CouchDB's winner, stemming, and what the tree answers."""

from __future__ import annotations

from itertools import pairwise, permutations, product

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.ids import Rev, generation, rev_order
from icure_sync.merge.revtree import Leaf, RevTree, is_path

Graft = tuple[tuple[Rev, ...], bool]


@st.composite
def grafts(draw: st.DrawFn) -> Graft:
    """A path of up to five revisions in a small world, so that paths meet, fork, leave gaps, and contradict."""
    top = draw(st.integers(1, 6))
    length = draw(st.integers(1, min(top, 5)))
    hashes = draw(st.lists(st.sampled_from("abc"), min_size=length, max_size=length))
    return tuple(Rev(f"{top - depth}-{digits}") for depth, digits in enumerate(hashes)), draw(st.booleans())


def planted(items: list[Graft]) -> RevTree:
    tree = RevTree()
    for history, deleted in items:
        tree = tree.graft(history, deleted)
    return tree


some_grafts = st.lists(grafts(), min_size=1, max_size=7)
trees = some_grafts.map(planted)


def revs_of(tree: RevTree) -> set[Rev]:
    return {rev for path in tree.paths for rev in path}


# The laws


@given(some_grafts, st.data())
def test_a_tree_does_not_depend_on_the_order_of_arrival(items: list[Graft], data: st.DataObject):
    assert planted(items) == planted(data.draw(st.permutations(items)))


@given(trees, grafts())
def test_a_path_that_arrives_again_changes_nothing(tree: RevTree, graft: Graft):
    once = tree.graft(*graft)
    assert once.graft(*graft) == once


@given(trees, some_grafts)
def test_many_paths_at_once_are_the_same_as_one_by_one(tree: RevTree, items: list[Graft]):
    one_by_one = tree
    for graft in items:
        one_by_one = one_by_one.graft(*graft)
    assert tree.graft_all(items) == one_by_one


@given(trees, some_grafts, some_grafts)
def test_grafting_in_batches_is_associative(tree: RevTree, first: list[Graft], second: list[Graft]):
    assert tree.graft_all(first).graft_all(second) == tree.graft_all(first + second)


@given(trees, grafts())
def test_nothing_known_is_ever_lost(tree: RevTree, graft: Graft):
    grown = tree.graft(*graft)
    assert revs_of(grown) == revs_of(tree) | set(graft[0])
    assert all(set(tree.parents(rev)) <= set(grown.parents(rev)) for rev in revs_of(tree))
    assert tree.deleted <= grown.deleted


@given(some_grafts)
def test_leaves_are_the_revisions_that_nothing_descends_from(items: list[Graft]):
    parents = {rev for history, _ in items for rev in history[1:]}
    tips = {history[0] for history, _ in items} - parents
    deleted = {history[0] for history, gone in items if gone}
    assert set(planted(items).leaves()) == {Leaf(rev, rev in deleted) for rev in tips}


@given(trees)
def test_only_what_came_with_a_body_can_be_a_leaf_whatever_is_claimed_of_parents(tree: RevTree):
    for rev in revs_of(tree):
        for parent in tree.parents(rev):
            assert all(leaf.rev != parent for leaf in tree.leaves())


@given(trees)
def test_the_winner_is_live_before_deleted_then_of_the_highest_generation_then_of_the_highest_hash(tree: RevTree):
    best = max(tree.leaves(), key=lambda leaf: (not leaf.deleted, rev_order(leaf.rev)))
    assert tree.winner() == tree.leaves()[0] == best


@given(trees)
def test_the_order_of_leaves_is_that_of_winning(tree: RevTree):
    ranks = [(not leaf.deleted, rev_order(leaf.rev)) for leaf in tree.leaves()]
    assert ranks == sorted(ranks, reverse=True)


@given(trees)
def test_a_history_leads_from_parent_to_parent_down_to_a_root(tree: RevTree):
    for rev in revs_of(tree):
        history = tree.history(rev)
        assert history[0] == rev
        assert is_path(history)
        assert all(parent in tree.parents(child) for child, parent in pairwise(history))
        assert tree.parents(history[-1]) == ()


@given(trees)
def test_a_tree_grown_again_from_its_histories_has_the_same_leaves_in_the_same_order(tree: RevTree):
    again = RevTree().graft_all([(tree.history(leaf.rev), leaf.deleted) for leaf in tree.leaves()])
    assert again.leaves() == tree.leaves()


@given(trees, st.integers(1, 6))
def test_stemming_keeps_the_leaves_and_cuts_what_is_far_below_all_of_them(tree: RevTree, limit: int):
    stemmed = tree.stem(limit)
    assert stemmed.leaves() == tree.leaves()
    assert stemmed.stem(limit) == stemmed
    above: dict[Rev, set[Rev]] = {}
    for leaf in tree.leaves():
        todo = [leaf.rev]
        while todo:
            rev = todo.pop()
            above.setdefault(rev, set()).add(leaf.rev)
            todo += tree.parents(rev)
    near = {rev for rev, tips in above.items() if max(map(generation, tips)) - generation(rev) < limit}
    assert revs_of(stemmed) == near
    assert stemmed.deleted == tree.deleted & near


@given(trees, st.integers(1, 6), st.integers(1, 6))
def test_stemming_twice_is_stemming_to_the_lower_limit(tree: RevTree, one: int, other: int):
    assert tree.stem(one).stem(other) == tree.stem(min(one, other))


@given(trees)
def test_what_is_missing_is_what_the_tree_does_not_hold(tree: RevTree):
    asked = [Rev(f"{number}-{digits}") for number, digits in product(range(1, 8), "abcd")]
    assert tree.missing(asked) == tuple(rev for rev in asked if rev not in revs_of(tree))
    assert all((rev in tree) == (rev in revs_of(tree)) for rev in asked)


@given(trees, st.integers(1, 8))
def test_possible_ancestors_are_the_leaves_of_lower_generations(tree: RevTree, number: int):
    expected = tuple(leaf.rev for leaf in tree.leaves() if generation(leaf.rev) < number)
    assert tree.possible_ancestors(Rev(f"{number}-ff")) == expected


@given(trees)
def test_a_tree_comes_back_from_msgpack_as_it_was(tree: RevTree):
    assert RevTree.from_value(msgpack.unpackb(msgpack.packb(tree.to_value()))) == tree


# By example


def path(*revs: str) -> tuple[Rev, ...]:
    return tuple(map(Rev, revs))


def test_the_empty_tree_has_no_leaves_and_no_winner():
    tree = RevTree()
    assert not tree
    assert tree.leaves() == ()
    assert tree.stem(1) == tree
    assert tree.missing(path("1-a")) == path("1-a")
    with pytest.raises(LookupError):
        tree.winner()


def test_an_unknown_revision_has_no_history():
    with pytest.raises(LookupError):
        RevTree().graft(path("2-b", "1-a")).history(Rev("2-c"))


def test_a_fork_has_two_leaves_until_a_tombstone_ends_one():
    forked = RevTree().graft(path("2-b", "1-a")).graft(path("2-c", "1-a"))
    assert forked.leaves() == (Leaf(Rev("2-c"), False), Leaf(Rev("2-b"), False))
    ended = forked.graft(path("3-d", "2-c", "1-a"), deleted=True)
    assert ended.leaves() == (Leaf(Rev("2-b"), False), Leaf(Rev("3-d"), True))
    assert ended.history(Rev("3-d")) == path("3-d", "2-c", "1-a")


def test_two_pieces_join_when_a_path_spans_the_gap():
    pieces = RevTree().graft(path("5-e")).graft(path("2-b", "1-a"))
    assert [leaf.rev for leaf in pieces.leaves()] == ["5-e", "2-b"]
    joined = pieces.graft(path("5-e", "4-d", "3-c", "2-b"))
    assert joined.paths == (path("5-e", "4-d", "3-c", "2-b", "1-a"),)


@pytest.mark.parametrize("order", list(permutations([path("2-c", "1-a"), path("2-c", "1-b"), path("1-b")])))
def test_a_revision_that_is_claimed_for_two_parents_keeps_both_and_neither_is_a_leaf(
    order: tuple[tuple[Rev, ...], ...],
):
    tree = RevTree()
    for claim in order:
        tree = tree.graft(claim)
    assert tree.leaves() == (Leaf(Rev("2-c"), False),)
    assert tree.parents(Rev("2-c")) == path("1-b", "1-a")
    assert tree.history(Rev("2-c")) == path("2-c", "1-b")


def test_two_hundred_leaves_are_one_tree():
    revs = [Rev(f"2-{number:032x}") for number in range(200)]
    tree = RevTree().graft_all([((rev, Rev("1-a")), False) for rev in revs])
    assert [leaf.rev for leaf in tree.leaves()] == revs[::-1]
    assert RevTree.from_value(tree.to_value()) == tree


def test_a_long_history_is_packed_in_half_the_space_of_its_digits():
    history = tuple(Rev(f"{number}-{number:032x}") for number in range(1_000, 0, -1))
    tree = RevTree().graft(history)
    assert len(msgpack.packb(tree.to_value())) < 1_000 * 17
    assert RevTree.from_value(tree.to_value()) == tree


@pytest.mark.parametrize("digits", ["A" * 32, "z" * 32, "xyz", "a" * 31 + "-", "é" * 32])
def test_hashes_that_are_not_hex_come_back_too(digits: str):
    tree = RevTree().graft(path(f"2-{digits}", "1-" + "a" * 32))
    assert RevTree.from_value(msgpack.unpackb(msgpack.packb(tree.to_value()))) == tree


@pytest.mark.parametrize(
    "history",
    [
        (),
        ("1-",),
        ("a-1",),
        ("2-a", "2-b"),
        ("3-a", "1-b"),
        ("1-a", "2-b"),
        ("1-A",),
        ("0-a",),
        ("2-a", "1-a", "0-a"),
        (5,),
    ],
)
def test_what_is_no_history_is_told_apart(history: tuple[Rev, ...]):
    assert not is_path(history)


# Purging


@given(trees, st.data())
def test_what_is_without_some_leaves_is_the_others_with_their_ancestors(tree: RevTree, data: st.DataObject):
    leaves = [leaf.rev for leaf in tree.leaves()]
    gone = set(data.draw(st.lists(st.sampled_from(leaves))))
    left = tree.without(gone)
    assert left.leaves() == tuple(leaf for leaf in tree.leaves() if leaf.rev not in gone)
    for leaf in left.leaves():
        assert left.history(leaf.rev) == tree.history(leaf.rev)
    for rev in revs_of(left):
        assert left.parents(rev) == tree.parents(rev)
    assert left.deleted == tree.deleted & revs_of(left)


@given(trees)
def test_nothing_is_without_all_leaves_and_no_inner_revision_can_be_taken_out(tree: RevTree):
    leaves = {leaf.rev for leaf in tree.leaves()}
    assert tree.without(leaves) == RevTree()
    assert tree.without(revs_of(tree) - leaves) == tree
