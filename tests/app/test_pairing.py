"""Pairing from the command line, as a person does it: two homes, a hub, a code carried from one to the other."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from icure_sync import CouchPeer
from tests.app.conftest import PATIENCE, CommandLine, Finished, RunningHub, start_hub, stop, typed, unused_port

CODE = re.compile(r"^    (\d{4}-\d{4}-\d{4})$")
FINGERPRINT = re.compile(r"Fingerprint, the same on both devices: ((?:[0-9a-f]{4} ?){8})\n")


@contextmanager
def pairing(line: CommandLine, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A new device that shows its code."""
    process = subprocess.Popen(
        ["icure-sync", "device", "pair", *arguments],
        env=line.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = next((match for each in process.stderr if (match := CODE.match(each))), None)
        assert found is not None
        yield process, found[1]
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def approve(line: CommandLine, code: str, *arguments: str) -> Finished:
    """The old device, told this code."""
    return replace(line, standard_input=f"{code}\n").run("device", "approve", *arguments)


def ended(process: subprocess.Popen[str]) -> Finished:
    out, err = process.communicate(timeout=PATIENCE)
    return Finished(process.returncode, out, err)


def pairings_on(hub: RunningHub) -> list[str]:
    async def listed() -> list[str]:
        async with CouchPeer(hub.database) as peer:
            return list(await peer.named("pairing-", limit=9))

    return asyncio.run(listed())


@pytest.fixture(scope="module")
def clinic(homes: Path, hub: RunningHub) -> CommandLine:
    """A device of `hcp-a` that syncs with the hub, and has a patient."""
    line = CommandLine(homes / "clinic")
    line.json("init", "--hcp-id", "hcp-a", "--name", "Practice A", "--server", hub.database)
    line.json("patient", "add", "--last-name", "Keats")
    line.json("sync")
    return line


@pytest.fixture
def tablet(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "tablet")


def test_a_second_device_gets_identity_server_and_records_by_a_code(
    clinic: CommandLine, tablet: CommandLine, hub: RunningHub
) -> None:
    with pairing(tablet, "--server", hub.database, "--sync", "--json") as (process, code):
        assert code.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        given = approve(clinic, code, "--json").value
        new = ended(process).value
    assert given == {"hcpId": "hcp-a", "name": "Practice A", "fingerprint": new["fingerprint"]}
    assert new["home"] == str(tablet.home)
    assert (new["hcpId"], new["name"]) == ("hcp-a", "Practice A")
    assert new["sync"]["pulled"] >= 2
    assert [each["lastName"] for each in tablet.json("patient", "list")["items"]] == ["Keats"]
    assert tablet.json("status")["server"] == f"{hub.url}/clinic"
    assert pairings_on(hub) == []
    assert "paired" in clinic.run("audit").out
    assert "joined" in tablet.run("audit").out
    tablet.json("patient", "add", "--last-name", "Brawne")
    tablet.json("sync")
    clinic.json("sync")
    assert len(clinic.json("patient", "list")["items"]) == 2


def test_on_a_terminal_the_code_is_asked_for_again_and_both_show_one_fingerprint(
    clinic: CommandLine, tablet: CommandLine, hub: RunningHub
) -> None:
    with pairing(tablet, "--server", hub.database) as (process, code):
        mistyped = code[:-1] + str((int(code[-1]) + 1) % 10)
        question = "The code that the new device shows: "
        old = typed(clinic, [(question, mistyped), (question, code.replace("-", " "))], "device", "approve")
        new = ended(process)
    assert (old.code, new.code) == (0, 0)
    assert "The code was mistyped, or somebody is in between; type the code again (2 attempts left)." in old.err
    assert "2 attempts are left." in new.err
    fingerprints = {found[1] for each in (old, new) if (found := FINGERPRINT.search(each.out))}
    assert len(fingerprints) == 1
    assert "icure-sync sync fetches the records" in new.out
    assert tablet.json("sync")["pulled"] >= 2  # the server is remembered


def test_a_terminal_shows_the_code_for_a_camera_too(tablet: CommandLine, tmp_path: Path) -> None:
    nowhere = start_hub(tmp_path / "hub")
    CommandLine(tmp_path).json("server", "provision", nowhere.database)
    process = None
    keyboard, terminal = os.openpty()
    try:
        process = subprocess.Popen(
            ["icure-sync", "device", "pair", "--server", nowhere.database],
            env=tablet.environment(),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        shown = ""
        while "▀" not in shown or not shown.endswith("\n\r\n"):
            shown += os.read(keyboard, 4096).decode(errors="ignore")
        os.write(keyboard, b"\x03")
        assert process.poll() is None or process.wait(PATIENCE) == 130
    finally:
        stop(nowhere.process)
        if process is not None:
            process.kill()
            process.wait(PATIENCE)
        os.close(keyboard)
        os.close(terminal)


def test_ctrl_c_on_the_new_device_leaves_nothing_anywhere(
    clinic: CommandLine, tablet: CommandLine, hub: RunningHub
) -> None:
    with pairing(tablet, "--server", hub.database) as (process, code):
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert list(tablet.home.parent.iterdir()) == []
    assert pairings_on(hub) == []
    assert "no pairing whose code begins with" in approve(clinic, code).error


def test_what_cannot_be_begun_is_said_before_anything_is_shown(clinic: CommandLine, tablet: CommandLine) -> None:
    assert "does not begin with http" in tablet.error("device", "pair", "--server", "nonsense")
    assert "initialised already" in clinic.error("device", "pair", "--server", "http://127.0.0.1:1/clinic")
    assert "no connection" in tablet.error("device", "pair", "--server", f"http://127.0.0.1:{unused_port()}/clinic")
    tablet.home.mkdir()
    (tablet.home / "letter.txt").write_text("Dear")
    assert "not empty" in tablet.error("device", "pair", "--server", "http://127.0.0.1:1/clinic")
    assert "there is none" in clinic.error("device", "approve")
    assert "12 digits" in approve(clinic, "1234").error
    assert "set ICURE_SYNC_SERVER" in tablet.error("device", "pair")


def test_a_home_without_a_server_is_told_to_name_one(practice: CommandLine, hub: RunningHub) -> None:
    assert "no server is known" in approve(practice, "1234-5678-9012").error
    assert "no pairing whose code" in approve(practice, "1234-5678-9012", "--server", hub.database).error


def test_a_server_that_goes_away_meanwhile_is_waited_for(tmp_path: Path, tablet: CommandLine) -> None:
    port = unused_port()
    running = start_hub(tmp_path / "data", f"127.0.0.1:{port}")
    CommandLine(tmp_path).json("server", "provision", running.database)
    old = CommandLine(tmp_path / "old")
    old.json("init", "--hcp-id", "hcp-a", "--name", "A", "--server", running.database)
    with pairing(tablet, "--server", running.database) as (process, code):
        stop(running.process)
        assert process.stderr is not None
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline().startswith("Waiting: ")
        running = start_hub(tmp_path / "data", f"127.0.0.1:{port}")
        try:
            assert approve(old, code).code == 0
            assert ended(process).code == 0
        finally:
            stop(running.process)


def test_either_side_killed_on_the_way_can_be_run_again(tmp_path: Path, hub: RunningHub) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.dying_pairs", tmp_path, hub.database],
        env=CommandLine(tmp_path).environment(),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *told, (_, left) = map(json.loads, done.stdout.splitlines())
    assert left == []
    for side, is_killed, *found in told:
        assert found == [0, "hcp-a", ["home"]], (side, is_killed)
    killed = [side for side, is_killed, *_ in told if is_killed]
    assert killed.count("new") > 7
    assert killed.count("old") > 4
