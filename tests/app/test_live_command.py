"""`icure-sync sync --live` as a process: it says how it stands, carries changes both ways, and ends when told to."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icure_sync import Direction, Phase, Progress, Refusal, Status, SyncReport
from icure_sync.app.status import _answer
from icure_sync.app.syncing import _Told, as_json, as_text, refusals_as_json
from icure_sync.ids import DocId, Rev
from tests.app.conftest import PATIENCE, CommandLine, RunningHub, start_hub, stop, unused_port


@contextmanager
def living(line: CommandLine, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A device in live sync."""
    process = subprocess.Popen(
        ["icure-sync", "sync", "--live", *arguments], env=line.environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def said(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


@pytest.fixture(scope="module")
def phone(homes: Path, practice: CommandLine) -> CommandLine:
    file = homes / "hcp-a.identity"
    practice.json("identity", "export", file)
    line = CommandLine(homes / "phone")
    line.json("init", "--identity", file)
    return line


def test_it_carries_what_others_send_until_it_is_told_to_stop(
    practice: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    patient = practice.json("patient", "add", "--last-name", "Keats")["id"]
    with living(phone, "--server", hub.database, "--json") as process:
        assert said(process) == {"state": "in sync", "trouble": "", "refused": []}
        practice.json("sync", "--server", hub.database)
        process.send_signal(signal.SIGTERM)
        assert said(process) == {"state": "stopped"}
        assert process.wait(PATIENCE) == 0
    assert phone.json("patient", "show", patient)["lastName"] == "Keats"
    assert phone.json("status")["server"] == f"{hub.url}/clinic"


def test_it_waits_for_a_server_that_is_not_there(phone: CommandLine, tmp_path: Path) -> None:
    port = unused_port()
    running = start_hub(tmp_path / "late", f"127.0.0.1:{port}")
    CommandLine(tmp_path).json("server", "provision", running.database)
    stop(running.process)
    database = f"http://admin:a-long-password@127.0.0.1:{port}/clinic"
    with living(phone, "--server", database, "--json") as process:
        waiting = said(process)
        assert waiting["state"] == "waiting"
        assert "no connection" in waiting["trouble"]
        assert "a-long-password" not in waiting["trouble"]
        assert "again" not in waiting["trouble"]
        running = start_hub(tmp_path / "late", f"127.0.0.1:{port}")
        try:
            assert said(process) == {"state": "in sync", "trouble": "", "refused": []}
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            stop(running.process)
    assert phone.json("status")["server"] == database.replace("admin:a-long-password@", "")


def test_what_is_refused_is_said_as_a_sync_says_it_and_again_only_if_it_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refusal = Refusal(DocId("john"), Rev("1-a"), "forbidden", "no patients here")

    def told(as_json: bool) -> list[str]:
        told = _Told(as_json=as_json)
        for refused in ((refusal,), (refusal,), ()):
            for direction in Direction:
                told.hear(Progress(direction, Phase.TRANSFERRING))
            for direction in Direction:
                told.hear(Progress(direction, Phase.IDLE, refused=refused if direction is Direction.PUSH else ()))
        return capsys.readouterr().out.splitlines()

    report = SyncReport(pulled=0, pushed=1, merged=0, undone=0, conflicts=0, refused=(refusal,))
    assert told(as_json=False) == ["In sync.", *as_text(report).splitlines()[1:], "In sync."]
    first, second = map(json.loads, told(as_json=True))
    assert first == {"state": "in sync", "trouble": "", "refused": as_json(report)["refused"]}
    assert second["refused"] == []


def test_a_status_tells_what_is_not_sent_from_what_is_refused() -> None:
    refusal = Refusal(DocId("john"), Rev("1-a"), "forbidden", "no patients here")
    status = Status("hcp-a", "d", (), {}, 0, 0, 0, (), {}, {}, None, 0, locked=False)
    assert "not sent yet: 0\n" in _answer(status, None).text + "\n"
    refused = _answer(replace(status, refused=(refusal,)), None)
    assert "0, besides what is refused" in refused.text
    assert refused.value["refused"] == refusals_as_json((refusal,))


def test_an_error_that_stays_is_said_in_one_line(phone: CommandLine, hub: RunningHub) -> None:
    finished = phone.run_process("sync", "--live", "--server", f"{hub.url.replace('//', '//admin:wrong@')}/clinic")
    assert "check the user and password" in finished.error
