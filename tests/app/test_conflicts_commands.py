"""What is left to a person, on the command line: two Hcps and a second device, each with a home, on one hub."""

from __future__ import annotations

import asyncio
import re
import shlex

import pytest

from icure_sync import Hcp
from icure_sync.app.home import open_home
from tests.app.conftest import PASSPHRASE, CommandLine, RunningHub


def settle(practice: CommandLine, phone: CommandLine, patient: str) -> None:
    """Leave nothing behind for the next test."""
    phone.json("conflicts", "resolve", patient, "--set", "note=both")
    phone.json("sync")
    practice.json("sync")


@pytest.fixture
def disputed(practice: CommandLine, phone: CommandLine, hub: RunningHub) -> str:
    """The id of a patient whose note was changed on two devices at once."""
    patient: str = practice.json("patient", "add", "--last-name", "Severn")["id"]
    practice.json("sync", "--server", hub.database)
    phone.json("sync", "--server", hub.database)
    practice.json("patient", "edit", patient, "--note", "from the laptop")
    phone.json("patient", "edit", patient, "--note", "from the phone")
    practice.json("sync")
    assert phone.json("sync")["conflicts"] == phone.json("status")["conflicts"] == 1
    return patient


def test_what_two_devices_changed_at_once_is_listed_shown_and_settled(
    practice: CommandLine, phone: CommandLine, disputed: str
) -> None:
    (item,) = phone.json("conflicts", "list")["items"]
    assert (item["id"], item["type"], item["inDispute"], item["versions"]) == (disputed, "Patient", ["note"], 2)
    assert re.search(rf"Patient +{disputed} +note +2 +Severn", phone.run("conflicts", "list").out)
    shown = phone.json("conflicts", "show", disputed)
    (note,) = shown["fields"]
    versions = [note["shown"], *note["alternatives"]]
    assert {each["value"]: each["device"] for each in versions} == {
        "from the laptop": practice.json("status")["device"],
        "from the phone": phone.json("status")["device"],
    }
    page = phone.run("conflicts", "show", disputed).out
    assert re.search(r"note, 2 versions:\nN +VALUE +WRITTEN BY +AT", page)
    assert re.search(r"\n1 +from the \w+ +hcp-a, device \w+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", page)

    how = ["conflicts", "resolve", disputed, "--rev", shown["rev"], "--take"]
    assert "gender is not in dispute; name one of note" in phone.error(*how, "gender=1")
    for number in ("2", "-1", "01", "x", "9" * 5000):
        assert "from 0 to 1" in phone.error(*how, f"note={number}")
    settled = phone.json(*how, "note=1")
    assert settled["inDispute"] == []
    assert phone.json("conflicts", "list")["items"] == []
    phone.json("sync")
    assert practice.json("sync")["conflicts"] == 0
    seen = practice.json("patient", "show", disputed)
    assert (seen["note"], seen["rev"]) == (note["alternatives"][0]["value"], settled["rev"])


def test_what_is_shown_can_be_kept(practice: CommandLine, phone: CommandLine, disputed: str) -> None:
    before = phone.json("patient", "show", disputed)
    assert "is settled (" in phone.run("conflicts", "resolve", disputed, "--rev", before["rev"], "--keep").out
    assert phone.json("patient", "show", disputed)["note"] == before["note"]
    assert phone.run("conflicts", "list").out == "None.\n"
    phone.json("sync")
    practice.json("sync")


def test_something_new_can_be_set_whatever_there_was(practice: CommandLine, phone: CommandLine, disputed: str) -> None:
    assert "is settled (" in phone.run("conflicts", "resolve", disputed, "--set", "note=both").out
    assert phone.json("patient", "show", disputed)["note"] == "both"
    assert phone.run("conflicts", "list").out == "None.\n"
    phone.json("sync")
    practice.json("sync")


def test_what_is_decided_by_sight_says_what_was_seen(practice: CommandLine, phone: CommandLine, disputed: str) -> None:
    for how in (["--take", "note=1"], ["--keep"], ["--keep", "--set", "note=x"]):
        refused = phone.run("conflicts", "resolve", disputed, *how)
        assert (refused.code, refused.out) == (2, "")
        assert "--keep and --take go with --rev REV" in refused.err
    settle(practice, phone, disputed)


@pytest.mark.parametrize("how", [["--take", "note=1"], ["--keep"], ["--set", "note=x"]])
def test_nothing_is_settled_over_values_that_a_sync_has_brought_since(
    practice: CommandLine, phone: CommandLine, disputed: str, how: list[str]
) -> None:
    seen = phone.json("conflicts", "show", disputed)["rev"]
    practice.json("patient", "edit", disputed, "--note", "from the laptop, later")
    practice.json("sync")
    phone.json("sync")
    before = phone.json("conflicts", "show", disputed)
    refused = phone.error("conflicts", "resolve", disputed, "--rev", seen, *how)
    assert f"{seen} is not the revision that is shown of it now; look at it again: icure-sync conflicts show" in refused
    assert phone.json("conflicts", "show", disputed) == before
    assert phone.json("conflicts", "resolve", disputed, "--rev", before["rev"], *how)["inDispute"] == []
    phone.json("sync")
    practice.json("sync")


