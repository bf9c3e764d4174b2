"""Revoking from the command line: a lost device is shut out, the others go on, colleagues compare anew."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from icure_sync.app import home as homes_module
from icure_sync.app import revoking, wiping
from icure_sync.app.wiping import MARK
from icure_sync.crypto.primitives import RsaPrivateKey
from icure_sync.engine.succession import standing
from icure_sync.errors import NoAccess, StoreFull
from tests.app.conftest import ADMIN, PATIENCE, CommandLine, RunningHub, typed
from tests.keys import PARTY_KEYS


class Practice:
    """Three homes of `hcp-a`: at the desk, a phone, and a laptop that will be lost; and one of `hcp-b`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.desk, self.phone, self.laptop, self.colleague = [
            CommandLine(folder / name) for name in ("desk", "phone", "laptop", "colleague")
        ]

    def make(self) -> None:
        """All know one another."""
        self.desk.json("init", "--hcp-id", "hcp-a", "--name", "Practice A", "--server", self.url)
        self.desk.json("identity", "export", self.desk.home.with_name("identity"))
        for line in (self.phone, self.laptop):
            line.json("init", "--identity", line.home.with_name("identity"), "--server", self.url)
        for line in (self.desk, self.phone, self.laptop):
            line.json("device", "name", line.home.name)
        self.colleague.json("init", "--hcp-id", "hcp-b", "--name", "Colleague B", "--server", self.url)
        self.sync(self.desk, self.phone, self.laptop, self.colleague, self.desk)

    def sync(self, *lines: CommandLine) -> None:
        for line in lines:
            line.json("sync")


def database(hub: RunningHub, name: str) -> str:
    url = hub.database.replace("/clinic", f"/{name}")
    CommandLine(hub.data.parent).json("server", "provision", url)
    return url


@pytest.fixture(scope="module")
def made(hub: RunningHub, homes: Path) -> Path:
    with quickly("hcp-a", "hcp-b"):
        Practice(homes, hub.database).make()
    return homes


@pytest.fixture
def practice(made: Path, hub: RunningHub, tmp_path: Path) -> Practice:
    """Copies of homes that were made once, which meet at a database of their own."""
    shutil.copytree(made, tmp_path / "homes")
    practice = Practice(tmp_path / "homes", database(hub, tmp_path.name.replace("_", "-").lower()[-40:]))
    for line in (practice.desk, practice.phone, practice.laptop, practice.colleague):
        line.json("sync", "--server", practice.url)
    return practice


@contextmanager
def quickly(*names: str) -> Iterator[None]:
    """Making an RSA key takes seconds."""
    drawn = iter([RsaPrivateKey(bytes.fromhex(PARTY_KEYS[name])) for name in names])
    with patch.object(RsaPrivateKey, "generate", lambda _: next(drawn)):
        yield


@pytest.fixture(autouse=True)
def quick_keys() -> Iterator[None]:
    with quickly("hcp-a, epoch 2", "hcp-c"):
        yield


def patients(line: CommandLine) -> set[str]:
    return {each["lastName"] for each in line.json("patient", "list")["items"]}


def add(line: CommandLine, name: str) -> str:
    return str(line.json("patient", "add", "--last-name", name)["id"])


def note(line: CommandLine, patient: str) -> str:
    return str(line.json("patient", "show", patient)["note"])


