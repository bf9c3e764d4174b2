"""The demo: all of it, by its command; and that its search sees a leak."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from icure_sync.app.demo_people import clinic_day
from icure_sync.app.demo_report import Report
from icure_sync.app.demo_secrecy import search_the_files, search_the_server
from icure_sync.app.demo_stage import Stage, open_stage
from icure_sync.app.demo_words import ClearWords
from icure_sync.peers.couch_address import parse_address
from tests.app.conftest import PATIENCE, CommandLine, RunningHub, stop

README = Path(__file__).parents[2] / "README.md"
CHECK = re.compile(r"^  ok      ([^:]*):", re.MULTILINE)


def test_the_demo_holds_on_its_own_hub_and_one_can_go_on_from_there(tmp_path: Path) -> None:
    line = CommandLine(tmp_path, passphrase=None)
    done = line.run_process("demo", "--patients", "5", "--folder", tmp_path / "stage")
    assert (done.code, done.err) == (0, "")
    assert "FAILED" not in done.out
    assert re.search(r"^All \d+ checks hold", done.out, re.MULTILINE)
    assert CHECK.findall(done.out) == CHECK.findall(README.read_text())  # the recording there is of this demo

    printed = re.findall(r"^  (export .*|icure-sync .*)$", done.out, re.MULTILINE)
    exports = [command for command in printed if command.startswith("export")]
    in_background = [command for command in printed if command.endswith("&")]
    (hub_command,) = in_background
    hub = subprocess.Popen(
        ["sh", "-c", "; ".join([*exports, "exec " + hub_command.removesuffix("&")])],
        env=line.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert hub.stdout is not None
        assert hub.stdout.readline().startswith("The hub listens on")
        answers = {}
        for command in (one for one in printed if one not in exports and one != hub_command):
            answers[shlex.split(command)[3]] = subprocess.run(
                ["sh", "-c", "; ".join([*exports, command])],
                env=line.environment(),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
            ).stdout
    finally:
        assert stop(hub) == 0
    assert "Keats" in answers["patient"]
    assert "consumption" in answers["search"]
    assert "Keats" in answers["conflicts"]
    assert "pulled, " in answers["sync"]


def test_the_demo_for_machines_on_a_server_that_was_named(hub: RunningHub, tmp_path: Path) -> None:
    server = hub.database.removesuffix("/clinic")
    line = CommandLine(tmp_path, passphrase=None)
    value = line.json("demo", "--server", server, "--patients", "5", "--folder", tmp_path / "stage")
    assert value.keys() == {"checks", "counts", "rates", "folder"}
    assert all(check.keys() == {"name", "ok", "detail"} for check in value["checks"])
    assert [check["name"] for check in value["checks"] if check["ok"] is not True] == []
    assert value["counts"]["patients"] == 6
    assert all(rate > 0 for rate in value["rates"].values())
    assert value["folder"] == str(tmp_path / "stage")
    assert {path.name for path in (tmp_path / "stage").iterdir()} == {"a-laptop", "a-phone", "b", "c"}

    assert "not empty" in line.error("demo", "--folder", tmp_path / "stage")


@pytest.fixture
def words() -> ClearWords:
    typed = ClearWords()
    typed.add({"note": "Haemoptysis at dawn", "dateOfBirth": 17951031})
    return typed


async def test_a_word_that_reached_the_server_fails_the_check(words: ClearWords, tmp_path: Path) -> None:
    async with open_stage(tmp_path / "stage", None) as stage:
        await put(stage, {"_id": "x", "about": "nothing"})
        sound = Report(None)
        await search_the_server(stage, sound, words)
        await put(stage, {"_id": "y", "deep": [{"down": "at dawn, as ever"}]})
        leaking = Report(None)
        await search_the_server(stage, leaking, words)
        letter = {"content_type": "text/plain", "data": b64encode(b"Haemoptysis!").decode()}
        await put(stage, {"_id": "z", "_attachments": {"letter": letter}})
        more = Report(None)
        await search_the_server(stage, more, words)
    assert sound.ok
    assert not leaking.ok
    assert "'dawn' in y" in leaking.checks[0].detail
    assert "attachment" in more.checks[0].detail


async def test_a_word_in_a_file_fails_the_check(words: ClearWords, tmp_path: Path) -> None:
    async with open_stage(tmp_path / "stage", None) as stage:
        (stage.folder / "letter").write_bytes(b"\x00\xffhaemoptysisX\x00")
        report = Report(None)
        await search_the_files(stage, report, words)
    assert not report.ok


def test_words_are_found_wherever_they_stand_in_json(words: ClearWords) -> None:
    assert words.words == {"haemoptysis", "dawn", "17951031"}
    assert words.in_json({"haemoptysis": [1]}) == {"haemoptysis"}
    assert words.in_json([{"date": 17951031}]) == {"17951031"}
    assert words.in_json("a dawning haemoptysis-free day") == {"haemoptysis"}
    sealed = b"\x01" + bytes(72) + b"haemoptysis"
    assert words.in_json({"encryptedSelf": b64encode(sealed).decode()}) == {"haemoptysis"}
    assert words.in_json({"encryptedSelf": b64encode(bytes(100)).decode()}) == set()


def test_the_same_seed_gives_the_same_people() -> None:
    assert list(clinic_day(50)) == list(clinic_day(50))
    assert list(clinic_day(50)) != list(clinic_day(50, seed=2))


async def put(stage: Stage, document: dict[str, object]) -> None:
    """Write a document past the sync engine, as other software might."""
    address = parse_address(stage.database_url)
    assert address.credentials is not None
    login = b64encode(f"{address.credentials.user}:{address.credentials.password}".encode()).decode()
    request = urllib.request.Request(
        f"{address}/{document['_id']}",
        json.dumps(document).encode(),
        {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        method="PUT",
    )
    await asyncio.to_thread(send, request)


def send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201