def test_the_page_gives_the_command_line_to_go_on_with(
    practice: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    address = '[{"id":"at home; echo","city":"%s"}]'
    patient = practice.json("patient", "add", "--set", f"addresses={address % 'Rome'}")["id"]
    practice.json("sync", "--server", hub.database)
    phone.json("sync", "--server", hub.database)
    practice.json("patient", "edit", patient, "--note", "laptop", "--set", f"addresses={address % 'London'}")
    phone.json("patient", "edit", patient, "--note", "phone", "--set", f"addresses={address % 'Naples'}")
    practice.json("sync")
    phone.json("sync")
    page = phone.run("conflicts", "show", patient).out
    rev = phone.json("patient", "show", patient)["rev"]
    assert page.startswith(f"Patient {patient} ({rev}): ")
    (line,) = re.findall(r"^Settle it: icure-sync (.*)$", page, re.MULTILINE)
    words = shlex.split(line)
    assert words[:5] == ["conflicts", "resolve", patient, "--rev", rev]
    assert words[5:] == ["--take", "addresses/at home; echo=N", "--take", "note=N"]
    assert "it is one record of a list; say --take addresses/at home; echo=N with --rev REV" in phone.error(
        "conflicts", "resolve", patient, "--set", "addresses/at home; echo=x"
    )
    assert phone.json(*(re.sub("=N$", "=0", word) for word in words))["inDispute"] == []
    phone.json("sync")
    practice.json("sync")


@pytest.mark.parametrize(
    "how",
    [
        [],
        ["--rev", "REV"],
        ["--rev", "REV", "--take", "note"],
        ["--rev", "REV", "--take", "note=0", "--take", "note=1"],
        ["--rev", "REV", "--take", "note=1", "--set", "note=x"],
        ["--set", "note=x", "--set", "note=y"],
        ["--set", "=x"],
    ],
)
def test_a_decision_says_once_what_becomes_of_a_field(practice: CommandLine, how: list[str]) -> None:
    refused = practice.run("conflicts", "resolve", "f" * 32, *how)
    assert (refused.code, refused.out) == (2, "")
    if how.count("--take") + how.count("--set") > 1:
        assert "say once what becomes of note" in refused.err


def test_an_unknown_id_a_deleted_record_and_a_sound_one_are_told_apart(practice: CommandLine) -> None:
    sound, gone = (practice.json("patient", "add", "--last-name", name)["id"] for name in ("Sound", "Gone"))
    practice.json("patient", "delete", gone)
    said = {
        "f" * 32: "it is not in this replica; check the id, or sync first",
        "": "it is not in this replica; check the id, or sync first",
        gone: "it is deleted; its content is kept",
        sound: "nothing of it is left to a person; see icure-sync conflicts list",
        "hcp-a": "nothing of it is left to a person; see icure-sync conflicts list",
    }
    for doc_id, wrong in said.items():
        for command in (["show", doc_id], ["resolve", doc_id, "--set", "note=x"], ["adopt", doc_id, "1-" + "f" * 32]):
            assert f"cannot find a conflict in {doc_id}: {wrong}" in practice.error("conflicts", *command)
    assert "it is deleted; its content is kept" in practice.error("patient", "show", gone)


def test_a_deleted_record_breaks_no_list_of_conflicts(practice: CommandLine, phone: CommandLine, disputed: str) -> None:
    phone.json("patient", "delete", disputed)
    assert phone.json("conflicts", "list") == {"items": []}
    phone.json("sync")
    assert practice.json("sync")["conflicts"] == 0


def test_a_deletion_that_had_not_seen_an_edit_is_decided(
    practice: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    patient = practice.json("patient", "add", "--last-name", "Hunt")["id"]
    practice.json("sync", "--server", hub.database)
    phone.json("sync", "--server", hub.database)
    phone.json("patient", "delete", patient)
    practice.json("patient", "edit", patient, "--note", "still needed")
    practice.json("sync")
    phone.json("sync")
    page = phone.run("conflicts", "show", patient).out
    assert re.search(
        r"0 \(shown\) +kept +an edit that the deletion had not seen\n1 +deleted +hcp-a, device \w+ +\d", page
    )
    assert "can only be kept or deleted; say --take deleted=N with --rev REV" in phone.error(
        "conflicts", "resolve", patient, "--set", "deleted=yes"
    )
    rev = phone.json("conflicts", "show", patient)["rev"]
    assert phone.json("conflicts", "resolve", patient, "--rev", rev, "--take", "deleted=1")["inDispute"] == []
    phone.json("sync")
    practice.json("sync")
    assert patient not in {item["id"] for item in practice.json("patient", "list")["items"]}


async def rename(line: CommandLine, name: str) -> None:
    """As an application does; no command changes a profile."""
    async with open_home(line.home).replica(PASSPHRASE) as replica:
        await replica.save((await replica.get(Hcp, "hcp-a")).replace(name=name))


async def own_name(line: CommandLine) -> str | None:
    async with open_home(line.home).replica(PASSPHRASE) as replica:
        return (await replica.get(Hcp, "hcp-a")).name


def test_two_names_of_the_own_hcp_are_listed_shown_and_settled(
    practice: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    practice.json("sync", "--server", hub.database)
    phone.json("sync", "--server", hub.database)
    asyncio.run(rename(practice, "Practice at the laptop"))
    asyncio.run(rename(phone, "Practice at the phone"))
    practice.json("sync")
    assert phone.json("sync")["conflicts"] == 1
    assert re.search(r"HealthcareParty +hcp-a +name +2 +Practice at the \w+\n", phone.run("conflicts", "list").out)
    shown = phone.json("conflicts", "show", "hcp-a")
    ((also,),) = (field["alternatives"] for field in shown["fields"])
    page = phone.run("conflicts", "show", "hcp-a").out
    assert page.startswith(f"HealthcareParty hcp-a ({shown['rev']}): Practice at the ")
    assert "nothing of it can be" in phone.error("conflicts", "adopt", "hcp-a", shown["rev"])
    assert "01-" in phone.error("conflicts", "resolve", "hcp-a", "--rev", "01-", "--keep")
    how = ["--rev", shown["rev"], "--take", "name=1"]
    assert phone.json("conflicts", "resolve", "hcp-a", *how)["inDispute"] == []
    phone.json("sync")
    assert practice.json("sync")["conflicts"] == 0
    assert asyncio.run(own_name(practice)) == also["value"]


@pytest.fixture
def left_out(practice: CommandLine, specialist: CommandLine, hub: RunningHub) -> str:
    """The id of a patient whose note a delegate changed before it heard that it had been put out."""
    patient: str = practice.json("patient", "add", "--last-name", "Haydon")["id"]
    specialist.json("sync")
    practice.json("sync", "--server", hub.database)
    practice.json("share", patient, "--with", "hcp-b")
    practice.json("sync")
    specialist.json("sync")
    practice.json("revoke", patient, "--from", "hcp-b")
    specialist.json("patient", "edit", patient, "--note", "seen today")
    specialist.json("sync")
    assert practice.json("sync")["conflicts"] >= 1
    return patient


def test_what_a_delegate_wrote_before_it_heard_that_it_is_out_is_adopted(practice: CommandLine, left_out: str) -> None:
    shown = practice.json("conflicts", "show", left_out)
    (leaf,) = shown["standing"]
    assert (shown["fields"], leaf["reason"], leaf["by"]) == ([], "out", "hcp-b")
    assert leaf["offers"] == {"note": ["seen today"]}
    page = practice.run("conflicts", "show", left_out).out
    assert f"Not merged: {leaf['rev']} by hcp-b: hcp-b, who wrote it, has no access any more." in page
    assert "  note: seen today\n" in page
    assert page.endswith(f"Take it over: icure-sync conflicts adopt {left_out} {leaf['rev']}\n")
    assert "can be adopted" in practice.error("conflicts", "resolve", left_out, "--rev", shown["rev"], "--keep")
    unknown = practice.error("conflicts", "adopt", left_out, "7-" + "f" * 32)
    assert f"it is no live leaf of it; name {leaf['rev']}" in unknown
    adopted = practice.json("conflicts", "adopt", left_out, leaf["rev"])
    seen = practice.json("patient", "show", left_out)
    assert (seen["note"], seen["rev"]) == ("seen today", adopted["rev"])
    assert "nothing of it is left to a person" in practice.error("conflicts", "show", left_out)


def test_what_is_in_dispute_only_is_not_for_adopting(practice: CommandLine, phone: CommandLine, disputed: str) -> None:
    rev = phone.json("conflicts", "show", disputed)["rev"]
    refused = phone.error("conflicts", "adopt", disputed, rev)
    assert f"it is in what is shown; nothing of it can be: see icure-sync conflicts show {disputed}" in refused
    settle(practice, phone, disputed)


def test_sharing_again_takes_in_what_was_written_meanwhile(
    practice: CommandLine, specialist: CommandLine, left_out: str
) -> None:
    practice.json("patient", "edit", left_out, "--set", "gender=male")
    practice.json("sync")
    specialist.json("sync")
    assert "your access to it was ended" in specialist.error("patient", "show", left_out)
    practice.json("share", left_out, "--with", "hcp-b")
    practice.json("sync")
    assert "nothing of it is left to a person" in practice.error("conflicts", "show", left_out)
    specialist.json("sync")
    for line in (practice, specialist):
        seen = line.json("patient", "show", left_out)
        assert (seen["note"], seen["gender"]) == ("seen today", "male")
