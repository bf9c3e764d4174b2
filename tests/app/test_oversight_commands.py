"""`audit` and `doctor`: what a person is told of what was done, and of what is wrong."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from icure_sync.store import Store
from icure_sync.store.keyfile import unlock_key
from tests.app.conftest import ADMIN, PASSPHRASE, CommandLine, RunningHub


def on_server(hub: RunningHub, method: str, path: str) -> int:
    """As the server's administrator."""
    login = base64.b64encode(ADMIN.encode()).decode()
    with closing(http.client.HTTPConnection(urlsplit(hub.url).netloc)) as server:
        server.request(method, f"/clinic/{path}", headers={"Authorization": f"Basic {login}"})
        return server.getresponse().status


def in_file(line: CommandLine, change: Callable[[Store], None]) -> None:
    """As somebody who has the passphrase and knows SQL."""
    path = line.home / "replica.db"
    store = Store.open(path, unlock_key(path, PASSPHRASE))
    change(store)
    store.close()


@pytest.fixture
def home(practice: CommandLine, hub: RunningHub) -> CommandLine:
    """The practice's, in sync, nothing wrong with it."""
    practice.json("sync", "--server", hub.database)
    assert practice.json("doctor")["ok"]
    return practice


def test_what_was_done_with_a_record_is_listed_with_what_is_filed_under_it(home: CommandLine):
    patient = home.json("patient", "add", "--last-name", "Keats")["id"]
    contact = home.json("contact", "add", "--patient", patient, "--description", "Cough")["id"]
    home.json("contact", "list", "--patient", patient)
    home.json("search", "keats")
    items = home.json("audit", "--of", patient)["items"]
    assert [(item["action"], item["type"], item["id"]) for item in items] == [
        ("wrote", "Patient", patient),
        ("opened", "Patient", patient),
        ("wrote", "Contact", contact),
        ("opened", "Patient", patient),
        ("listed", "Contact", patient),
    ]
    assert {item["hcpId"] for item in items} == {"hcp-a"}
    assert {item["device"] for item in items} == {home.json("status")["device"]}
    assert [item["number"] for item in items] == sorted(item["number"] for item in items)
    assert [item["id"] for item in home.json("audit", "--of", patient, "--action", "listed")["items"]] == [patient]
    page = home.run("audit", "--of", patient).out.splitlines()
    assert page[0].split() == ["NO", "WHEN", "WHO", "DEVICE", "ACTION", "TYPE", "ID", "DETAIL"]
    assert "Keats" not in home.run("audit").out
    assert home.json("audit", "--verify")["broken"] is None


def test_rows_since_a_time_are_listed(home: CommandLine):
    home.json("patient", "list")
    assert home.json("audit", "--since", "2020-01-01")["items"] == home.json("audit")["items"]
    assert home.json("audit", "--since", "2999-01-01T09:30")["items"] == []
    assert home.run("audit", "--since", "2999-01-01").out == "None.\n"
    refused = home.run("audit", "--since", "yesterday")
    assert (refused.code, refused.out) == (2, "")
    assert "is not a date" in refused.err
    assert home.run("audit", "--since", "0001-01-01").code in (0, 2)  # a year that some machines cannot


def test_an_exported_identity_is_in_the_trail_and_only_who_has_the_passphrase_exports(home: CommandLine):
    home.json("identity", "export", home.home.parent / "taken.identity")
    [item] = home.json("audit", "--action", "exported")["items"]
    assert (item["id"], item["type"]) == ("hcp-a", "Identity")
    stranger = CommandLine(home.home, passphrase="a guess that is wrong")
    assert "passphrase is wrong" in stranger.error("identity", "export", home.home.parent / "stolen.identity")
    assert len(home.json("audit", "--action", "exported")["items"]) == 1


