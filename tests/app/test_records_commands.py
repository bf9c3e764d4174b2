"""The commands on records, in one home, with no network."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from tests.app.conftest import CommandLine


def test_a_home_is_readable_by_its_owner_only(practice: CommandLine) -> None:
    files = [path for path in practice.home.rglob("*") if path.is_file()]
    assert {"config.json", "identity.key", "replica.db"} <= {path.name for path in files}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert stat.S_IMODE(practice.home.stat().st_mode) == 0o700


def test_a_record_is_added_shown_edited_listed_found_and_deleted(practice: CommandLine) -> None:
    added = practice.json(
        "patient", "add", "--first-name", "John", "--last-name", "Keats", "--date-of-birth", "1795-10-31"
    )
    assert added.keys() == {"id", "rev"}
    edited = practice.json("patient", "edit", added["id"], "--note", "haemoptysis", "--set", 'languages=["en","la"]')
    assert (edited["id"], edited["rev"][:2]) == (added["id"], "2-")

    shown = practice.json("patient", "show", added["id"])
    expected = {"firstName": "John", "lastName": "Keats", "dateOfBirth": 17951031, "note": "haemoptysis"}
    assert expected.items() <= shown.items()
    assert (shown["id"], shown["rev"], shown["type"]) == (added["id"], edited["rev"], "Patient")
    assert shown["languages"] == ["en", "la"]
    assert practice.json("patient", "list") == {"items": [shown]}
    assert practice.json("search", "haemoptysis", "keats") == {"items": [shown]}

    page = practice.run("patient", "show", added["id"])
    assert "date_of_birth: 1795-10-31\n" in page.out

    assert practice.json("patient", "delete", added["id"])["id"] == added["id"]
    assert practice.json("patient", "list") == {"items": []}
    assert added["id"] in practice.error("patient", "show", added["id"])


def test_contacts_forms_and_elements_are_listed_by_their_patient(practice: CommandLine) -> None:
    fanny, george = (practice.json("patient", "add", "--first-name", name)["id"] for name in ("Fanny", "George"))
    ids: dict[str, Any] = {}
    for noun in ("contact", "form", "element"):
        ids[noun] = practice.json(noun, "add", "--patient", fanny, "--description", f"A {noun}")["id"]
    for noun, expected in ids.items():
        (item,) = practice.json(noun, "list", "--patient", fanny)["items"]
        assert (item["id"], item["descr"], item["parentIds"]) == (expected, f"A {noun}", [fanny])
    assert practice.json("contact", "list", "--patient", george) == {"items": []}
    table = practice.run("contact", "list").out
    assert ids["contact"] in table


def test_common_flags_stand_before_or_after_the_command(practice: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(f"{practice.passphrase}\n")
    bare = CommandLine(tmp_path, passphrase=None)
    before = bare.run("--json", "--home", practice.home, "--passphrase-file", file, "status")
    after = bare.run("status", "--json", "--home", practice.home, "--passphrase-file", file)
    assert before.value == after.value
    assert before.value["hcpId"] == "hcp-a"
    assert before.value["lastSync"] is None


def test_the_text_of_others_cannot_steer_the_terminal(practice: CommandLine) -> None:
    patient = practice.json("patient", "add", "--first-name", "\x1b[2Jboo\nid: forged")
    page = practice.run("patient", "show", patient["id"]).out
    assert "\x1b" not in page
    assert "\nid: forged" not in page
    practice.run("patient", "delete", patient["id"])