def test_a_lost_device_is_shut_out_and_the_others_go_on(practice: Practice):
    desk, phone, laptop, colleague = practice.desk, practice.phone, practice.laptop, practice.colleague
    keats = add(desk, "Keats")
    desk.json("share", keats, "--with", "hcp-b")
    practice.sync(desk, phone, laptop, colleague)
    add(laptop, "Unsent")
    made = desk.json("device", "revoke", "laptop", "--yes")
    assert (made["synced"], made["emergencyAccess"]) == (True, [])
    number = made["number"]
    # a device that stays: told, works on, adopts
    phone.json("sync")
    assert phone.json("status")["alarms"] >= 1
    assert "icure-sync device adopt" in phone.run("doctor").out
    phone.json("patient", "edit", keats, "--note", "by the phone")
    offered = phone.json("device", "adopt")
    assert (offered["adopted"], [each["number"] for each in offered["offers"]]) == (False, [number])
    assert "cannot take over" in phone.error("device", "adopt", "--number", "1" * 60)
    assert phone.json("device", "adopt", "--number", number)["adopted"] is True
    assert "no other device" in phone.error("device", "adopt", "--number", number)
    practice.sync(phone, desk)
    assert note(desk, keats) == "by the phone"
    assert {(each["name"], each["revoked"]) for each in phone.json("device", "list")["items"]} == {
        ("phone", False),
        ("desk", False),
        ("laptop", True),
    }
    # a colleague: shares nothing until the numbers were compared
    colleague.json("sync")
    byron = add(colleague, "Byron")
    assert "another identity is claimed" in colleague.error("share", byron, "--with", "hcp-a")
    claimed = colleague.json("hcp", "show", "hcp-a")["claimed"]
    seen = phone.json("hcp", "show", "hcp-b")["keys"]["number"]
    assert [each["number"] for each in claimed] == [seen]
    assert colleague.json("hcp", "verify", "hcp-a", "--number", seen)["compared"] is True
    colleague.json("share", byron, "--with", "hcp-a")
    practice.sync(colleague, desk)
    assert patients(desk) == {"Keats", "Byron"}
    assert note(colleague, keats) == "by the phone"
    # the lost one: sends what it had, and removes everything
    error = laptop.error("sync")
    assert "was revoked" in error
    assert [path.name for path in laptop.home.iterdir()] == [MARK]
    for command in (("status",), ("patient", "list"), ("sync",), ("device", "list")):
        assert "was revoked" in laptop.error(*command)


def test_run_again_it_shows_what_was_not_shown_and_then_no_more(practice: Practice):
    desk = practice.desk
    with patch.object(revoking, "show", side_effect=KeyboardInterrupt):
        assert desk.run("device", "revoke", "laptop", "--yes").code == 130
    before = (desk.home / "identity.key").read_bytes()
    shown = desk.run("device", "revoke")
    assert shown.code == 0
    assert "THE RECOVERY CODE" in shown.out
    assert "laptop" in shown.out
    assert f"icure-sync server forget {practice.url.replace(ADMIN, 'ADMIN')} --device NAME" in shown.out
    assert (desk.home / "identity.key").read_bytes() == before
    assert "none is named" in desk.error("device", "revoke")
    assert "revoked already" in desk.error("device", "revoke", "laptop", "--yes")
    assert [each["current"] for each in desk.json("recovery", "list")["items"]] == [True]


def test_any_command_ends_what_was_begun(practice: Practice, tmp_path: Path):
    desk = practice.desk

    def killed(store: Any, _: Any) -> None:
        if standing(store) is not None:
            raise KeyboardInterrupt

    with patch("icure_sync.engine.replica.complete", killed):
        assert desk.run("device", "revoke", "laptop", "--yes").code == 130
    before = (desk.home / "identity.key").read_bytes()
    add(desk, "Keats")
    assert (desk.home / "identity.key").read_bytes() != before
    practice.sync(desk, practice.phone)
    offers = practice.phone.json("device", "adopt")["offers"]
    assert [each["number"] for each in offers] == [desk.json("device", "revoke")["number"]]
    desk.json("identity", "export", tmp_path / "new identity")
    assert (tmp_path / "new identity").read_bytes() == (desk.home / "identity.key").read_bytes()


def test_without_a_server_it_is_complete_here_and_goes_later(practice: Practice):
    with patch.object(revoking, "CouchPeer", side_effect=NoAccess("sync", "the server does not answer", "wait")):
        made = practice.desk.run("device", "revoke", "laptop", "--yes")
    assert "NOT on the server yet (the server does not answer)" in made.out
    practice.sync(practice.desk, practice.phone)
    assert len(practice.phone.json("device", "adopt")["offers"]) == 1


