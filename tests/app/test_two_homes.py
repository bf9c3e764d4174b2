"""Two Hcps and a second device, each with a home of its own, on one hub."""

from __future__ import annotations

import base64
import http.client
import json
import re
from contextlib import closing
from urllib.parse import urlsplit

from tests.app.conftest import CommandLine, RunningHub, typed


def test_a_patient_travels_to_a_delegate_and_back_to_the_second_device(
    practice: CommandLine, specialist: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    patient = practice.json("patient", "add", "--last-name", "Keats")["id"]
    contact = practice.json("contact", "add", "--patient", patient, "--description", "Cough")["id"]
    assert "have that Hcp sync once" in practice.error("share", patient, "--with", "hcp-b")
    specialist.json("sync")

    first = practice.json("sync", "--server", hub.database)
    assert first.pop("pushed") >= 3  # with it what each home has beside its records
    assert first == {"pulled": 1, "merged": 0, "conflicts": 0, "refused": []}
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
    assert specialist.json("sync")["withdrawn"] == 2
    for noun, doc_id in (("patient", patient), ("contact", contact)):
        assert "access to it was ended" in specialist.error(noun, "show", doc_id)
    assert "withdrawn" not in specialist.json("sync")
    assert "has no access" in practice.error("revoke", patient, "--from", "hcp-b")
    access = practice.json("access", patient)
    assert (access["type"], access["creator"], access["signed"]) == ("Patient", "hcp-a", True)
    assert access["members"] == [{"hcp": "hcp-a", "isCreator": True, "grants": []}]
    assert (access["putOut"], access["pending"]) == ([{"hcp": "hcp-b", "by": ["hcp-a"], "with": []}], [])
    practice.json("share", patient, "--with", "hcp-b")
    lines = practice.run("access", patient).out.splitlines()
    assert lines == [f"Patient {patient}", "HCP    ACCESS", "hcp-a  made it", "hcp-b  shared by hcp-a"]
    practice.json("sync")
    specialist.json("sync")
    assert specialist.json("patient", "show", patient)["note"] == "later"


def test_the_server_is_remembered_without_its_password_in_sight(practice: CommandLine, hub: RunningHub) -> None:
    practice.json("sync", "--server", hub.database)
    status = practice.json("status")
    assert status["server"] == f"{hub.url}/clinic"
    assert status["unsent"] == 0
    assert isinstance(status["lastSync"], int)
    assert "a-long-password" not in practice.run("status").out
    assert all(b"a-long-password" not in path.read_bytes() for path in practice.home.rglob("*") if path.is_file())


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
