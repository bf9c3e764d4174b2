"""Many deletions at once, from the command line: the sync stops, and a person says how many are right."""

from __future__ import annotations

import pytest

from icure_sync.engine import deletions
from tests.app.conftest import CommandLine, RunningHub


def test_a_person_says_how_many_deletions_are_right(
    practice: CommandLine, phone: CommandLine, hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "MOST_DELETIONS", 1)
    added = [practice.json("patient", "add", "--last-name", name)["id"] for name in ("Keats", "Shelley")]
    for line in (practice, phone):
        line.json("sync", "--server", hub.database)
    for patient in added:
        practice.json("patient", "delete", patient)
    practice.json("sync")
    said = phone.error("sync")
    assert "hcp-a deleted 2 records; nothing of it has been taken in" in said
    assert "--accept-deletions 2" in said
    assert {each["id"] for each in phone.json("patient", "list")["items"]} >= set(added)
    assert "--accept-deletions 2" in phone.error("sync", "--accept-deletions", "1")
    assert phone.json("sync", "--accept-deletions", "2")["conflicts"] == 0
    assert {each["id"] for each in phone.json("patient", "list")["items"]}.isdisjoint(added)
