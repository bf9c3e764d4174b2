"""Two Hcps and a second device, each with a home of its own, on one hub."""

from __future__ import annotations

import base64
import http.client
import json
import re
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.app.conftest import CommandLine, RunningHub, typed


@pytest.fixture(scope="module")
def specialist(homes: Path, hub: RunningHub) -> CommandLine:
    """The device of Hcp `hcp-b`, which was told the server at init."""
    line = CommandLine(homes / "specialist")
    line.json("init", "--hcp-id", "hcp-b", "--name", "Specialist B", "--server", hub.database)
    return line


@pytest.fixture(scope="module")
def phone(homes: Path, practice: CommandLine) -> CommandLine:
    """The second device of `hcp-a`."""
    file = homes / "hcp-a.identity"
    assert practice.json("identity", "export", file) == {"file": str(file), "hcpId": "hcp-a"}
    line = CommandLine(homes / "phone")
    made = line.json("init", "--identity", file)
    assert (made["hcpId"], made["name"]) == ("hcp-a", "Practice A")
    return line


def test_a_patient_travels_to_a_delegate_and_back_to_the_second_device(
    practice: CommandLine, specialist: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    patient = practice.json("patient", "add", "--last-name", "Keats")["id"]
    contact = practice.json("contact", "add", "--patient", patient, "--description", "Cough")["id"]
    assert "have that Hcp sync once" in practice.error("share", patient, "--with", "hcp-b")
    specialist.json("sync")

    first = practice.json("sync", "--server", hub.database)
    assert first == {"pulled": 1, "pushed": 3, "merged": 0, "conflicts": 0, "refused": []}
    shared = practice.json("share", patient, "--with", "hcp-b", "--include-linked")
    assert (shared["id"], shared["sharedWith"]) == (patient, ["hcp-a", "hcp-b"])
    assert practice.json("sync")["pushed"] >= 2

    specialist.json("sync")
    assert [item["lastName"] for item in specialist.json("patient", "list")["items"]] == ["Keats"]
    assert [item["id"] for item in specialist.json("contact", "list", "--patient", patient)["items"]] == [contact]
    opinion = specialist.json("contact", "add", "--patient", patient, "--description", "Second opinion")["id"]
    specialist.json("share", opinion, "--with", "hcp-a")
    specialist.json("sync")

    phone.json("sync", "--server", hub.database)
    seen = phone.json("contact", "list", "--patient", patient)["items"]
    assert {item["descr"] for item in seen} == {"Cough", "Second opinion"}


def test_a_delegate_that_was_put_out_reads_nothing_written_later(
    practice: CommandLine, specialist: CommandLine, hub: RunningHub
) -> None:
    patient = practice.json("patient", "add", "--last-name", "Clarke")["id"]
    contact = practice.json("contact", "add", "--patient", patient, "--description", "Fever")["id"]
    specialist.json("sync")
    practice.json("sync", "--server", hub.database)
    practice.json("share", patient, "--with", "hcp-b", "--include-linked")
    practice.json("sync")
    specialist.json("sync")
    assert "nobody puts himself out" in specialist.error("revoke", patient, "--from", "hcp-b")
    kept = practice.json("revoke", patient, "--from", "hcp-b", "--include-linked")
    assert (kept["id"], kept["sharedWith"]) == (patient, ["hcp-a"])
    assert practice.json("contact", "show", contact)["sharedWith"] == ["hcp-a"]
    practice.json("patient", "edit", patient, "--note", "later")
    practice.json("sync")
    specialist.json("sync")
    assert specialist.json("patient", "show", patient).get("note") is None
    assert "has no access" in practice.error("revoke", patient, "--from", "hcp-b")


def test_the_server_is_remembered_without_its_password_in_sight(practice: CommandLine, hub: RunningHub) -> None:
    practice.json("sync", "--server", hub.database)
    status = practice.json("status")
    assert status["server"] == f"{hub.url}/clinic"
    assert status["unsent"] == 0
    assert isinstance(status["lastSync"], int)
    assert "a-long-password" not in practice.run("status").out
    assert all(b"a-long-password" not in path.read_bytes() for path in practice.home.rglob("*") if path.is_file())


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

    assert "gender is not in dispute; name one of note" in phone.error(
        "conflicts", "resolve", disputed, "--take", "gender=1"
    )
    assert "from 0 to 1" in phone.error("conflicts", "resolve", disputed, "--take", "note=2")
    assert phone.run("conflicts", "resolve", disputed).code == 2
    assert phone.run("conflicts", "resolve", disputed, "--take", "note").code == 2
    assert phone.run("conflicts", "resolve", disputed, "--take", "note=1", "--set", "note=x").code == 2
    settled = phone.json("conflicts", "resolve", disputed, "--take", "note=1")
    assert settled["inDispute"] == []
    assert phone.json("conflicts", "list")["items"] == []
    assert "is left to a person" in phone.error("conflicts", "show", disputed)
    phone.json("sync")
    assert practice.json("sync")["conflicts"] == 0
    seen = practice.json("patient", "show", disputed)
    assert (seen["note"], seen["rev"]) == (note["alternatives"][0]["value"], settled["rev"])


@pytest.mark.parametrize("how", [["--keep"], ["--set", "note=both"]])
def test_a_field_is_settled_by_what_is_shown_or_by_something_new(
    practice: CommandLine, phone: CommandLine, disputed: str, how: list[str]
) -> None:
    before = phone.json("patient", "show", disputed)["note"]
    assert "is settled (" in phone.run("conflicts", "resolve", disputed, *how).out
    assert phone.json("patient", "show", disputed)["note"] == ("both" if "--set" in how else before)
    assert phone.run("conflicts", "list").out == "None.\n"
    phone.json("sync")
    practice.json("sync")


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
    assert re.search(r"0 \(shown\) +kept +unknown\n1 +deleted +hcp-a, device", page)
    assert "use --take deleted=N" in phone.error("conflicts", "resolve", patient, "--set", "deleted=yes")
    assert phone.json("conflicts", "resolve", patient, "--take", "deleted=1")["inDispute"] == []
    phone.json("sync")
    practice.json("sync")
    assert patient not in {item["id"] for item in practice.json("patient", "list")["items"]}


def test_what_a_delegate_wrote_before_it_heard_that_it_is_out_is_adopted(
    practice: CommandLine, specialist: CommandLine, hub: RunningHub
) -> None:
    patient = practice.json("patient", "add", "--last-name", "Haydon")["id"]
    specialist.json("sync")
    practice.json("sync", "--server", hub.database)
    practice.json("share", patient, "--with", "hcp-b")
    practice.json("sync")
    specialist.json("sync")
    practice.json("revoke", patient, "--from", "hcp-b")
    specialist.json("patient", "edit", patient, "--note", "seen today")
    specialist.json("sync")
    practice.json("sync")
    shown = practice.json("conflicts", "show", patient)
    (leaf,) = shown["standing"]
    assert (shown["fields"], leaf["reason"], leaf["by"]) == ([], "out", "hcp-b")
    assert leaf["offers"] == {"note": ["seen today"]}
    page = practice.run("conflicts", "show", patient).out
    assert f"Not merged: {leaf['rev']} by hcp-b: hcp-b, who wrote it, has no access any more." in page
    assert "  note: seen today\n" in page
    assert "can be adopted" in practice.error("conflicts", "resolve", patient, "--keep")
    assert "no live leaf" in practice.error("conflicts", "adopt", patient, "7-" + "f" * 32)
    adopted = practice.json("conflicts", "adopt", patient, leaf["rev"])
    seen = practice.json("patient", "show", patient)
    assert (seen["note"], seen["rev"]) == ("seen today", adopted["rev"])
    assert practice.json("sync")["conflicts"] == 0


def test_a_sync_says_what_it_did_to_a_person(practice: CommandLine, hub: RunningHub) -> None:
    done = practice.run("sync", "--server", hub.database)
    assert (done.code, done.err) == (0, "")
    assert re.match(r"\d+ documents? pulled, \d+ pushed\.\n", done.out)
    on_terminal = typed(practice, [], "sync")
    assert on_terminal.code == 0
    assert "0 documents pulled, 0 pushed." in on_terminal.out
    assert "\rpulling: " in on_terminal.err
    assert on_terminal.err.endswith(" \r")  # the line is left empty


def test_a_server_that_lost_a_record_is_found_out_and_gets_it_again(practice: CommandLine, hub: RunningHub) -> None:
    patient = practice.json("patient", "add", "--last-name", "Brawne")["id"]
    practice.json("sync", "--server", hub.database)
    assert practice.json("sync", "--audit")["audit"]["sent"] == 0
    with closing(http.client.HTTPConnection(urlsplit(hub.url).netloc)) as server:
        rev = practice.json("patient", "show", patient)["rev"]
        login = base64.b64encode(b"admin:a-long-password").decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
        server.request("POST", "/clinic/_purge", json.dumps({patient: [rev]}), headers)
        assert server.getresponse().status == 201
    assert practice.json("sync")["pushed"] == 0
    assert practice.json("sync", "--audit")["audit"]["sent"] == 1
    assert "gave them all" in practice.run("sync", "--audit").out
