"""`icure-sync hub --upstream`: a hub in front of another server, with its login where nobody else reads it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import ADMIN, CommandLine, RunningHub, stop, unused_port

LOGIN = {"ICURE_SYNC_HUB_UPSTREAM": ADMIN}


@contextmanager
def relaying(folder: Path, upstream: str, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    line = CommandLine(folder, variables={"ICURE_SYNC_HUB_ADMIN": ADMIN, **variables})
    process = subprocess.Popen(
        [
            *("icure-sync", "hub", "--listen", "127.0.0.1:0", "--data", str(folder / "data"), "--json"),
            *("--upstream", f"clinic={upstream}", *options),
        ],
        env=line.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert stop(process) == 0


def said(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def until(process: subprocess.Popen[str], state: str) -> Any:
    """The line that says that the state is this one now."""
    while (upstream := said(process)["upstream"])["state"] != state:
        pass
    return upstream


def test_devices_on_both_sides_of_a_hub_agree(
    hub: RunningHub, practice: CommandLine, tmp_path: Path, homes: Path
) -> None:
    added = practice.json("patient", "add", "--first-name", "Near")
    with relaying(tmp_path, f"{hub.url}/clinic", **LOGIN) as process:
        near = said(process)["url"].replace("//", f"//{ADMIN}@") + "/clinic"
        assert until(process, "in sync") == {
            "database": "clinic",
            "server": f"{hub.url}/clinic",
            "state": "in sync",
            "trouble": "",
        }
        practice.json("sync", "--server", near)
    exported = homes / "identity"
    practice.run("identity", "export", exported)
    other = CommandLine(homes / "other")
    other.run("init", "--identity", exported)
    other.json("sync", "--server", hub.database)
    assert [each["id"] for each in other.json("patient", "list")["items"]] == [added["id"]]


def test_a_login_in_a_file_is_that_of_one_upstream_or_of_all(hub: RunningHub, tmp_path: Path) -> None:
    file = tmp_path / "logins"
    file.write_text(f"other=nobody:wrong\n\nclinic={ADMIN}\n")
    with relaying(tmp_path, f"{hub.url}/clinic", "--upstream-login", str(file)) as process:
        said(process)
        until(process, "in sync")


def test_troubles_of_an_upstream_are_said_and_hold_no_password(hub: RunningHub, tmp_path: Path) -> None:
    wrong = {"ICURE_SYNC_HUB_UPSTREAM": "admin:guess-me"}
    with relaying(tmp_path, f"{hub.url}/clinic", **wrong) as process:
        assert "url" in said(process)
        stopped = until(process, "stopped")
        assert "password" in stopped["trouble"]
        assert "guess-me" not in str(stopped)
    with relaying(tmp_path, f"http://127.0.0.1:{unused_port()}/clinic", **LOGIN) as process:
        assert "url" in said(process)
        assert "no connection" in until(process, "waiting")["trouble"]


@pytest.mark.parametrize(
    ("upstream", "login", "wrong"),
    [
        ("clinic=http://admin:secret@couch.example/clinic", "admin:secret", "other users of this machine"),
        ("clinic=couch.example/clinic", "admin:secret", "http://"),
        ("clinic=http://couch.example/clinic", "admin", "login"),
        ("clinic=http://couch.example/clinic", "clinic=:secret", "login"),
        ("Not A Name=http://127.0.0.1:1/clinic", "admin:secret", "database"),
    ],
)
def test_upstreams_that_cannot_be_used(tmp_path: Path, upstream: str, login: str, wrong: str) -> None:
    line = CommandLine(tmp_path, variables={"ICURE_SYNC_HUB_UPSTREAM": login, "ICURE_SYNC_HUB_ADMIN": ADMIN})
    done = line.run_process("hub", "--data", tmp_path / "d", "--listen", "127.0.0.1:0", "--upstream", upstream)
    assert done.code == 1
    assert wrong in done.err
    assert "secret" not in done.err


def test_a_file_of_logins_that_cannot_be_read(tmp_path: Path) -> None:
    upstream = ("--upstream", "clinic=http://couch.example/clinic")
    for content in (b"\xff", b"x" * 100_000):
        (tmp_path / "logins").write_bytes(content)
        line = CommandLine(tmp_path)
        line.error("hub", "--data", tmp_path / "d", *upstream, "--upstream-login", tmp_path / "logins")
    line.error("hub", "--data", tmp_path / "d", *upstream, "--upstream-login", tmp_path / "missing")


def test_a_login_for_no_upstream_is_wrong_usage(tmp_path: Path) -> None:
    done = CommandLine(tmp_path).run("hub", "--data", tmp_path / "d", "--upstream-login", tmp_path / "logins")
    assert done.code == 2
    assert "--upstream" in done.err
