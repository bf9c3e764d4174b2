"""Recovery documents: the identity comes back by the secret alone, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.publishing import holds, is_withdrawal, publish, withdraw
from icure_sync.crypto.recovery import Recovery, open_recovery, recovery_id, recovery_members, seal_identity
from icure_sync.crypto.shares import Purpose, RecoverySecret, Split
from icure_sync.crypto.signers import Signer
from icure_sync.errors import Tampered
from icure_sync.ids import HcpId
from icure_sync.replication.filters import device_selector, passes
from tests.keys import A, B, identity, seeded

SECRET = RecoverySecret.draw(Purpose.RECOVERY, seeded("recovery"))
ID = recovery_id(SECRET)
MADE = 1_790_000_000_000
SIGNER = Signer(identity(A).signing_key.public)


def made(split: Split | None = None) -> tuple[Any, dict[str, Any]]:
    return publish(ID, recovery_members(SECRET, identity(A), MADE, split, seeded("salt")), identity(A))


REV, DOCUMENT = made()


@pytest.mark.parametrize("split", [None, Split(2, 3)])
def test_the_identity_comes_back_by_the_secret(split: Split | None):
    rev, document = made(split)
    assert holds(ID, rev, document, SIGNER)
    assert Recovery.of(ID, document) == Recovery(ID, A, identity(A).epoch, MADE, split)
    assert open_recovery(SECRET, ID, document).secret() == identity(A).secret()


def test_another_secret_opens_nothing():
    for other in (RecoverySecret.draw(Purpose.RECOVERY, seeded("other")), RecoverySecret(Purpose.GLASS, SECRET.value)):
        with pytest.raises(Tampered):
            open_recovery(other, ID, DOCUMENT)


def test_the_document_is_found_by_the_secret_alone_and_says_nothing_of_it():
    assert recovery_id(SECRET) == f"recovery-{SECRET.name}"
    assert SECRET.value.hex() not in str(DOCUMENT)
    assert identity(A).name not in str(DOCUMENT)


def test_the_own_devices_replicate_it_and_others_do_not():
    _, tombstone = withdraw(ID, DOCUMENT, REV, identity(A))
    for document in (DOCUMENT, {**tombstone, "_deleted": True}):
        assert passes(device_selector(A), document)
        assert not passes(device_selector(B), document)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("epoch", 2),
        ("made", MADE + 1),
        ("shares", {"threshold": 2, "count": 3}),
    ],
)
def test_what_it_says_in_clear_is_bound_to_what_is_sealed(member: str, value: Any):
    with pytest.raises(Tampered):
        open_recovery(SECRET, ID, {**DOCUMENT, member: value})
    rev, _ = publish(ID, DOCUMENT, identity(A))
    assert not holds(ID, rev, {**DOCUMENT, member: value}, SIGNER)


def test_it_opens_in_no_other_place():
    with pytest.raises(Tampered):
        open_recovery(SECRET, recovery_id(RecoverySecret(Purpose.GLASS, SECRET.value)), DOCUMENT)


def test_an_identity_that_is_not_the_one_stated_is_refused():
    members = recovery_members(SECRET, identity(A), MADE, None, seeded("salt"))
    _, by_another = publish(ID, members, identity(B))
    with pytest.raises(Tampered):
        open_recovery(SECRET, ID, by_another)
    lying = {name: value for name, value in members.items() if name != "sealed"} | {"epoch": 7}
    lying["sealed"] = seal_identity(SECRET, identity(A), ID, lying, seeded("salt"))
    _, document = publish(ID, lying, identity(A))
    with pytest.raises(Tampered, match="not laid out"):
        open_recovery(SECRET, ID, document)


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "Patient"},
        {"cryptoSuite": "sealed-2"},
        {"more": 1},
        {"parents": None},
        {"parents": [REV, REV]},
        {"delegations": {B: []}},
        {"delegations": {A: [], B: []}},
        {"epoch": 0},
        {"epoch": True},
        {"made": -1},
        {"made": 2.5},
        {"made": 2**60},
        {"shares": {}},
        {"shares": {"threshold": 1, "count": 3}},
        {"shares": {"threshold": "2", "count": 3}},
        {"shares": [2, 3]},
        {"written": {"by": A}},
        {"withdrawn": True},
    ],
)
def test_another_layout_is_refused(changed: dict[str, Any]):
    with pytest.raises(Tampered):
        Recovery.of(ID, {**DOCUMENT, **changed})


@pytest.mark.parametrize("sealed", [None, "", "%", DOCUMENT["sealed"][:-8], DOCUMENT["sealed"].swapcase()])
def test_a_damaged_envelope_is_refused(sealed: Any):
    with pytest.raises(Tampered):
        open_recovery(SECRET, ID, {**DOCUMENT, "sealed": sealed})


@given(st.sampled_from(sorted(DOCUMENT)))
def test_a_document_without_a_member_is_refused(member: str):
    with pytest.raises(Tampered):
        Recovery.of(ID, {name: value for name, value in DOCUMENT.items() if name != member})


def test_a_withdrawal_says_what_the_document_said_but_for_what_was_sealed():
    rev, tombstone = withdraw(ID, DOCUMENT, REV, identity(A))
    assert rev.startswith("2-")
    assert tombstone["parents"] == [REV]
    assert is_withdrawal(tombstone)
    assert not is_withdrawal(DOCUMENT)
    assert "sealed" not in tombstone
    assert Recovery.of(ID, tombstone) == Recovery.of(ID, DOCUMENT)
    assert holds(ID, rev, tombstone, SIGNER)
    with pytest.raises(Tampered):
        open_recovery(SECRET, ID, tombstone)


def test_devices_that_withdraw_it_write_the_same():
    assert withdraw(ID, DOCUMENT, REV, identity(A)) == withdraw(ID, DOCUMENT, REV, identity(A))


def test_nobody_else_signs_for_the_hcp():
    rev, forged = withdraw(ID, DOCUMENT, REV, identity(B))
    assert not holds(ID, rev, {**forged, "written": {**forged["written"], "by": A}}, SIGNER)
    assert not holds(ID, rev, forged, SIGNER)
    assert not holds(ID, rev, {**DOCUMENT, "made": float("nan")}, SIGNER)


def test_once_more_over_a_revision_it_is_the_same_document():
    rev, again = publish(ID, DOCUMENT, identity(A), REV)
    assert (rev[:2], again["parents"]) == ("2-", [REV])
    assert holds(ID, rev, again, SIGNER)
    assert open_recovery(SECRET, ID, again).hcp_id == HcpId(A)
