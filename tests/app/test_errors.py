"""What goes wrong is said in one line, with exit code 1, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from icure_sync import Identity, Replica
from icure_sync.app.cli import main
from icure_sync.app.home import Home, create_home
from icure_sync.errors import InvalidEntity, StoreFull
from tests.app.conftest import ADMIN, PASSPHRASE, PATIENCE, CommandLine, RunningHub, start_hub, stop, unused_port
from tests.keys import A
from tests.keys import identity as known_identity

PAGE = 4096  # bytes: SQLite's


@pytest.fixture(scope="module")
def patient(practice: CommandLine) -> str:
    """The record that must survive everything in this module."""
    patient_id: str = practice.json("patient", "add", "--last-name", "Keats")["id"]
    return patient_id


@pytest.fixture
def damaged(practice: CommandLine, patient: str, tmp_path: Path) -> CommandLine:
    """A copy of the home, to be damaged."""
    assert patient
    shutil.copytree(practice.home, tmp_path / "copy")
    return CommandLine(tmp_path / "copy")


@pytest.fixture(scope="module")
def web_page() -> Iterator[str]:
    """A server that answers everything with a page, as a captive portal does."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>Welcome to the railway station</html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_GET  # noqa: N815  # the names are http.server's

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/clinic"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_wrong_passphrase_opens_nothing(practice: CommandLine) -> None:
    assert "passphrase" in CommandLine(practice.home, passphrase="wrong").error("patient", "list")


def test_without_terminal_or_passphrase_it_says_where_to_put_one(practice: CommandLine, tmp_path: Path) -> None:
    bare = CommandLine(practice.home, passphrase=None)
    assert "ICURE_SYNC_PASSPHRASE" in bare.error("status")
    assert "is empty" in CommandLine(practice.home, passphrase="").error("status")
    assert "No such file" in bare.error("status", "--passphrase-file", tmp_path / "missing")
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff")
    assert "not UTF-8" in bare.error("status", "--passphrase-file", tmp_path / "image")
    (tmp_path / "long").write_bytes(b"a" * 5000)
    assert "too long" in bare.error("status", "--passphrase-file", tmp_path / "long")


def test_a_home_is_made_once_and_only_by_init(practice: CommandLine, tmp_path: Path) -> None:
    assert "icure-sync init" in CommandLine(tmp_path / "none").error("status")
    assert "initialised already" in practice.error("init", "--hcp-id", "hcp-x", "--name", "X")
    (tmp_path / "identity.key").write_text("precious")
    assert "config.json back" in CommandLine(tmp_path).error("init", "--hcp-id", "hcp-x", "--name", "X")
    assert (tmp_path / "identity.key").read_text() == "precious"


def test_a_failed_init_leaves_nothing_behind(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "home")
    assert "Hcp id" in line.error("init", "--hcp-id", "_x", "--name", "X")
    assert "names no database" in line.error("init", "--hcp-id", "x", "--name", "X", "--server", "http://host")
    (tmp_path / "letter").write_text("Dear doctor,")
    line.error("init", "--identity", tmp_path / "letter")
    assert "no such file" in line.error("init", "--identity", tmp_path / "missing")
    (tmp_path / "file").write_text("not a folder")
    assert "Not a directory" in CommandLine(tmp_path / "file" / "home").error("init", "--hcp-id", "x", "--name", "X")
    assert not line.home.exists()


async def test_an_init_that_comes_second_leaves_the_home_of_the_first_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = known_identity(A)

    def late(folder: Path) -> None:
        """The second one has looked, and found nothing, when the first one has just made its key."""
        folder.mkdir()
        (folder / "identity.key").write_text("precious")
        (folder / "replica.db").write_text("precious, too")

    monkeypatch.setattr("icure_sync.app.home.refuse_taken", late)
    with pytest.raises(InvalidEntity, match="exists"):
        await create_home(tmp_path / "home", identity, PASSPHRASE, None)
    assert [(path.name, path.read_text()) for path in sorted((tmp_path / "home").iterdir())] == [
        ("identity.key", "precious"),
        ("replica.db", "precious, too"),
    ]


async def test_an_init_that_cannot_end_takes_back_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Home) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("icure_sync.app.home._config_bytes", full)
    with pytest.raises(StoreFull, match="No space left"):
        await create_home(tmp_path / "home", known_identity(A), PASSPHRASE, None)
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("name", ["identity.key", "replica.db.key", "replica.db"])
def test_a_damaged_file_is_named_as_damaged(damaged: CommandLine, name: str) -> None:
    path = damaged.home / name
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content), PAGE):
        content[place] ^= 0x55
    path.write_bytes(content)
    damaged.error("patient", "list")


def test_a_config_that_is_damaged_or_of_a_newer_version_is_left_alone(damaged: CommandLine) -> None:
    (damaged.home / "config.json").write_text('{"version": 1, "hcpId"')
    assert "config.json" in damaged.error("status")
    (damaged.home / "config.json").write_text("[]")
    assert "config.json" in damaged.error("status")
    (damaged.home / "config.json").write_text('{"version": 2, "hcpId": "hcp-a", "name": "Practice A"}')
    assert "newer version" in damaged.error("status")


