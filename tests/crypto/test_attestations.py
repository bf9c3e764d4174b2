"""Attestations: what an Hcp vouches for of what a key signed that it lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto import attestations
from icure_sync.crypto.attestations import ATTESTATION, attest, attestation_id, attested, attesting, signed_messages
from icure_sync.crypto.identity import COMPROMISED, PLANNED
from icure_sync.crypto.party import Party
from icure_sync.crypto.revision import written
from icure_sync.crypto.sealing import Sealed
from icure_sync.crypto.signers import Attested, Judgement, Signer, digest_of
from icure_sync.crypto.trust import Seen, verify_record
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, Rev
from tests.crypto.records import JSON_VALUES, edited_patient, patient, shared_contact, shared_patient
from tests.keys import A, B, identity, signer, successor
from tests.places import places, with_value

NOW = successor(COMPROMISED)
FIRST = identity(A).signing_key.public
PARTY = Party.of_identity(NOW)
SIGNER = Signer.of(PARTY.signing_key, PARTY.previous)


def digests(*records: Sealed) -> list[bytes]:
    """Digests of what A signed of them."""
    found = [each for sealed in records for each in signed_messages(sealed.id, sealed.rev, sealed.document, A)]
    assert all(Signer(FIRST).judge(signature, message) is Judgement.HOLDS for message, signature in found)
    return [digest_of(message) for message, _ in found]


def read(found: tuple[DocId, Rev, dict[str, Any]], by: Signer = SIGNER) -> bytes | None:
    doc_id, rev, document = found
    assert attesting(doc_id, document) == A
    return attested(doc_id, rev, document, by)


def pending(sealed: Sealed, blocks: list[bytes]) -> frozenset[str]:
    """Who is to be waited for, with these attestations of A at hand."""
    by_a = Signer.of(PARTY.signing_key, PARTY.previous, Attested(blocks))
    keys = {A: by_a, B: signer(B)}
    return verify_record(sealed.id, sealed.rev, sealed.document, keys.get, Seen()).pending


def test_what_is_attested_verifies_and_nothing_else_that_the_lost_key_signed():
    known = [patient(), shared_patient(), edited_patient()]
    (one,) = attest(NOW, digests(*known))
    block = read(one)
    assert block is not None
    for sealed in known:
        assert pending(sealed, []) == {A}
        assert pending(sealed, [block]) == frozenset()
    assert pending(shared_contact(), [block]) == {A}


def test_what_others_signed_is_not_the_hcp_s_to_attest():
    sealed = edited_patient()  # by B, with a grant by A
    assert len(digests(sealed)) == 2
    of_b = [digest_of(message) for message, _ in signed_messages(sealed.id, sealed.rev, sealed.document, B)]
    assert len(of_b) == 1
    assert not set(of_b) & set(digests(sealed))


def test_a_document_that_is_no_record_is_attested_by_who_wrote_it():
    rev, document = written(DocId("x"), {"type": "Other", "parents": []}, identity(A))
    assert len(list(signed_messages("x", rev, document, A))) == 1
    assert list(signed_messages("x", rev, document, B)) == []
    assert list(signed_messages("x", rev, {"type": "Other"}, A)) == []


def test_the_same_messages_make_the_same_documents_in_blocks_that_a_server_takes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attestations, "DIGESTS_MOST", 2)
    known = digests(patient(), shared_patient(), edited_patient())
    found = list(attest(NOW, known, first=7))
    assert found == list(attest(NOW, known[::-1] + known, first=7))
    assert [doc_id for doc_id, _, _ in found] == [attestation_id(A, 2, 7 + number) for number in range(len(found))]
    assert len(found) == (len(set(known)) + 1) // 2 > 1
    assert len(Attested(block for each in found if (block := read(each)))) == len(set(known))
    assert list(attest(NOW, [])) == []


def test_only_a_key_that_stands_attests():
    (one,) = attest(NOW, digests(patient()))
    assert read(one, Signer(PARTY.signing_key)) is not None
    later = Signer(identity(B).signing_key.public, compromised=(PARTY.signing_key,))
    assert read(one, later) is None  # until that one is attested by the key after it
    with pytest.raises(Tampered):
        read(one, Signer(identity(B).signing_key.public))
    (planned,) = attest(successor(PLANNED), digests(patient()))
    assert read(planned) is not None


def test_a_key_that_was_lost_does_not_attest_for_itself():
    doc_id, _, document = next(attest(NOW, digests(patient())))
    unsigned = {name: value for name, value in document.items() if name != "written"}
    assert read((doc_id, *written(doc_id, unsigned, identity(A)))) is None


@pytest.mark.parametrize(
    "members",
    [
        {"type": "Patient"},
        {"hcp": B},
        {"hcp": None},
        {"epoch": 1},
        {"epoch": True},
        {"signingKey": None},
        {"number": -1},
        {"number": None},
        {"parents": ["1-a"]},
        {"further": 1},
        {"digests": ""},
        {"digests": "AAAA"},
        {"digests": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},  # the same twice
    ],
)
def test_another_form_is_refused_even_if_the_hcp_signed_it(members: dict[str, Any]):
    doc_id, _, document = next(attest(NOW, digests(patient())))
    changed = {name: value for name, value in {**document, **members}.items() if name != "written"}
    rev, signed = written(doc_id, changed, NOW)
    with pytest.raises(Tampered):
        read((doc_id, rev, signed))


@given(st.sampled_from([path for path in places(next(attest(NOW, [b"x" * 16]))[2]) if path]), JSON_VALUES)
def test_no_value_stops_an_attestation_from_being_judged(path: tuple[Any, ...], value: Any):
    doc_id, rev, document = next(attest(NOW, [b"x" * 16]))
    changed = with_value(document, path, value)
    if changed != document:
        with pytest.raises((Tampered, InvalidEntity)):
            read((doc_id, rev, changed))
    assert document["type"] == ATTESTATION
