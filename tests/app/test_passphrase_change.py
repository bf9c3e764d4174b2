"""Another passphrase for a home: both of its locked files change, or neither, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from icure_sync import Identity
from icure_sync.app.rewriting import DECIDED, LOCKED_FILES, rewrite, settle
from icure_sync.errors import StoreFull
from tests.app.conftest import PATIENCE, CommandLine, typed

NEW = "season of mists"
NEXT = {name: b"next " + name.encode() for name in LOCKED_FILES}


@pytest.fixture
def home(practice: CommandLine, tmp_path: Path) -> CommandLine:
    """A copy of one that was made once."""
    shutil.copytree(practice.home, tmp_path / "home")
    return CommandLine(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in LOCKED_FILES:
        (tmp_path / name).write_bytes(b"first " + name.encode())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_(line: CommandLine, passphrase: str, **variables: str) -> CommandLine:
    return CommandLine(line.home, passphrase, variables)


def test_a_home_opens_with_its_new_passphrase_and_no_more_with_the_old_one(home: CommandLine, tmp_path: Path):
    patient = home.json("patient", "add", "--first-name", "John")["id"]
    file = tmp_path / "new passphrase"
    file.write_text(f"{NEW}\n")
    assert home.json("passphrase", "change", "--new-passphrase-file", file) == {
        "home": str(home.home),
        "hcpId": "hcp-a",
    }
    assert "passphrase is wrong" in home.error("patient", "list")
    assert "John" in with_(home, NEW).run("patient", "show", patient).out
    assert with_(home, NEW).run("passphrase", "change").code == 1  # nobody is there to be asked
    assert with_(home, NEW, ICURE_SYNC_NEW_PASSPHRASE=home.passphrase or "").run("passphrase", "change").code == 0
    assert "John" in home.run("patient", "show", patient).out


def test_a_wrong_passphrase_or_an_empty_new_one_changes_nothing(home: CommandLine):
    before = contents(home.home)
    assert "is wrong" in with_(home, "guess", ICURE_SYNC_NEW_PASSPHRASE=NEW).error("passphrase", "change")
    assert "empty" in with_(home, home.passphrase or "", ICURE_SYNC_NEW_PASSPHRASE="").error("passphrase", "change")
    assert {name: contents(home.home)[name] for name in LOCKED_FILES} == {name: before[name] for name in LOCKED_FILES}


def test_it_is_refused_while_another_process_has_the_home(home: CommandLine):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, home.home / "replica.db.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        line = with_(home, home.passphrase or "", ICURE_SYNC_NEW_PASSPHRASE=NEW)
        assert f"in use by process {holder.pid}" in line.error("passphrase", "change")
        assert holder.stdin is not None
        holder.stdin.close()
    assert home.run("status").code == 0


HOLDER = """
import pathlib, sys
from icure_sync.store.lock import own
held = own(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_new_one_is_asked_for_twice(home: CommandLine):
    asked = CommandLine(home.home, None)
    once = [("Passphrase: ", home.passphrase or ""), ("New passphrase: ", NEW)]
    differ = typed(asked, [*once, ("The same again: ", "season of fogs")], "passphrase", "change")
    assert (differ.code, "the two entries differ" in differ.err) == (1, True)
    changed = typed(asked, [*once, ("The same again: ", NEW)], "passphrase", "change")
    assert changed.code == 0
    assert "still open with the old one" in changed.out
    assert NEW not in changed.err + changed.out
    assert with_(home, NEW).run("status").code == 0


def test_a_change_that_is_killed_at_any_step_leaves_the_old_passphrase_or_the_new_one(tmp_path: Path):
    script = [sys.executable, "-m", "tests.app.dying_changes", tmp_path]
    told = subprocess.run(script, capture_output=True, text=True, timeout=PATIENCE * 5, check=True, cwd=ROOT).stdout
    *lives, last = told.splitlines()
    assert last == "done"
    opened = [life.split()[0] for life in lives]
    assert opened == sorted(opened, reverse=True)  # "old" up to the decision, "new" after it
    assert opened.count("old") > len(LOCKED_FILES)
    assert opened.count("new") > len(LOCKED_FILES)
    assert {tuple(life.split()[1:]) for life in lives} == {
        ("config.json", "identity.key", "replica.db", "replica.db.key", "replica.db.lock")
    }


ROOT = Path(__file__).parents[2]


def test_drafts_that_nothing_was_decided_of_are_cleared_away(folder: Path):
    before = contents(folder)
    (folder / "identity.key.next").write_bytes(b"cut off")
    settle(folder)
    assert contents(folder) == before


def test_what_cannot_be_written_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = contents(folder)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreFull, match="No space left"):
            rewrite(folder, NEXT)
    assert contents(folder) == before


def test_what_fails_after_the_decision_is_finished_later(folder: Path, monkeypatch: pytest.MonkeyPatch):
    real = Path.replace

    def fail(draft: Path, target: Path) -> Path:
        if target.name == LOCKED_FILES[-1]:
            raise OSError(5, "Input/output error")
        return real(draft, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(StoreFull, match="Input/output error"):
            rewrite(folder, NEXT)
    assert (folder / DECIDED).exists()
    settle(folder)
    assert contents(folder) == NEXT


def test_one_file_can_be_rewritten_alone(folder: Path):
    rewrite(folder, {"identity.key": b"another identity"})
    assert contents(folder) == {"identity.key": b"another identity", "replica.db.key": b"first replica.db.key"}
    assert {path.stat().st_mode & 0o777 for path in folder.glob("identity.key")} == {0o600}


def test_an_exported_identity_opens_with_the_passphrase_of_its_time(home: CommandLine, tmp_path: Path):
    exported = tmp_path / "exported"
    home.json("identity", "export", exported)
    with_(home, home.passphrase or "", ICURE_SYNC_NEW_PASSPHRASE=NEW).json("passphrase", "change")
    assert Identity.unlock(exported.read_bytes(), home.passphrase or "").hcp_id == "hcp-a"
    assert Identity.unlock((home.home / "identity.key").read_bytes(), NEW).hcp_id == "hcp-a"