def test_a_person_is_asked(practice: Practice):
    desk, phone = practice.desk, practice.phone
    assert "nobody said that it is meant" in desk.error("device", "revoke", "laptop")
    no = typed(desk, [("Revoke it? Type yes: ", "no")], "device", "revoke", "laptop")
    assert (no.code, "nobody said that it is meant" in no.err) == (1, True)
    yes = typed(desk, [("Revoke it? Type yes: ", "yes")], "device", "revoke", "laptop")
    assert yes.code == 0, yes.err
    phone.json("sync")
    question = "Does that device show the same number? Type yes if every digit is: "
    no = typed(phone, [(question, "no")], "device", "adopt")
    assert (no.code, "the numbers are not the same" in no.err) == (1, True)
    yes = typed(phone, [(question, "yes")], "device", "adopt")
    assert (yes.code, "has the new identity of hcp-a now" in yes.out) == (0, True)
    digits = [line.strip() for line in yes.err.splitlines() if line.startswith("    ")]
    assert len(digits) == 3


def test_which_device_is_meant_must_be_plain(practice: Practice):
    desk = practice.desk
    assert "no such device" in desk.error("device", "revoke", "tablet", "--yes")
    practice.phone.json("device", "name", "laptop")
    practice.sync(practice.phone, desk)
    assert "2 devices are called so" in desk.error("device", "revoke", "laptop", "--yes")
    assert "this device itself" in desk.error("device", "revoke", "desk", "--yes")


def test_emergency_accesses_and_shares_are_named_that_must_be_made_anew(practice: Practice):
    desk = practice.desk
    keats = add(desk, "Keats")
    prepared = desk.json("break-glass", "prepare", "--patient", keats, "--shares", "3", "--threshold", "2")
    made = desk.run("device", "revoke", "laptop", "--yes")
    assert f"icure-sync break-glass withdraw {prepared['id']}" in made.out
    assert f"icure-sync break-glass prepare --patient {keats} --shares 3 --threshold 2" in made.out
    assert "Codes and shares that recovered the identity before are withdrawn" in made.out


# The lost device


def revoked(practice: Practice) -> CommandLine:
    practice.desk.json("device", "revoke", "laptop", "--yes")
    return practice.laptop


