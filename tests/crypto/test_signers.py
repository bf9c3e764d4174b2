"""What a signature is worth, by what is known of the keys of its Hcp."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto import signers
from icure_sync.crypto.identity import COMPROMISED, PLANNED, Previous, signed_bytes
from icure_sync.crypto.primitives import signature_holds
from icure_sync.crypto.signers import DIGEST_BYTES, Attested, Judgement, Signer, digest_of
from icure_sync.errors import Tampered
from tests.keys import A, B, C, identity

OLD, LOST, NOW = (identity(each) for each in (A, B, C))  # three keys, as of one Hcp
SIGNER = Signer(NOW.signing_key.public, planned=(OLD.signing_key.public,), compromised=(LOST.signing_key.public,))


def test_the_current_key_and_one_that_ended_as_planned_sign_for_the_hcp():
    assert SIGNER.check(NOW.sign("test", 1), "test", 1) is Judgement.HOLDS
    assert SIGNER.check(OLD.sign("test", 1), "test", 1) is Judgement.HOLDS
    assert SIGNER.check(NOW.sign("test", 2), "test", 1) is Judgement.FORGED
    assert SIGNER.check(OLD.sign("other", 1), "test", 1) is Judgement.FORGED


def test_a_key_that_was_lost_signs_only_what_is_attested():
    signature = LOST.sign("test", 1)
    assert SIGNER.check(signature, "test", 1) is Judgement.PENDING
    attested = Attested([digest_of(signed_bytes("test", [1]))])
    vouched = Signer(SIGNER.current, compromised=SIGNER.compromised, attested=attested)
    assert vouched.check(signature, "test", 1) is Judgement.HOLDS
    assert vouched.check(LOST.sign("test", 2), "test", 2) is Judgement.PENDING
    assert vouched.check(LOST.sign("test", 2), "test", 1) is Judgement.FORGED


def test_what_a_key_signs_that_nothing_vouches_for_is_neither_believed_nor_forged():
    claimed = Signer(OLD.signing_key.public, claimed=(NOW.signing_key.public,))
    assert claimed.check(NOW.sign("test", 1), "test", 1) is Judgement.PENDING
    assert claimed.check(NOW.sign("test", 2), "test", 1) is Judgement.FORGED


def test_a_signature_by_the_current_key_costs_one_verification(monkeypatch: pytest.MonkeyPatch):
    calls: list[bytes] = []

    def counted(public: bytes, signature: bytes, message: bytes) -> bool:
        calls.append(public)
        return signature_holds(public, signature, message)

    monkeypatch.setattr(signers, "signature_holds", counted)
    SIGNER.check(NOW.sign("test", 1), "test", 1)
    assert calls == [NOW.signing_key.public]


def test_a_key_that_ended_twice_is_lost_if_it_ended_so_once():
    keys = [OLD.signing_key.public, LOST.signing_key.public]
    made = Signer.of(NOW.signing_key.public, [Previous(keys[0], PLANNED), Previous(keys[1], COMPROMISED)])
    assert (made.planned, made.compromised) == ((keys[0],), (keys[1],))
    again = Signer.of(
        NOW.signing_key.public, [Previous(keys[0], PLANNED), Previous(keys[1], PLANNED), Previous(keys[0], COMPROMISED)]
    )
    assert (again.planned, again.compromised) == ((keys[1],), (keys[0],))


def test_what_is_no_signature_at_all_is_tampered():
    for malformed in ("%", None, 7):
        with pytest.raises(Tampered):
            SIGNER.check(malformed, "test", 1)


@given(st.lists(st.sets(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES), max_size=20), max_size=3))
def test_a_digest_is_attested_if_it_is_in_one_of_the_blocks(sets: list[set[bytes]]):
    attested = Attested(b"".join(sorted(each)) for each in sets)
    assert len(attested) == sum(map(len, sets))
    assert all(digest in attested for each in sets for digest in each)
    assert digest_of(b"something else") not in attested
