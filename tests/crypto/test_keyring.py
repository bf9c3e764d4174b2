"""The keyring: which key is used for a pair, and who may change that."""

from __future__ import annotations

import pytest

from icure_sync.crypto.envelope import kid
from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.identity import COMPROMISED
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.errors import NoAccess
from icure_sync.ids import HcpId
from tests.keys import A, B, C, hcp_key, identity, keyring, successor


def test_a_keyring_begins_with_the_hcp_s_own_key():
    ring = Keyring(identity(A))
    assert len(ring) == 1
    assert ring.towards(A).key == identity(A).self_key
    assert ring.get(A, A, kid(identity(A).self_key)) == ring.towards(A)


def test_a_key_is_found_by_its_pair_and_its_kid():
    key = hcp_key(A, B)
    ring = Keyring(identity(A), [key])
    assert ring.get(A, B, key.kid) == ring.pair(A, B) == ring.towards(B) == key
    assert ring.get(B, A, key.kid) is None
    assert ring.get(A, B, "0" * 32) is None
    assert ring.pair(B, A) is None


def test_a_pair_without_a_key_says_what_to_do():
    with pytest.raises(NoAccess, match="share no Hcp key yet"):
        Keyring(identity(A)).towards(HcpId("hcp-z"))


def test_new_entries_use_the_lowest_kid_that_is_not_retired():
    first, second = sorted((hcp_key(A, B, 0), hcp_key(A, B, 1)), key=lambda key: key.kid)
    ring = Keyring(identity(A), [second, first])
    assert ring.towards(B) == first
    ring.retire(A, [first.kid])
    assert ring.towards(B) == second
    assert ring.get(A, B, first.kid) == first  # what it wrapped stays readable
    ring.retire(A, [second.kid])
    assert ring.pair(A, B) is None


def test_new_entries_use_no_key_that_somebody_has_who_should_not():
    first, second = sorted((hcp_key(A, B, 0), hcp_key(A, B, 1)), key=lambda key: key.kid)
    ring = Keyring(identity(A), [second, first])
    ring.expose(A, [first.kid])
    assert ring.towards(B) == second
    assert (ring.is_exposed(A, first.kid), ring.is_exposed(A, second.kid)) == (True, False)
    assert (ring.is_retired(first), ring.is_retired(second)) == (True, False)
    assert ring.get(A, B, first.kid) == first  # what it wrapped stays readable
    assert ring.is_exposed(C, "0" * 32) is False


def test_nothing_new_is_for_who_has_keys_in_doubt_until_that_is_settled():
    ring = keyring(A)
    before = ring.towards(B)
    ring.withhold([A, B])
    assert ring.pair(A, B) is None
    assert ring.pair(B, A) is not None  # what another wraps is for him to say
    assert ring.pair(A, A) is not None
    ring.withhold([])
    assert ring.towards(B) == before


def test_the_own_keys_of_former_epochs_open_what_they_wrapped():
    ring = Keyring(successor(COMPROMISED))
    assert len(ring) == 2
    assert {key.key for key in ring.pairs(A, A)} == {identity(A).self_key, successor(COMPROMISED).self_key}


def test_nobody_displaces_another_hcp_s_key_by_publishing_it_as_his_own():
    mine = hcp_key(A, B)
    ring = Keyring(identity(A), [mine])
    ring.add(HcpKey(B, A, mine.kid, mine.key))  # B knows {AB}
    assert ring.towards(B) == mine


def test_nobody_retires_another_hcp_s_key():
    ring = keyring(A)
    own, shared = ring.towards(A), ring.towards(B)
    ring.retire(B, [own.kid, shared.kid])
    ring.retire(C, [own.kid, shared.kid])
    assert (ring.towards(A), ring.towards(B)) == (own, shared)


def test_a_keyring_shows_no_key():
    assert repr(keyring(A)) == "Keyring(hcp_id='hcp-a', keys=5)"
    assert hcp_key(A, B).key.hex() not in repr(hcp_key(A, B))
    assert repr(hcp_key(A, B).key) not in repr(hcp_key(A, B))


def test_a_content_key_is_remembered_for_its_own_envelope_and_place_and_not_for_ever(monkeypatch):
    monkeypatch.setattr("icure_sync.crypto.keyring.REMEMBERED", 2)
    ring = Keyring(identity(A))
    for number in range(3):
        ring.remember(b"place", f"envelope {number}", SymmetricKey(bytes([number]) * 32))
    assert ring.unwrapped(b"place", "envelope 0") is None
    assert ring.unwrapped(b"place", "envelope 2") == bytes([2]) * 32
    assert ring.unwrapped(b"elsewhere", "envelope 2") is None
