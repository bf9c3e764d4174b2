"""Emergency access: what its documents say, whom they bind, and who can read the evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from icure_sync.canonical import canonical
from icure_sync.crypto.envelope import pad, seal, to_text
from icure_sync.crypto.glass import (
    NAME_MOST,
    REASON_MOST,
    Glass,
    GlassOpened,
    _opened_associated,
    evidence_key,
    glass_id,
    glass_members,
    open_glass,
    opened_hcp,
    opened_members,
    read_opened,
)
from icure_sync.crypto.hcp_keys import self_key
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.publishing import publish, withdraw
from icure_sync.crypto.recovery import open_recovery, seal_identity
from icure_sync.crypto.shares import Purpose, RecoverySecret, Split
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, HcpId
from icure_sync.replication.filters import device_selector, passes
from tests.keys import A, B, C, hcp_key, identity, seeded

GLASS_HCP = HcpId("glass-0123456789abcdef")
SECRET = RecoverySecret.draw(Purpose.GLASS, seeded("glass"))
ID = glass_id(SECRET)
MADE = 1_790_000_000_000
EMERGENCY: Identity = replace(identity(C), hcp_id=GLASS_HCP)
OPENED = GlassOpened(DocId("glass-opened-1"), GLASS_HCP, "Dr Bree", "unconscious, no relatives", MADE + 5, (1, 3))


def members(glass: Identity = EMERGENCY) -> dict[str, Any]:
    return glass_members(
        SECRET,
        glass,
        identity(A),
        self_key(identity(A)),
        patient="p1",
        made=MADE,
        split=Split(2, 3),
        entropy=seeded("salt"),
    )


REV, DOCUMENT = publish(ID, members(), identity(A))
EVIDENCE = publish(OPENED.id, opened_members(OPENED, A, evidence_key(SECRET), seeded("evidence")), EMERGENCY)[1]


def test_the_shares_open_the_identity_of_the_emergency_hcp():
    glass, opened = open_glass(SECRET, ID, DOCUMENT)
    assert opened.secret() == EMERGENCY.secret()
    assert (glass.owner, glass.hcp, glass.patient, glass.made, glass.split) == (A, GLASS_HCP, "p1", MADE, Split(2, 3))
    assert glass.owner_key == identity(A).signing_key.public
    assert glass.signing_key == EMERGENCY.signing_key.public


def test_its_secret_recovers_nobody_and_a_recovery_secret_opens_no_glass():
    other = RecoverySecret(Purpose.RECOVERY, SECRET.value)
    with pytest.raises(Tampered):
        open_glass(other, ID, DOCUMENT)
    with pytest.raises(Tampered):
        open_recovery(SECRET, ID, DOCUMENT)


def test_owner_and_emergency_hcp_replicate_its_documents_and_others_do_not():
    for document in (DOCUMENT, EVIDENCE):
        assert passes(device_selector(A), document)
        assert passes(device_selector(GLASS_HCP), document)
        assert not passes(device_selector(B), document)


@pytest.mark.parametrize(
    "changed",
    [
        {"ownerKey": DOCUMENT["glassKey"]},
        {"patient": "p2"},
        {"made": MADE + 1},
        {"shares": {"threshold": 2, "count": 4}},
        {"glassKey": DOCUMENT["ownerKey"]},
        {"evidence": {**DOCUMENT["evidence"], "kid": "0" * 32}},
    ],
)
def test_what_it_says_in_clear_is_bound_to_what_is_sealed(changed: dict[str, Any]):
    with pytest.raises(Tampered):
        open_glass(SECRET, ID, {**DOCUMENT, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"glass": "_no"},
        {"glass": B, "delegations": {A: [], B: []}},  # it is no emergency Hcp's key that it may state
        {"delegations": {A: []}},
        {"patient": 1},
        {"made": None},
        {"evidence": None},
        {"evidence": {"kid": "0" * 32}},
        {"evidence": {"kid": "no", "key": ""}},
        {"evidence": {"kid": "0" * 32, "key": 1}},
        {"shares": None},
        {"ownerKey": "%"},
        {"type": "GlassOpened"},
    ],
)
def test_another_layout_is_refused(changed: dict[str, Any]):
    with pytest.raises(Tampered):
        Glass.of(ID, {**DOCUMENT, **changed})


def test_an_identity_that_is_not_the_one_stated_is_refused():
    lying = members()
    other = glass_members(
        SECRET,
        replace(identity(B), hcp_id=GLASS_HCP),
        identity(A),
        self_key(identity(A)),
        patient="p1",
        made=MADE,
        split=Split(2, 3),
        entropy=seeded("salt"),
    )
    clear = {name: value for name, value in lying.items() if name != "sealed"}
    clear["sealed"] = seal_identity(SECRET, replace(identity(B), hcp_id=GLASS_HCP), ID, clear, seeded("salt"))
    _, document = publish(ID, clear, identity(A))
    assert clear["glassKey"] != other["glassKey"]
    with pytest.raises(Tampered, match="not laid out"):
        open_glass(SECRET, ID, document)


def test_the_owner_reads_the_evidence_also_after_it_was_withdrawn():
    _, tombstone = withdraw(ID, DOCUMENT, REV, identity(A))
    for document in (DOCUMENT, tombstone):
        key = Glass.of(ID, document).evidence_key(self_key(identity(A)))
        assert key == evidence_key(SECRET)
        assert read_opened(OPENED.id, EVIDENCE, A, key) == OPENED
    with pytest.raises(Tampered):
        open_glass(SECRET, ID, tombstone)
    with pytest.raises(Tampered):
        Glass.of(ID, DOCUMENT).evidence_key(hcp_key(A, B))


def test_the_evidence_shows_nobody_else_who_opened_it_or_why():
    assert "Bree" not in str(EVIDENCE)
    assert "unconscious" not in str(EVIDENCE)
    with pytest.raises(Tampered):
        read_opened(OPENED.id, EVIDENCE, A, SECRET.key("key"))


@pytest.mark.parametrize(
    ("by", "reason"),
    [("", "x"), ("x", ""), ("x" * (NAME_MOST + 1), "x"), ("x", "x" * (REASON_MOST + 1)), ("x", "two\nlines")],
)
def test_who_and_why_are_said_in_some_words(by: str, reason: str):
    with pytest.raises(InvalidEntity, match="on one line"):
        opened_members(replace(OPENED, by=by, reason=reason), A, evidence_key(SECRET), seeded("evidence"))


@pytest.mark.parametrize(
    "changed",
    [{"glass": A}, {"delegations": {B: [], GLASS_HCP: []}}, {"written": {"by": A, "signature": ""}}, {"type": "x"}],
)
def test_evidence_of_another_layout_is_refused(changed: dict[str, Any]):
    with pytest.raises(Tampered):
        opened_hcp(OPENED.id, {**EVIDENCE, **changed}, A)


def test_evidence_for_another_owner_or_elsewhere_is_refused():
    with pytest.raises(Tampered):
        opened_hcp(OPENED.id, EVIDENCE, B)
    with pytest.raises(Tampered):
        read_opened(DocId("glass-opened-2"), EVIDENCE, A, evidence_key(SECRET))
    with pytest.raises(Tampered):
        read_opened(OPENED.id, {**EVIDENCE, "withdrawn": True}, A, evidence_key(SECRET))


@pytest.mark.parametrize(
    "said",
    [
        {"by": "x", "reason": "y", "time": 1, "shares": [0]},
        {"by": "x", "reason": "y", "time": 1, "shares": [33]},
        {"by": "x", "reason": "y", "time": 1, "shares": [1, 1]},
        {"by": "x", "reason": "y", "time": 1, "shares": [*range(1, 34)]},
        {"by": "x" * (NAME_MOST + 1), "reason": "y", "time": 1, "shares": [1]},
        {"by": "x", "reason": "y" * (REASON_MOST + 1), "time": 1, "shares": [1]},
        {"by": "\x1b[2J", "reason": "y", "time": 1, "shares": [1]},
        {"by": "x", "reason": "two\nlines", "time": 1, "shares": [1]},
        {"by": "", "reason": "y", "time": 1, "shares": [1]},
        {"by": "x", "reason": "y", "time": True, "shares": [1]},
        {"by": "x", "reason": "y", "time": 1, "shares": [1], "more": 1},
        {"by": "x", "reason": "y", "time": 1},
        [],
    ],
)
def test_evidence_that_says_something_else_is_refused(said: Any):
    clear = {name: EVIDENCE[name] for name in ("type", "cryptoSuite", "delegations", "glass")}
    sealed = seal(evidence_key(SECRET), pad(canonical(said)), _opened_associated(OPENED.id, clear), bytes(24))
    with pytest.raises(Tampered, match="not laid out"):
        read_opened(OPENED.id, {**EVIDENCE, "sealed": to_text(sealed)}, A, evidence_key(SECRET))
