"""The public side of an Hcp: what an identity must state, in each epoch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.identity import COMPROMISED, ENDINGS, PLANNED, Identity, Previous
from icure_sync.crypto.party import EPOCHS_MOST, HCP_TYPE, Party, identity_members
from icure_sync.errors import InvalidEntity, Tampered, UntrustedKey
from tests.crypto.records import JSON_VALUES
from tests.keys import A, B, C, identity, successor
from tests.places import places, with_value

FIRST = identity(A).signing_key.public


def document(one: Identity) -> dict[str, Any]:
    return {"type": HCP_TYPE, **identity_members(one)}


def stated(one: Identity, **members: Any) -> dict[str, Any]:
    """What this identity would sign about other epochs, or other former keys."""
    found = document(one)
    fields = {"epoch": one.epoch, "previous": [each.stated for each in one.previous], **members}
    signature = one.sign("identity", one.hcp_id, found["publicKey"], found["signingKey"], *fields.values())
    endorsement = {"endorsement": one.endorsement} if one.endorsement else {}
    return {**found, "identity": {**fields, "signature": signature, **endorsement}}


@pytest.mark.parametrize("ended", ENDINGS)
def test_a_party_is_read_back_from_its_document_in_any_epoch(ended: str):
    for one in (identity(A), successor(ended)):
        assert Party.of(A, document(one)) == Party.of_identity(one)
        assert Party.of_identity(one).fingerprint == one.fingerprint


def test_the_key_before_endorses_a_planned_change_alone():
    planned, lost = (Party.of_identity(successor(ended)) for ended in (PLANNED, COMPROMISED))
    assert planned.is_endorsed_by(FIRST)
    assert not lost.is_endorsed_by(FIRST)
    assert not planned.is_endorsed_by(identity(B).signing_key.public)
    assert not Party.of_identity(identity(A)).is_endorsed_by(FIRST)
    assert planned.comes_after(FIRST)
    assert lost.comes_after(FIRST)
    assert not lost.comes_after(identity(B).signing_key.public)


def test_a_planned_change_that_nobody_endorsed_is_refused():
    for endorsement in (identity(B).sign("endorsement", *successor(PLANNED).stated()), successor(PLANNED).sign("x")):
        doc = document(successor(PLANNED))
        doc["identity"]["endorsement"] = endorsement
        with pytest.raises(UntrustedKey, match="did not endorse"):
            Party.of(A, doc)
    unendorsed = document(successor(PLANNED))
    del unendorsed["identity"]["endorsement"]
    lost = document(successor(COMPROMISED))
    lost["identity"]["endorsement"] = successor(PLANNED).endorsement
    for doc in (unendorsed, lost):
        with pytest.raises(UntrustedKey, match="not stated as it must be"):
            Party.of(A, doc)


def test_how_a_former_key_ended_cannot_be_changed_by_others():
    doc = document(successor(COMPROMISED))
    doc["identity"]["previous"][0]["ended"] = PLANNED
    doc["identity"]["endorsement"] = successor(PLANNED).endorsement
    with pytest.raises(UntrustedKey, match="signature of its identity"):
        Party.of(A, doc)


OWN, OTHER = ({"signingKey": to_text(identity(each).signing_key.public), "ended": COMPROMISED} for each in (A, C))


@pytest.mark.parametrize(
    ("epoch", "previous"),
    [
        (2, []),
        (1, [OTHER]),
        (True, []),
        (0, []),
        (1.0, []),
        (3, [OTHER, OTHER]),
        (2, [OWN]),
        (2, [{**OTHER, "ended": "somehow"}]),
        (2, [{**OTHER, "further": 1}]),
        (2, [{**OTHER, "signingKey": "AAAA"}]),
        (2, [None]),
        (1, None),
    ],
)
def test_epochs_and_former_keys_that_cannot_be_are_refused(epoch: Any, previous: Any):
    with pytest.raises((UntrustedKey, Tampered)):
        Party.of(A, stated(identity(A), epoch=epoch, previous=previous))


def test_there_are_not_more_epochs_than_anybody_needs():
    keys = [Previous(number.to_bytes(32, "big"), COMPROMISED).stated for number in range(EPOCHS_MOST)]
    assert Party.of(A, stated(identity(A), epoch=EPOCHS_MOST, previous=keys[1:])).epoch == EPOCHS_MOST
    with pytest.raises(UntrustedKey, match="epoch"):
        Party.of(A, stated(identity(A), epoch=EPOCHS_MOST + 1, previous=keys))


@given(st.sampled_from([path for path in places(document(successor(PLANNED))) if path]), JSON_VALUES)
def test_no_value_stops_an_identity_from_being_judged(path: tuple[Any, ...], value: Any):
    changed = with_value(document(successor(PLANNED)), path, value)
    if changed != document(successor(PLANNED)):
        with pytest.raises((UntrustedKey, Tampered, InvalidEntity)):
            Party.of(A, changed)