def test_a_forged_deletion_is_told_by_sync_status_and_doctor_until_it_is_dismissed(home: CommandLine, hub: RunningHub):
    patient = home.json("patient", "add", "--last-name", "Brawne")
    home.json("sync")
    assert on_server(hub, "DELETE", f"{patient['id']}?rev={patient['rev']}") == 200
    told = home.run("sync").out
    assert "1 new alarm: see icure-sync doctor." in told
    assert home.json("sync").keys() == {"pulled", "pushed", "merged", "conflicts", "refused"}
    assert home.json("patient", "show", patient["id"])["lastName"] == "Brawne"
    assert home.json("status")["alarms"] == 1
    assert "see icure-sync doctor" in home.run("status").out

    found = home.run("doctor")
    assert found.code == 1
    assert f"deleted or overwrote record {patient['id']}" in found.out
    assert "What to do: " in found.out
    value = json.loads(home.run("doctor", "--json").out)
    [alarm] = [each for each in value["alarms"] if each["dismissed"] is None]
    assert (value["ok"], alarm["kind"], alarm["subject"]) == (False, "undone", patient["id"])
    assert f"--dismiss {alarm['number']}" in found.out

    assert home.json("doctor", "--dismiss", str(alarm["number"])) == {"dismissed": [alarm["number"]]}
    well = home.run("doctor")
    assert (well.code, well.err) == (0, "")
    assert "No alarms, besides 1 dismissed." in well.out
    assert home.json("status")["alarms"] == 0
    assert "there is none of that number" in home.error("doctor", "--dismiss", "999")


def test_several_alarms_are_dismissed_at_once(home: CommandLine):
    def raise_two(store: Store) -> None:
        for subject in ("one", "two"):
            store.alarms.raise_("undone", subject, "a tombstone", int(time.time() * 1000))

    in_file(home, raise_two)
    numbers = [str(each["number"]) for each in json.loads(home.run("doctor", "--json").out)["alarms"][-2:]]
    assert home.run("doctor", "--dismiss", numbers[0], "--dismiss", numbers[1]).out.startswith("Alarms ")
    assert home.json("doctor")["ok"]


def test_what_others_wrote_does_not_steer_the_terminal(home: CommandLine):
    in_file(home, lambda store: store.alarms.raise_("undone", "\x1b[2Jevil", "a\nb\x07", 10**18))
    found = home.run("doctor")
    assert found.code == 1
    assert not {"\x1b", "\x07"} & set(found.out)
    number = json.loads(home.run("doctor", "--json").out)["alarms"][-1]["number"]
    home.json("doctor", "--dismiss", str(number))


def test_a_trail_that_was_tampered_with_is_named_by_audit_and_doctor(homes):
    line = CommandLine(homes / "tampered")
    line.json("init", "--hcp-id", "hcp-t", "--name", "Practice T", "--no-recovery-code")
    line.json("patient", "list")
    line.json("patient", "list")
    assert line.run("audit", "--verify").out == "The audit trail: 2 rows, as written.\n"

    def forge(store: Store) -> None:
        store._database.run("DROP TRIGGER trail_unchanged")
        store._database.run("UPDATE trail SET hcp = 'hcp-z' WHERE number = 2")

    in_file(line, forge)
    found = line.run("audit", "--verify")
    assert (found.code, found.err) == (1, "")
    assert found.out == "The audit trail: broken: row 2 is not what was recorded; 1 row before that is as written.\n"
    assert json.loads(line.run("audit", "--verify", "--json").out)["broken"] == 2
    checked = line.run("doctor")
    assert checked.code == 1
    assert "row 2 is not what was recorded" in checked.out
    assert line.run("audit").code == 0


def test_a_file_whose_tables_disagree_is_named_by_doctor(homes):
    line = CommandLine(homes / "damaged")
    line.json("init", "--hcp-id", "hcp-d", "--name", "Practice D", "--no-recovery-code")
    in_file(line, lambda store: store._database.run("UPDATE counters SET live = 7") and None)
    found = line.run("doctor")
    assert found.code == 1
    assert "The file is damaged.\n  the counts of documents are wrong" in found.out
    assert json.loads(line.run("doctor", "--json").out)["file"]
