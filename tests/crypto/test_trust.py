"""Which revisions verify: signed, in their place, by someone with access, hiding nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.access import Subject, digest, grant, revocation, union
from icure_sync.crypto.hcp_keys import born, key_members, wrap
from icure_sync.crypto.party import HCP_TYPE, Party, identity_members
from icure_sync.crypto.revision import written
from icure_sync.crypto.sealing import Sealed, share
from icure_sync.crypto.signers import Signer
from icure_sync.crypto.trust import Seen, Verdict, verify_hcp_document, verify_record
from icure_sync.errors import InvalidEntity, Tampered, UntrustedKey, WriterOut
from icure_sync.ids import DocId, HcpId, Rev
from tests.crypto.records import (
    JSON_VALUES,
    altered,
    contact,
    edited_patient,
    patient,
    rewritten,
    shared_contact,
    shared_patient,
    subject_of,
)
from tests.keys import A, B, C, hcp_key, identity, keyring, seeded, signer
from tests.places import places, with_value

NOTHING = Seen()
GRANT_B = shared_patient().document["access"]
REVOKED_B = revocation(subject_of(patient()), B, identity(A), seeded("revoke"))


def verify(sealed: Sealed, seen: Seen = NOTHING) -> Verdict:
    return verify_record(sealed.id, sealed.rev, sealed.document, signer, seen)


def only(*known: HcpId) -> Any:
    return lambda hcp_id: signer(hcp_id) if hcp_id in known else None


# What verifies


@pytest.mark.parametrize("record", [patient, contact, shared_patient, shared_contact, edited_patient])
def test_what_parties_with_access_write_verifies(record: Any):
    verdict = verify(record())
    assert verdict.pending == frozenset()
    assert list(verdict.statements) == record().document["access"]


def test_statements_that_were_seen_stay_in_the_verdict():
    to_c = grant(subject_of(patient()), C, [], identity(A))
    verdict = verify(edited_patient(), Seen(statements=(to_c,)))
    assert list(verdict.statements) == union(GRANT_B, [to_c])


def test_verifying_needs_no_key_to_open():
    assert verify_record(contact().id, contact().rev, contact().document, signer, NOTHING).pending == frozenset()


# Tampering


@pytest.mark.parametrize("member", sorted(shared_contact().document))
def test_no_member_can_be_taken_away(member: str):
    document = {name: value for name, value in shared_contact().document.items() if name != member}
    with pytest.raises(Tampered):
        verify(Sealed(shared_contact().id, shared_contact().rev, document))


@pytest.mark.parametrize("member", sorted(shared_contact().document))
def test_no_member_can_be_taken_from_another_revision(member: str):
    for other in (patient(), edited_patient(), contact()):
        value = other.document.get(member)
        if value is not None and value != shared_contact().document[member]:
            with pytest.raises(Tampered):
                verify(altered(shared_contact(), **{member: value}))


def test_no_member_can_be_added():
    for name in ("note", "files", "retired", "deleted"):
        with pytest.raises(Tampered):
            verify(altered(patient(), **{name: {"a": {"length": 1, "sha256": "0" * 64}}}))


ALL_PLACES = [path for path in places(dict(shared_contact().document)) if path]


@given(st.sampled_from(ALL_PLACES), JSON_VALUES)
def test_no_value_anywhere_can_be_changed(path: tuple[Any, ...], value: Any):
    document = with_value(dict(shared_contact().document), path, value)
    if document == shared_contact().document:
        return
    with pytest.raises((Tampered, InvalidEntity)):
        verify(Sealed(shared_contact().id, shared_contact().rev, document))


@given(st.sampled_from(ALL_PLACES), JSON_VALUES)
def test_no_value_that_a_party_signs_stops_it_from_being_judged(path: tuple[Any, ...], value: Any):
    document = with_value(dict(shared_contact().document), path, value)
    try:
        hostile = rewritten(Sealed(shared_contact().id, shared_contact().rev, document), B)
    except (InvalidEntity, TypeError, KeyError, AttributeError, ValueError):
        return  # an attacker has no revision id for it either
    try:
        verify(hostile)
    except (Tampered, InvalidEntity):
        return


def test_a_revision_of_another_document_does_not_verify():
    with pytest.raises(Tampered):
        verify(Sealed(contact().id, patient().rev, patient().document))
    with pytest.raises(Tampered, match="revision id"):
        verify(Sealed(patient().id, shared_patient().rev, patient().document))


def test_an_old_body_beside_current_maps_does_not_verify():
    with pytest.raises(Tampered):
        verify(altered(edited_patient(), encryptedSelf=patient().document["encryptedSelf"]))


def test_a_revision_stands_in_the_tree_where_its_writer_put_it():
    verify(shared_patient(), Seen(tree_parents=(patient().rev,)))
    with pytest.raises(Tampered, match="did not put it"):
        verify(shared_patient(), Seen(tree_parents=(Rev(f"1-{'0' * 32}"),)))
    with pytest.raises(Tampered, match="did not put it"):
        verify(patient(), Seen(tree_parents=(Rev(f"1-{'0' * 32}"),)))


def test_a_signature_in_another_s_name_does_not_verify():
    for by in (A, C):
        with pytest.raises(Tampered):
            verify(altered(edited_patient(), written={**edited_patient().document["written"], "by": by}))
    by_c = rewritten(edited_patient(), C)
    with pytest.raises(Tampered):
        verify(altered(by_c, written={**by_c.document["written"], "by": A}))


def test_a_suite_is_not_what_the_document_says():
    for suite in ("icure-classic", None, "sealed-2"):
        with pytest.raises(Tampered):
            verify(rewritten(patient(), A, cryptoSuite=suite))


@pytest.mark.parametrize("member", ["parents", "merged", "secretForeignKeys", "sealedWith"])
def test_sets_out_of_order_do_not_verify_whoever_signs_them(member: str):
    values = ["2" * 32, "1" * 32] if member in ("secretForeignKeys", "sealedWith") else ["2-b", "2-a"]
    with pytest.raises(Tampered, match=member):
        verify(rewritten(patient(), A, **{member: values}))


# Access


def test_a_party_without_access_writes_nothing_that_verifies():
    with pytest.raises(WriterOut, match="hcp-c"):
        verify(rewritten(edited_patient(), C))


def test_entries_confer_no_access():
    entries = {name: {**edited_patient().document[name], C: []} for name in ("delegations", "encryptionKeys")}
    with pytest.raises(WriterOut):
        verify(rewritten(edited_patient(), C, **entries))


def test_access_cannot_be_injected():
    subject = subject_of(patient())
    honest = GRANT_B[0]
    granted_to_himself = {"grant": C, "by": C, "from": "", "after": []}
    signature = identity(C).sign("grant", "sealed-1", subject.type, subject.id, subject.by, C, C, "", [])
    through_b = {"grant": C, "by": C, "from": digest(honest), "after": []}
    through_b_signature = identity(C).sign(
        "grant", "sealed-1", subject.type, subject.id, subject.by, C, C, digest(honest), []
    )
    elsewhere = grant(subject_of(contact()), C, [], identity(A))
    for statement, error in (
        ({**granted_to_himself, "signature": signature}, WriterOut),
        ({**through_b, "signature": through_b_signature}, WriterOut),
        ({**honest, "grant": C}, Tampered),
        ({**granted_to_himself, "by": A, "signature": signature}, Tampered),
        (elsewhere, Tampered),
    ):
        with pytest.raises(error):
            verify(rewritten(edited_patient(), C, access=union(GRANT_B, [statement])))


def test_a_writer_who_was_put_out_meanwhile_is_told_from_tampering_and_may_come_back():
    verify(edited_patient())
    with pytest.raises(WriterOut, match="adopt it"):
        verify(edited_patient(), Seen(statements=(REVOKED_B,)))
    again = grant(subject_of(patient()), B, [*GRANT_B, REVOKED_B], identity(A))
    verdict = verify(edited_patient(), Seen(statements=(REVOKED_B, again)))
    assert len(verdict.statements) == 3


def test_a_revision_that_hides_a_statement_does_not_verify():
    seen = Seen(displaced=(*GRANT_B, REVOKED_B))
    with pytest.raises(Tampered, match="leaves out statements"):
        verify(edited_patient(), seen)
    with pytest.raises(Tampered, match="leaves out statements"):
        verify(rewritten(edited_patient(), A, access=[]), Seen(displaced=tuple(GRANT_B)))
    verify(rewritten(edited_patient(), A, access=union(GRANT_B, [REVOKED_B])), seen)


def test_stripping_statements_is_noticed_even_by_who_never_saw_them():
    with pytest.raises(Tampered):
        verify(altered(edited_patient(), access=[]))
    with pytest.raises(WriterOut):
        verify(rewritten(edited_patient(), B, access=[]))


# Pending


def test_what_was_signed_by_someone_unknown_is_pending():
    for known, pending in (((), {A, B}), ((A,), {B}), ((B,), {A})):
        verdict = verify_record(
            edited_patient().id, edited_patient().rev, edited_patient().document, only(*known), NOTHING
        )
        assert (verdict.statements, verdict.pending) == ((), pending)


def test_an_author_of_a_statement_may_be_the_one_who_is_unknown():
    shared_by_b = share(edited_patient(), C, keyring(B), seeded("share"))
    by_a = rewritten(shared_by_b, A)
    assert verify_record(by_a.id, by_a.rev, by_a.document, only(A), NOTHING).pending == {B}


def lost(hcp_id: HcpId, current: HcpId = C) -> Any:
    """Signing keys by which this Hcp lost the key that it has in tests, and attested nothing."""
    key = identity(hcp_id).signing_key.public
    signed = Signer(identity(current).signing_key.public, compromised=(key,))
    return lambda asked: signed if asked == hcp_id else signer(asked)


def test_what_a_lost_key_signed_is_pending_wherever_it_stands():
    edited = edited_patient()
    for lost_by in (A, B):
        verdict = verify_record(edited.id, edited.rev, edited.document, lost(lost_by), NOTHING)
        assert (verdict.statements, verdict.pending) == ((), {lost_by})


def test_what_was_verified_before_holds_whatever_became_of_the_key():
    shared_again = rewritten(edited_patient(), B)
    sealed = (shared_again.id, shared_again.rev, shared_again.document)
    known = Seen(statements=tuple(GRANT_B), creators=(patient().document["creator"],))
    assert verify_record(*sealed, lost(A), known).pending == frozenset()
    assert verify_record(*sealed, lost(A), Seen(displaced=tuple(GRANT_B))).pending == {A}  # the creator
    assert verify_record(*sealed, lost(A), Seen(creators=known.creators)).pending == {A}  # the grant
    assert verify_record(*sealed, lost(B), known).pending == {B}  # who wrote this revision itself


def test_what_is_wrong_without_any_key_is_not_pending():
    for tampered in (altered(edited_patient(), encryptedSelf=""), altered(edited_patient(), merged=["x"])):
        with pytest.raises(Tampered):
            verify_record(tampered.id, tampered.rev, tampered.document, only(), NOTHING)


# Hcp documents

HCP_FIELDS = {"name": "Practice A", "context": {}, "writers": {}, "fields": []}


def hcp_document(**members: Any) -> tuple[Rev, dict[str, Any]]:
    party_b = Party.of(B, {"type": HCP_TYPE, **identity_members(identity(B))})
    keys = [born(identity(A)), wrap(identity(A), party_b, hcp_key(A, B), seeded("oaep"))]
    document = {
        **HCP_FIELDS,
        "type": HCP_TYPE,
        "cryptoSuite": "sealed-1",
        "parents": [],
        "merged": [],
        "retiredKeys": [],
        **identity_members(identity(A)),
        **key_members(keys),
        **members,
    }
    rev, signed = written(DocId(A), document, identity(A))
    return rev, signed


def test_an_hcp_document_is_signed_by_the_key_that_it_states():
    rev, document = hcp_document()
    party = verify_hcp_document(A, rev, document, ())
    assert (party.hcp_id, party.signing_key) == (A, identity(A).signing_key.public)
    assert party.public_key == identity(A).party_key.public.spki


@pytest.mark.parametrize("member", sorted(hcp_document()[1]))
def test_nothing_in_an_hcp_document_can_be_changed_or_taken_away(member: str):
    rev, document = hcp_document()
    missing = {name: value for name, value in document.items() if name != member}
    for changed in ({**document, member: "x"}, {**document, member: None}, missing):
        with pytest.raises((Tampered, UntrustedKey)):
            verify_hcp_document(A, rev, changed, ())


@given(st.sampled_from([path for path in places(hcp_document()[1]) if path]), JSON_VALUES)
def test_no_value_in_an_hcp_document_stops_it_from_being_judged(path: tuple[Any, ...], value: Any):
    rev, document = hcp_document()
    changed = with_value(document, path, value)
    if changed != document:
        with pytest.raises((Tampered, UntrustedKey, InvalidEntity)):
            verify_hcp_document(A, rev, changed, ())


def test_only_the_party_itself_writes_its_document():
    unsigned = {name: value for name, value in hcp_document()[1].items() if name != "written"}
    rev_b, by_b = written(DocId(A), unsigned, identity(B))
    with pytest.raises(Tampered, match="another Hcp wrote it"):
        verify_hcp_document(A, rev_b, by_b, ())
    with pytest.raises(Tampered, match="did not put it"):
        verify_hcp_document(A, *hcp_document(), [Rev("1-a")])


def test_a_document_whose_keys_or_sets_are_wrong_is_refused_even_if_the_party_signed_it():
    for members, error in (
        ({"cryptoSuite": "icure-classic"}, Tampered),
        ({"merged": ["2-b", "2-a"]}, Tampered),
        ({"retiredKeys": [{"kid": "0" * 32, "ended": "planned", "signature": ""}]}, UntrustedKey),
        ({"hcPartyKeys": {}}, UntrustedKey),
    ):
        with pytest.raises(error):
            verify_hcp_document(A, *hcp_document(**members), ())


def test_a_subject_is_never_an_hcp():
    rev, document = hcp_document()
    with pytest.raises(Tampered):
        Subject.of(A, document)
    with pytest.raises(UntrustedKey):
        verify_hcp_document(patient().id, patient().rev, patient().document, ())
    assert rev.startswith("1-")
