"""Emergency access from the command line: prepared by an owner, opened by colleagues, seen and shut by the owner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import CommandLine, RunningHub

WHY = "unconscious, no relatives"


@pytest.fixture(scope="module")
def ward(homes: Path, hub: RunningHub) -> tuple[CommandLine, str, dict[str, Any]]:
    """A practice, a patient with a contact, and what `prepare` said."""
    line = CommandLine(homes / "ward")
    line.json("init", "--hcp-id", "hcp-w", "--name", "Ward", "--server", hub.database)
    patient = line.json("patient", "add", "--last-name", "Keats")["id"]
    line.json("contact", "add", "--patient", patient, "--description", "Cough")
    line.json("patient", "add", "--last-name", "Brawne")
    prepared = line.json("break-glass", "prepare", "--patient", patient, "--shares", "3", "--threshold", "2")
    assert (prepared["shared"], prepared["failed"], len(prepared["shares"])) == (2, [], 3)
    line.json("sync")
    return line, patient, prepared


def opened(line: CommandLine, hub: RunningHub, shares: list[str], *more: str) -> Any:
    told = replace(line, standard_input="\n".join(shares))
    return told.json("break-glass", "open", "--server", hub.database, "--reason", WHY, *more)


def last_names(line: CommandLine) -> list[str]:
    return [item["lastName"] for item in line.json("patient", "list")["items"]]


def test_colleagues_open_it_together_and_the_owner_sees_and_shuts_it(
    ward: tuple[CommandLine, str, dict[str, Any]], hub: RunningHub, tmp_path: Path
):
    owner, patient, prepared = ward
    emergency = CommandLine(tmp_path / "emergency")
    made = opened(emergency, hub, prepared["shares"][1:], "--by", "Dr Bree")
    assert (made["hcpId"], made["patient"], made["owner"]) == (prepared["id"], patient, "hcp-w")
    assert last_names(emergency) == ["Keats"]
    assert [each["descr"] for each in emergency.json("contact", "list", "--patient", patient)["items"]] == ["Cough"]
    first = emergency.json("audit")["items"][0]
    assert (first["action"], first["id"]) == ("glass-opened", patient)
    assert (first["detail"]["by"], first["detail"]["reason"]) == ("Dr Bree", WHY)

    later = owner.json("contact", "add", "--patient", patient, "--description", "Fever")["id"]
    assert "alarm" in owner.run("sync").out
    emergency.json("sync")
    assert emergency.json("contact", "show", later)["descr"] == "Fever"  # a sync includes what came since
    listed = owner.json("break-glass", "list")
    assert [(item["id"], item["opened"]) for item in listed["items"]] == [(prepared["id"], 1)]
    (opening,) = listed["openings"]
    assert (opening["by"], opening["reason"], opening["shares"]) == ("Dr Bree", WHY, [2, 3])
    assert WHY in owner.run("break-glass", "list").out
    assert WHY in owner.run("doctor").out
    assert "glass-opened" in owner.run("audit").out

    assert owner.json("break-glass", "withdraw", prepared["id"]) == {"id": prepared["id"], "patient": patient}
    owner.json("patient", "edit", patient, "--note", "afterwards")
    owner.json("sync")
    emergency.run("sync")
    assert "afterwards" not in emergency.run("patient", "list").out
    other = replace(CommandLine(tmp_path / "other"), standard_input="\n".join(prepared["shares"][:2]))
    said = other.error("break-glass", "open", "--server", hub.database, "--reason", WHY)
    assert "it was withdrawn" in said
    assert not other.home.exists()
    assert owner.json("break-glass", "list")["items"] == []
    assert "None stands" in owner.run("break-glass", "list").out


def test_it_says_what_it_does_and_what_nothing_can_enforce(
    ward: tuple[CommandLine, str, dict[str, Any]], hub: RunningHub, tmp_path: Path
):
    owner, _, _ = ward
    (patient,) = [item["id"] for item in owner.json("patient", "list")["items"] if item["lastName"] == "Brawne"]
    said = owner.run("break-glass", "prepare", "--patient", patient, "--shares", "2", "--threshold", "2").out
    assert "SHOWN THIS ONCE AND KEPT NOWHERE" in said
    assert "can read without leaving that evidence" in said
    shares = [line.split(": ")[1] for line in said.splitlines() if line.startswith("share ")]
    assert "0 records shared" in owner.run("break-glass", "refresh").out
    owner.json("sync")
    emergency = CommandLine(tmp_path / "emergency")
    told = replace(emergency, standard_input="\n".join(shares))
    assert "hcp-w learns" in told.run("break-glass", "open", "--server", hub.database, "--reason", WHY).out
    again = replace(CommandLine(tmp_path / "again"), standard_input="\n".join(shares))
    assert "recovery restore" not in again.error("recovery", "combine")
    assert "break-glass open" in again.error("recovery", "combine")
    assert "of another kind" in again.error("recovery", "restore", "--server", hub.database)
    (item,) = [item for item in owner.json("break-glass", "list")["items"] if item["patient"] == patient]
    assert "is withdrawn with the next sync" in owner.run("break-glass", "withdraw", item["id"]).out


def test_a_reason_is_needed(ward: tuple[CommandLine, str, dict[str, Any]], hub: RunningHub, tmp_path: Path):
    owner, patient, _ = ward
    emergency = CommandLine(tmp_path / "emergency")
    assert emergency.run("break-glass", "open", "--server", hub.database).code == 2
    prepared = owner.json("break-glass", "prepare", "--patient", patient, "--shares", "2", "--threshold", "2")
    owner.json("sync")
    for reason in (" ", "x" * 301):
        told = replace(emergency, standard_input="\n".join(prepared["shares"]))
        assert "the reason is not" in told.error("break-glass", "open", "--server", hub.database, "--reason", reason)
    assert not emergency.home.exists()