async def test_a_second_process_is_told_who_has_the_replica(practice: CommandLine, patient: str) -> None:
    identity = Identity.unlock((practice.home / "identity.key").read_bytes(), PASSPHRASE)
    async with Replica.open(practice.home / "replica.db", identity, passphrase=PASSPHRASE):
        done = await asyncio.to_thread(practice.run_process, "patient", "edit", patient, "--note", "x")
    assert f"process {os.getpid()}" in done.error


def test_servers_that_cannot_be_synced_with(
    practice: CommandLine, hub: RunningHub, web_page: str, patient: str
) -> None:
    assert "--server" in practice.error("sync")
    practice.error("sync", "--server", f"http://127.0.0.1:{unused_port()}/clinic")
    practice.error("sync", "--server", web_page)
    wrong_login = practice.error("sync", "--server", hub.database.replace("a-long-password", "guess-me"))
    assert "guess-me" not in wrong_login
    practice.error("sync", "--server", hub.database.replace("/clinic", "/nowhere"))
    practice.error("sync", "--server", "ftp://host/clinic")
    assert practice.json("status")["server"] is None
    assert [item["id"] for item in practice.json("patient", "list")["items"]] == [patient]


def test_servers_that_cannot_be_provisioned(hub: RunningHub, web_page: str, tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    assert "does not answer" in line.error("server", "provision", f"http://127.0.0.1:{unused_port()}/clinic")
    assert "CouchDB" in line.error("server", "provision", web_page)
    assert "login" in line.error("server", "provision", hub.database.replace("a-long-password", "guess-me"))
    assert "name" in line.error("server", "provision", hub.database.replace("/clinic", "/Clinic"))


def test_malformed_values_change_nothing(practice: CommandLine, patient: str) -> None:
    unknown = practice.error("patient", "edit", patient, "--set", "shoeSize=43")
    assert "no such field" in unknown
    assert "date_of_birth" in unknown
    assert "is not a date" in practice.error("patient", "edit", patient, "--date-of-birth", "yesterday")
    assert "addresses" in practice.error("patient", "edit", patient, "--set", "addresses=[{")
    assert "addresses" in practice.error("patient", "edit", patient, "--set", "addresses=[1]")
    assert practice.json("patient", "show", patient)["rev"].startswith("1-")


def test_unknown_ids_and_ids_of_another_type(practice: CommandLine, patient: str) -> None:
    assert "find the contact" in practice.error("contact", "show", patient)
    assert "find the element nope" in practice.error("element", "show", "nope")
    assert "find the patient" in practice.error("contact", "add", "--patient", "f" * 32)
    practice.error("share", "f" * 32, "--with", "hcp-b")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["patient"],
        ["patient", "edit"],
        ["patient", "edit", "x"],
        ["patient", "add", "--set", "note"],
        ["init"],
        ["init", "--identity", "file", "--name", "X"],
        ["hub", "--data", "x", "--listen", "5984"],
        ["hub", "--data", "x", "--tls-key", "key.pem"],
        ["patient", "add", "--first-name", "\udcff"],
        ["search", "cough", "\udcff"],
        ["demo", "--patients", "0"],
    ],
)
def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    shown = capsys.readouterr()
    assert (ending.value.code, shown.out) == (2, "")
    assert "usage: icure-sync" in shown.err


def test_hubs_that_cannot_start(hub: RunningHub, tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    data = ("--data", tmp_path / "data")
    assert "TLS" in line.error("hub", *data, "--listen", "0.0.0.0:0")
    line.error("hub", *data, "--listen", hub.url.removeprefix("http://"))
    line.error("hub", *data, "--tls-certificate", tmp_path / "missing.pem")
    line.error("hub", "--data", hub.data, "--listen", "127.0.0.1:0")
    half = CommandLine(tmp_path, variables={"ICURE_SYNC_HUB_ADMIN": "admin"})
    assert "user:password" in half.error("hub", *data)


def test_a_hub_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    first = start_hub(tmp_path / "data")
    line.json("server", "provision", first.database)
    assert stop(first.process) == 0
    second = start_hub(tmp_path / "data", first.url.removeprefix("http://"))
    assert line.json("server", "provision", second.database)["created"] is False
    assert stop(second.process) == 0


def test_a_hub_without_administrator_makes_one_and_shows_it_once(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    shown = []
    for _ in range(2):
        process = subprocess.Popen(
            ["icure-sync", "hub", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"],
            env=line.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        shown.append([process.stdout.readline(), process.stdout.readline() if not shown else ""])
        assert stop(process) == 0
    assert shown[0][1].startswith("Its administrator is admin, with the password ")


def test_ctrl_c_ends_a_sync_tidily(practice: CommandLine, patient: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            ["icure-sync", "sync", "--server", f"http://{ADMIN}@127.0.0.1:{silent.getsockname()[1]}/clinic"],
            env=practice.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()  # it is in the middle of it now
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        connection.close()
    assert (process.returncode, out, err) == (130, "", "")
    assert practice.json("patient", "show", patient)["lastName"] == "Keats"