def test_what_it_had_not_sent_reaches_the_server_before_it_is_removed(practice: Practice):
    unsent = add(practice.laptop, "Unsent")
    laptop = revoked(practice)
    assert "was revoked" in laptop.error("sync")
    documents = subprocess.run(
        ["curl", "-s", f"{practice.url}/{unsent}"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(documents)["type"] == "Patient"


def test_a_live_sync_ends_with_it(practice: Practice):
    laptop = revoked(practice)
    done = laptop.run_process("sync", "--live")
    assert (done.code, "was revoked" in done.err) == (1, True)
    assert [path.name for path in laptop.home.iterdir()] == [MARK]


def test_killed_while_it_is_wiped_the_next_command_goes_on(practice: Practice):
    laptop = revoked(practice)
    with patch.object(homes_module, "finish", side_effect=KeyboardInterrupt):
        assert laptop.run("sync").code == 130
    assert (laptop.home / MARK).exists()
    assert (laptop.home / "identity.key").exists()
    assert "was revoked" in laptop.error("status")
    assert [path.name for path in laptop.home.iterdir()] == [MARK]


def test_killed_before_that_was_decided_it_learns_it_from_its_own_replica(practice: Practice):
    laptop = revoked(practice)
    with patch.object(homes_module, "decide", side_effect=KeyboardInterrupt):
        assert laptop.run("sync").code == 130
    assert not (laptop.home / MARK).exists()
    assert "was revoked" in laptop.error("patient", "list")
    assert [path.name for path in laptop.home.iterdir()] == [MARK]


def test_a_mark_that_was_cut_off_counts(tmp_path: Path):
    for name in ("identity.key", "replica.db.key", "replica.db", "replica.db-wal", "config.json", MARK):
        (tmp_path / name).write_bytes(b"{")
    assert "was revoked" in CommandLine(tmp_path).error("status")
    assert [path.name for path in tmp_path.iterdir()] == [MARK]
    assert "remove the folder" in CommandLine(tmp_path).error("init", "--hcp-id", "hcp-a", "--name", "A")


def test_keys_are_overwritten_before_they_are_removed(tmp_path: Path):
    (tmp_path / "identity.key").write_bytes(b"secret")
    kept = tmp_path / "kept"
    kept.hardlink_to(tmp_path / "identity.key")
    wiping.decide(tmp_path, {})
    wiping.decide(tmp_path, {"device": "another"})  # once is enough
    wiping.finish(tmp_path)
    assert kept.read_bytes() != b"secret"
    assert len(kept.read_bytes()) == len(b"secret")


def test_files_that_cannot_be_removed_are_said_so(tmp_path: Path):
    wiping.decide(tmp_path, {})
    (tmp_path / "config.json").write_bytes(b"{}")
    with patch.object(Path, "unlink", side_effect=OSError(30, "Read-only file system")), pytest.raises(StoreFull):
        wiping.finish(tmp_path)


# Killed

LEAST_LIVES = 6


def test_killed_anywhere_and_run_again_it_comes_to_the_same_end(hub: RunningHub, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.dying_revocations", tmp_path, hub.database.replace("/clinic", "/dying")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lives, last = done.stdout.splitlines()
    assert last == "done"
    told = [json.loads(line) for line in lives]
    assert len(told) > LEAST_LIVES
    assert [life[0] for life in told] == [True] * (len(told) - 1) + [False]
    assert told[-1][1]  # it was shown, and the next run said so
    both = ["Byron", "Keats"]
    assert {json.dumps(life[2:]) for life in told} == {json.dumps([2, 2, [True], both, both, [MARK]])}


# Its account


def with_admin(line: CommandLine) -> CommandLine:
    return replace(line, variables={"ICURE_SYNC_SERVER_ADMIN": ADMIN})


def test_a_forgotten_account_is_refused_by_password_and_by_cookie(practice: Practice, hub: RunningHub, tmp_path: Path):
    line = with_admin(practice.desk)
    plain = practice.url.replace(f"{ADMIN}@", "")
    (device,) = line.json("server", "provision", plain, "--device", "laptop")["devices"]
    login = plain.replace("//", f"//laptop:{device['password']}@")
    laptop = CommandLine(tmp_path / "another")
    laptop.json("init", "--hcp-id", "hcp-c", "--name", "C", "--server", login)
    laptop.json("sync")
    cookie = asked(hub, "POST", "/_session", {"name": "laptop", "password": device["password"]})
    assert asked(hub, "GET", "/_session", cookie=cookie["cookie"])["userCtx"]["name"] == "laptop"
    assert line.json("server", "forget", plain, "--device", "laptop") == {
        "devices": [{"name": "laptop", "state": "removed"}]
    }
    assert line.json("server", "forget", plain, "--device", "laptop", "--device", "laptop") == {
        "devices": [{"name": "laptop", "state": "unchanged"}]
    }
    assert "no user laptop" in line.run("server", "forget", plain, "--device", "laptop").out
    assert "cannot" in laptop.error("sync")
    gone = asked(hub, "GET", "/_session", cookie=cookie["cookie"])
    assert gone["status"] == 401 or gone["userCtx"]["name"] is None
    assert "is the administrator" in line.error("server", "forget", plain, "--device", "admin")


def asked(hub: RunningHub, method: str, path: str, body: Any = None, cookie: str = "") -> dict[str, Any]:
    script = (
        "import json,sys,urllib.request as u\n"
        "method, url, body, cookie = json.loads(sys.argv[1])\n"
        "r = u.Request(url, method=method, headers={'Content-Type': 'application/json', 'Cookie': cookie},\n"
        "              data=None if body is None else json.dumps(body).encode())\n"
        "try:\n    a = u.urlopen(r)\nexcept u.HTTPError as e:\n    a = e\n"
        "said = json.loads(a.read())\n"
        "print(json.dumps({**said, 'status': a.status, 'cookie': (a.headers.get('Set-Cookie') or '').split(';')[0]}))\n"
    )
    given = json.dumps([method, hub.url + path, body, cookie])
    done = subprocess.run([sys.executable, "-c", script, given], capture_output=True, text=True, check=True)
    value: dict[str, Any] = json.loads(done.stdout)
    return value
