"""Recovery from the command line: codes on paper, shares among people, and a new machine that has nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.app.conftest import PATIENCE, CommandLine, RunningHub, typed

CODE = re.compile(r"(?:[0-9A-HJKMNP-TV-Z]{5}-){6}[0-9A-HJKMNP-TV-Z]{5}")


@pytest.fixture(scope="module")
def clinic(homes: Path, hub: RunningHub) -> tuple[CommandLine, str]:
    """A practice with one patient that has synced, and the code that it got at init."""
    line = CommandLine(homes / "clinic")
    code = line.json("init", "--hcp-id", "hcp-c", "--name", "Practice C", "--server", hub.database)["recoveryCode"]
    line.json("patient", "add", "--last-name", "Keats")
    line.json("sync")
    return line, code


@pytest.fixture
def machine(tmp_path: Path) -> CommandLine:
    """A new one."""
    return CommandLine(tmp_path / "new" / "home")


def with_input(line: CommandLine, *lines: str) -> CommandLine:
    return replace(line, standard_input="\n".join(lines))


def shows_the_patient(line: CommandLine) -> bool:
    return [item["lastName"] for item in line.json("patient", "list")["items"]] == ["Keats"]


def test_init_shows_the_code_once_and_says_so(tmp_path: Path):
    line = CommandLine(tmp_path / "home")
    shown = line.run("init", "--hcp-id", "hcp-x", "--name", "X").out
    (code,) = CODE.findall(shown)
    assert "SHOWN THIS ONCE AND KEPT NOWHERE" in shown
    assert [item["kind"] for item in line.json("recovery", "list")["items"]] == ["code"]
    listed = line.run("recovery", "list").out + line.run("status").out + line.run("audit", "--json").out
    assert code not in listed
    assert all(code.encode() not in path.read_bytes() for path in line.home.rglob("*") if path.is_file())


def test_init_without_a_code_makes_none(tmp_path: Path):
    line = CommandLine(tmp_path / "home")
    made = line.json("init", "--hcp-id", "hcp-x", "--name", "X", "--no-recovery-code")
    assert made["recoveryCode"] is None
    assert line.json("recovery", "list") == {"items": []}
    assert "icure-sync recovery new" in line.run("recovery", "list").out


def test_a_machine_with_nothing_but_the_code_and_the_server_gets_everything(
    clinic: tuple[CommandLine, str], machine: CommandLine, hub: RunningHub
):
    _, code = clinic
    made = with_input(machine, code.lower().replace("-", " ")).json("recovery", "restore", "--server", hub.database)
    assert (made["hcpId"], made["name"], made["home"]) == ("hcp-c", "Practice C", str(machine.home))
    assert shows_the_patient(machine)
    assert machine.json("status")["server"] == f"{hub.url}/clinic"
    (first, *_) = machine.json("audit")["items"]
    assert first["action"] == "recovered"
    again = with_input(machine, code).json("recovery", "restore", "--server", hub.database)
    assert again["pulled"] == 0
    assert "shut it out" in with_input(machine, code).run("recovery", "restore", "--server", hub.database).out


def test_shares_from_files_and_at_a_prompt_recover_too(
    clinic: tuple[CommandLine, str], machine: CommandLine, hub: RunningHub, tmp_path: Path
):
    line, _ = clinic
    made = line.json("recovery", "split", "--shares", "5", "--threshold", "3")
    line.json("sync")
    files = [tmp_path / f"share-{place}" for place in range(2)]
    files[0].write_text(f"share 1 of 5: {made['shares'][0]}\n\n{made['shares'][4]}\n")
    files[1].write_text(made["shares"][2])
    arguments = [part for file in files for part in ("--code-file", str(file))]
    assert machine.json("recovery", "restore", "--server", hub.database, *arguments)["hcpId"] == "hcp-c"
    assert shows_the_patient(machine)

    combined = machine.json("recovery", "combine", *arguments)
    assert CODE.fullmatch(combined["recoveryCode"])
    shares = made["shares"]
    mistyped = shares[1][:8] + ("A" if shares[1][8] != "A" else "B") + shares[1][9:]
    answers = [
        ("Share: ", shares[0]),
        ("Share 2 of the 3 that it takes: ", mistyped),
        ("Share 2 of the 3 that it takes: ", shares[0]),
        ("Share 2 of the 3 that it takes: ", combined["recoveryCode"]),
        ("Share 2 of the 3 that it takes: ", shares[3]),
        ("Share 3 of the 3 that it takes: ", shares[4]),
    ]
    done = typed(machine, answers, "recovery", "combine", "--json")
    assert json.loads(done.out) == combined
    assert "Group 2 is mistyped. Try again." in done.err
    assert "Share 1 is here already." in done.err
    assert f"That is none of the set {made['set']}." in done.err


def test_a_code_is_typed_at_a_prompt(clinic: tuple[CommandLine, str], machine: CommandLine, hub: RunningHub):
    _, code = clinic
    question = "Recovery code, or a share: "
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    done = typed(
        machine, [(question, wrong), (question, code)], "recovery", "restore", "--server", hub.database, "--json"
    )
    assert done.code == 0, done.err
    assert "Group 7 is mistyped. Try again." in done.err
    assert "nothing was typed" in typed(machine, [("Share: ", "")], "recovery", "combine").err


def test_mistakes_are_named(clinic: tuple[CommandLine, str], machine: CommandLine, hub: RunningHub, tmp_path: Path):
    line, code = clinic
    restore = ("recovery", "restore", "--server", hub.database)
    made, other = (line.json("recovery", "split", "--shares", "3", "--threshold", "2") for _ in range(2))
    for lines, wrong in {
        (): "standard input is empty",
        ("ABC",): "number 1 of what was given: it has 3 characters, and 35 are needed",
        (made["shares"][0],): "1 of the 2 that it takes are here",
        (made["shares"][0], other["shares"][1]): "different sets",
        (made["shares"][0], made["shares"][0]): "more than once",
        (made["shares"][0], code): "a whole recovery code is among them",
        (made["shares"][0], made["shares"][1]): "the server has nothing for this secret",  # not synced yet
    }.items():
        assert wrong in with_input(machine, *lines).error(*restore), lines
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "there is none" in machine.error(*restore, "--code-file", empty)
    assert "No such file" in machine.error(*restore, "--code-file", tmp_path / "missing")
    assert "a whole recovery code" in with_input(machine, code).error("recovery", "combine")
    assert "choose other numbers" in line.error("recovery", "split", "--shares", "2", "--threshold", "3")
    assert not machine.home.exists()


def test_a_code_never_goes_on_the_command_line(machine: CommandLine, hub: RunningHub):
    done = machine.run("recovery", "restore", "AAAAA-AAAAA", "--server", hub.database)
    assert done.code == 2


def test_a_new_code_ends_the_one_before_and_withdrawn_shares_end(homes: Path, hub: RunningHub, machine: CommandLine):
    line = CommandLine(homes / "renewed")
    first = line.json("init", "--hcp-id", "hcp-r", "--name", "R", "--server", hub.database)["recoveryCode"]
    shares = line.json("recovery", "split", "--shares", "2", "--threshold", "2")
    before = {item["kind"]: item["id"] for item in line.json("recovery", "list")["items"]}
    line.json("sync")
    second = line.json("recovery", "new")
    assert second["withdrawn"] == [before["code"]]
    assert "SHOWN THIS ONCE" in line.run("recovery", "new").out
    assert line.json("recovery", "withdraw", f"recovery-{shares['set']}") == {"id": before["shares"]}
    assert "no code and no set" in line.error("recovery", "withdraw", "recovery-")
    line.json("sync")
    for lines in ((first,), (second["recoveryCode"],), shares["shares"]):
        said = with_input(machine, *lines).error("recovery", "restore", "--server", hub.database)
        assert "it was withdrawn" in said
    assert [item["kind"] for item in line.json("recovery", "list")["items"]] == ["code"]


def test_a_folder_that_is_somebody_elses_is_left_alone(
    clinic: tuple[CommandLine, str], practice: CommandLine, hub: RunningHub, tmp_path: Path
):
    _, code = clinic
    restore = ("recovery", "restore", "--server", hub.database)
    assert "it is that of hcp-a" in with_input(practice, code).error(*restore)
    (tmp_path / "thesis.tex").write_text("x")
    assert "the folder is not empty" in with_input(CommandLine(tmp_path), code).error(*restore)
    assert "not a directory" in with_input(CommandLine(tmp_path / "thesis.tex"), code).error(*restore).lower()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture(scope="module")
def dying(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> list[list[object]]:
    folder = tmp_path_factory.mktemp("dying")
    CommandLine(folder).json("server", "provision", hub.database.replace("/clinic", "/dying"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.dying_rescues", str(folder), hub.database.replace("/clinic", "/dying")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("noun", ["recovery", "break-glass"])
def test_killed_anywhere_and_run_again_it_makes_the_home_and_leaves_nothing_beside_it(
    dying: list[list[object]], noun: str
):
    told = [line for line in dying if line[0] == noun]
    assert len(told) > 8
    assert [line[1] for line in told] == [True] * (len(told) - 1) + [False]
    assert all(line[2:] == [0, ["Keats"], ["home"]] for line in told), told


def test_every_opening_that_gave_a_home_was_told_to_the_owner(dying: list[list[object]]):
    (end,) = [line for line in dying if line[0] == "done"]
    opened = sum(line[0] == "break-glass" for line in dying)
    assert int(str(end[1])) >= opened
