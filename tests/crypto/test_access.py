"""Who may read: subjects, signed statements and what follows from them."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.access import (
    Statement,
    Subject,
    carried,
    check_statement,
    digest,
    document_id,
    entry_digest,
    grant,
    parties,
    revocation,
    union,
    with_entries,
)
from icure_sync.crypto.signers import Signer
from icure_sync.errors import InvalidEntity, NoAccess, Tampered
from icure_sync.ids import HcpId
from tests.keys import A, B, C, identity, seeded, signer

D = HcpId("hcp-d")
PEOPLE = (A, B, C, D)
SUBJECT = Subject.create("Patient", identity(A), seeded("subject"))
OTHER = Subject.create("Patient", identity(A), seeded("another subject"))

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def given_by(by: HcpId, delegate: HcpId, known: list[Statement]) -> Statement:
    return grant(SUBJECT, delegate, known, identity(by))


def revoked_by(by: HcpId, delegate: HcpId, seed: str = "nonce") -> Statement:
    return revocation(SUBJECT, delegate, identity(by), seeded(seed))


# Subjects


def test_a_subject_is_read_back_from_its_document():
    document = {"type": "Patient", "creator": SUBJECT.creator}
    assert Subject.of(SUBJECT.id, document) == SUBJECT
    assert SUBJECT.check_signature(Signer(identity(A).signing_key.public))
    assert document_id("Patient", A, SUBJECT.nonce) == SUBJECT.id
    assert len(SUBJECT.id) == 32


@pytest.mark.parametrize(("member", "value"), [("by", "hcp-b"), ("nonce", "0" * 32)])
def test_nobody_else_can_make_a_document_of_that_id(member: str, value: str):
    with pytest.raises(Tampered, match="not the one that its creator made"):
        Subject.of(SUBJECT.id, {"type": "Patient", "creator": {**SUBJECT.creator, member: value}})
    with pytest.raises(Tampered, match="not the one that its creator made"):
        Subject.of(SUBJECT.id, {"type": "Contact", "creator": SUBJECT.creator})


def test_a_creator_who_did_not_sign_is_noticed():
    for signature in (OTHER.signature, identity(B).sign("creator", "x"), "%"):
        forged = Subject.of(SUBJECT.id, {"type": "Patient", "creator": {**SUBJECT.creator, "signature": signature}})
        with pytest.raises(Tampered):
            forged.check_signature(Signer(identity(A).signing_key.public))


@given(st.sampled_from(["by", "nonce", "signature", "further"]), JSON_VALUES)
def test_a_creator_of_another_form_is_refused(member: str, value: Any):
    for creator in ({**SUBJECT.creator, member: value}, value):
        for type_ in ("Patient", value):
            try:
                Subject.of(SUBJECT.id, {"type": type_, "creator": creator})
            except (Tampered, InvalidEntity):
                continue
            assert (type_, member) == ("Patient", "signature")
            assert isinstance(value, str)


# One statement


def all_kinds() -> list[Statement]:
    first = given_by(A, B, [])
    ended = revoked_by(A, B)
    return [first, given_by(B, C, [first]), ended, given_by(A, B, [first, ended])]


def test_a_statement_is_checked_with_its_author_s_key():
    for statement in all_kinds():
        assert check_statement(SUBJECT, statement, signer)
        assert not check_statement(SUBJECT, statement, lambda _: None)  # pending
        with pytest.raises(Tampered):
            check_statement(SUBJECT, statement, lambda _: Signer(identity(C).signing_key.public))


def test_a_statement_counts_in_its_document_only():
    for statement in all_kinds():
        with pytest.raises(Tampered):
            check_statement(OTHER, statement, signer)


def test_every_field_of_a_statement_is_signed():
    for statement in all_kinds():
        for name, value in statement.items():
            changed = {**statement, name: changed_member(name, value)}
            assert carried(SUBJECT.id, {"access": [changed]}) == [changed]
            with pytest.raises(Tampered):
                check_statement(SUBJECT, changed, signer)


def changed_member(name: str, value: Any) -> Any:
    if name in ("grant", "revoke"):
        return D
    if name == "by":
        return C
    if name == "after":
        return sorted([*value, "f" * 64])
    if name == "from":
        return "0" * 64
    return value[::-1] if name == "nonce" else revoked_by(A, C)["signature"]


def test_a_grant_and_a_revocation_cannot_stand_for_each_other():
    ended = revoked_by(A, B)
    disguised = {"grant": B, "by": A, "from": "", "after": [], "signature": ended["signature"]}
    with pytest.raises(Tampered):
        check_statement(SUBJECT, disguised, signer)


def test_a_digest_covers_everything_but_the_signature():
    statements = all_kinds()
    assert len({digest(statement) for statement in statements}) == len(statements)
    for statement in statements:
        assert digest({**statement, "signature": ""}) == digest(statement)
        for name, value in statement.items():
            if name != "signature":
                assert digest({**statement, name: changed_member(name, value)}) != digest(statement)


def test_the_same_grant_on_two_devices_is_one_statement():
    assert union([given_by(A, B, [])], [given_by(A, B, [])]) == [given_by(A, B, [])]


def test_two_revocations_are_two_statements():
    assert len(union([revoked_by(A, B, "one")], [revoked_by(A, B, "two")])) == 2


@given(st.integers(0, 3), st.data())
def test_statements_of_another_form_are_refused(which: int, data: st.DataObject):
    statement = dict(all_kinds()[which])
    member = data.draw(st.sampled_from([*statement, "further"]))
    value = data.draw(JSON_VALUES)
    changed: Any = data.draw(st.sampled_from([{**statement, member: value}, value, {member: value}]))
    try:
        carried(SUBJECT.id, {"access": [changed]})
    except Tampered:
        return
    assert set(changed) == set(statement)
    assert member != "further"
    assert isinstance(value, str if member != "after" else list)


@given(JSON_VALUES)
def test_access_that_is_no_list_is_refused(value: Any):
    for document in ({"access": value}, {}):
        if document.get("access") != []:
            with pytest.raises(Tampered):
                carried(SUBJECT.id, document)


def test_statements_stand_in_their_one_order_without_duplicates():
    ordered = union(all_kinds())
    assert carried(SUBJECT.id, {"access": ordered}) == ordered
    for wrong in (ordered[::-1], [*ordered, ordered[-1]]):
        with pytest.raises(Tampered):
            carried(SUBJECT.id, {"access": wrong})


# What follows from many


def test_a_creator_has_access_and_others_have_it_by_grants():
    first = given_by(A, B, [])
    second = given_by(B, C, [first])
    assert parties(SUBJECT, []) == {A}
    assert parties(SUBJECT, [first]) == {A, B}
    assert parties(SUBJECT, [first, second]) == {A, B, C}
    assert parties(SUBJECT, [second]) == {A}


def test_nobody_grants_what_he_has_not():
    with pytest.raises(NoAccess):
        given_by(B, C, [])
    with pytest.raises(NoAccess):
        given_by(B, C, [given_by(A, B, []), revoked_by(A, B)])
    with pytest.raises(NoAccess):
        given_by(B, C, [given_by(A, D, [])])


def test_a_grant_counts_only_through_a_grant_to_its_author():
    to_c = given_by(A, C, [])
    for source in ("", digest(to_c), "0" * 64):
        statement = {"grant": D, "by": B, "from": source, "after": [], "signature": ""}
        assert D not in parties(SUBJECT, [to_c, given_by(A, B, []), statement])


def test_a_concurrent_revocation_wins():
    first = given_by(A, B, [])
    second = given_by(B, C, [first])
    assert parties(SUBJECT, [first, second, revoked_by(A, B)]) == {A}
    again = given_by(A, B, [first, second])  # made without having seen the revocation: the same statement as before
    assert parties(SUBJECT, [first, second, again, revoked_by(A, B)]) == {A}


def test_granting_again_works_and_does_not_bring_back_what_the_party_had_granted():
    first = given_by(A, B, [])
    second = given_by(B, C, [first])
    ended = revoked_by(A, B)
    again = given_by(A, B, [first, second, ended])
    assert again["after"] == [digest(ended)]
    assert parties(SUBJECT, [first, second, ended, again]) == {A, B}
    anew = given_by(B, C, [first, second, ended, again])
    assert parties(SUBJECT, [first, second, ended, again, anew]) == {A, B, C}


def test_a_new_revocation_ends_a_new_grant():
    first, ended = given_by(A, B, []), revoked_by(A, B, "first")
    again = given_by(A, B, [first, ended])
    assert parties(SUBJECT, [first, ended, again, revoked_by(A, B, "second")]) == {A}


def test_a_revocation_touches_only_its_author_s_own_grants():
    to_b, to_c = given_by(A, B, []), given_by(A, C, [])
    from_b = given_by(B, D, [to_b])
    from_c = given_by(C, D, [to_c])
    statements = [to_b, to_c, from_b, from_c]
    assert D in parties(SUBJECT, [*statements, revoked_by(B, D)])
    assert D not in parties(SUBJECT, [*statements, revoked_by(B, D), revoked_by(C, D)])
    assert D not in parties(SUBJECT, [*statements, revoked_by(A, D)])  # the creator ends anybody's
    assert C in parties(SUBJECT, [*statements, revoked_by(B, C), revoked_by(C, C)])


def test_a_revocation_counts_whatever_becomes_of_its_author():
    to_b = given_by(A, B, [])
    to_c = given_by(B, C, [to_b])
    statements = [to_b, to_c, revoked_by(B, C), revoked_by(A, B)]
    again = given_by(A, B, statements)
    assert parties(SUBJECT, [*statements, again]) == {A, B}


def test_nobody_revokes_the_creator():
    to_b = given_by(A, B, [])
    for author in PEOPLE[:3]:
        assert A in parties(SUBJECT, [to_b, revoked_by(author, A)])


def test_the_reason_of_a_grant_is_the_same_on_every_device():
    to_b, to_c = given_by(A, B, []), given_by(A, C, [])
    through_c = given_by(C, B, [to_c])
    known = [to_b, to_c, through_c]
    expected = min(digest(to_b), digest(through_c))
    for order in (known, known[::-1]):
        assert given_by(B, D, order)["from"] == expected


@st.composite
def histories(draw: st.DrawFn) -> list[Statement]:
    """Any statements, unsigned: by parties with and without access, on top of what they may have seen."""
    chance = draw(st.randoms(use_true_random=False))
    statements: list[Statement] = []
    for number in range(draw(st.integers(0, 12))):
        seen = [statement for statement in statements if chance.random() < 0.7]
        by, whom = chance.choice(PEOPLE), chance.choice(PEOPLE)
        if chance.random() < 0.4:
            statements.append({"revoke": whom, "by": by, "nonce": f"{number:032x}", "signature": ""})
        else:
            sources = [digest(each) for each in seen if each.get("grant") == by] or [""]
            after = sorted(digest(each) for each in seen if each.get("revoke") == whom)
            source = "" if by == A else chance.choice(sources)
            statements.append({"grant": whom, "by": by, "from": source, "after": after, "signature": ""})
    return statements


def by_the_book(statements: list[Statement]) -> set[str]:
    """The rule of FORMAT.md, read word by word."""
    named = {digest(statement): statement for statement in statements}

    def ends(name: str, given: Statement) -> bool:
        statement = named[name]
        return (
            statement.get("revoke") == given["grant"]
            and (statement["by"] == given["by"] or statement["by"] == A)
            and name not in given["after"]
        )

    def counts(name: str) -> bool:
        given = named.get(name, {})
        if "grant" not in given or any(ends(each, given) for each in named):
            return False
        source = named.get(given["from"], {})
        return given["by"] == A or (source.get("grant") == given["by"] and counts(given["from"]))

    return {A, *(str(named[name]["grant"]) for name in named if counts(name))}


@given(histories(), st.randoms())
def test_access_is_what_the_rule_says_in_any_order(statements: list[Statement], chance: random.Random):
    expected = by_the_book(statements)
    assert parties(SUBJECT, statements) == expected
    chance.shuffle(statements)
    assert parties(SUBJECT, statements) == expected
    assert parties(SUBJECT, statements * 2) == expected


@given(histories(), histories(), histories())
def test_union_is_commutative_associative_and_idempotent(
    one: list[Statement], two: list[Statement], three: list[Statement]
):
    assert union(one, two) == union(two, one)
    assert union(union(one, two), three) == union(one, union(two, three)) == union(one, two, three)
    assert union(one, one) == union(one)


@given(histories(), st.integers(0, 20))
def test_whatever_is_said_more_of_others_changes_nothing_for_the_creator(statements: list[Statement], place: int):
    found = parties(SUBJECT, statements)
    assert A in found
    extended = [*statements, {"grant": D, "by": A, "from": "", "after": [f"{place:064x}"], "signature": ""}]
    assert parties(SUBJECT, extended) >= found  # a grant takes nothing from anyone


def test_thousands_of_statements_take_no_time_to_speak_of():
    ending = [{"revoke": B, "by": A, "nonce": f"{n:032x}", "signature": ""} for n in range(3_000)]
    after = [digest(statement) for statement in ending]
    grants = [{"grant": B, "by": A, "from": "", "after": [f"{n:064x}"], "signature": ""} for n in range(3_000)]
    chain = [{"grant": B, "by": A, "from": "", "after": sorted(after), "signature": ""}]
    for number in range(3_000):
        source = digest(chain[-1])
        by, whom = (B, C) if number % 2 == 0 else (C, B)
        chain.append({"grant": whom, "by": by, "from": source, "after": [], "signature": ""})
    assert parties(SUBJECT, [*ending, *grants, *chain]) == {A, B, C}


# Entries

ENTRY = {"owner": A, "delegatedTo": B, "kid": "0" * 32, "of": "", "key": "a2V5"}


def test_entries_are_added_to_a_map_as_sets():
    later = {**ENTRY, "key": "b3RoZXI="}
    added = with_entries({A: [{**ENTRY, "delegatedTo": A}]}, [later, ENTRY, later])
    assert added == {A: [{**ENTRY, "delegatedTo": A}], B: [ENTRY, later]}
    assert with_entries(added, [ENTRY]) == added


def test_an_entry_digest_covers_its_map_and_every_member():
    digests = {entry_digest(name, ENTRY) for name in ("delegations", "encryptionKeys")}
    for member in ENTRY:
        changed = copy.copy(ENTRY)
        changed[member] += "x"
        digests.add(entry_digest("delegations", changed))
    assert len(digests) == 2 + len(ENTRY)
