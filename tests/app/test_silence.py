"""What a person types shows on no disk and in no error: homes, hub, temporary files and standard error of commands."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from icure_sync import Identity
from icure_sync.store.keyfile import unlock_key
from tests.app.conftest import ADMIN, CommandLine, RunningHub
from tests.silence import assert_silent, files_of

WORDS = [f"canary{number:02d}zephyrine" for number in range(16)]
PASSPHRASE, NEXT_PASSPHRASE, WRONG = (
    f"{kind} {hashlib.sha256(kind.encode()).hexdigest()[:12]}" for kind in ("passphrase", "next passphrase", "wrong")
)


@dataclass
class Desk:
    """Commands of one home. All that they leave on disk is in `folder`; `said`: on standard error."""

    folder: Path
    said: str = ""

    def run(self, *arguments: str | Path, home: str = "a", passphrase: str = PASSPHRASE) -> str:
        """What a command answers; what it says on standard error is kept, and the disk looked at."""
        places = {"TMPDIR": str(self.folder / "temporary"), "HOME": str(self.folder)}
        variables = places | {"ICURE_SYNC_NEW_PASSPHRASE": NEXT_PASSPHRASE}
        done = CommandLine(self.folder / home, passphrase, variables).run(*arguments)
        self.said += done.err
        self.look()
        return done.out

    def look(self) -> None:
        for name, content in files_of(self.folder):
            assert_silent(name, "the name of a file", WORDS)
            assert_silent(content, name, [*WORDS, PASSPHRASE, NEXT_PASSPHRASE, WRONG, ADMIN.partition(":")[2]])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "temporary").mkdir()
    before = os.umask(0o022)
    yield Desk(tmp_path)
    os.umask(before)


def added(answer: str) -> str:
    return answer.split()[1]


def chart(desk: Desk, words: Iterator[str]) -> str:
    """A patient with a contact, a form and an element, changed and searched for."""
    patient = added(desk.run("patient", "add", "--first-name", next(words), "--note", next(words)))
    desk.run("contact", "add", "--patient", patient, "--description", next(words))
    desk.run("form", "add", "--patient", patient, "--description", next(words))
    desk.run("element", "add", "--patient", patient, "--set", f"note={next(words)}")
    desk.run("patient", "edit", patient, "--note", next(words))
    assert WORDS[0] in desk.run("search", WORDS[0])
    assert WORDS[0] in desk.run("patient", "list", "--json")
    return patient


def mistakes(desk: Desk, hub: RunningHub, patient: str, word: str) -> None:
    """Each ends with an error."""
    before = desk.said
    lines = [
        ("patient", "add", "--date-of-birth", word),
        ("patient", "add", "--set", f"addresses={word}"),
        ("patient", "add", "--set", f'addresses=[{{"city": ["{word}"]}}]'),
        ("patient", "edit", patient, "--set", f"addresses=[{{{word}"),
        ("conflicts", "resolve", patient, "--set", f"first_name={word}"),
        ("share", patient, "--with", f"{word} of nobody"),
        ("sync", "--server", f"http://admin:{WRONG}@127.0.0.1:1/clinic".replace(" ", "%20")),
        ("sync", "--server", hub.database.replace(ADMIN, f"admin:{WRONG}".replace(" ", "%20"))),
        ("sync", "--server", f"ftp://admin:{WRONG}@127.0.0.1/clinic"),
    ]
    for line in lines:
        assert desk.run(*line) == "", line
    desk.run("status", passphrase=WRONG)
    desk.run("passphrase", "change", passphrase=WRONG)
    assert desk.said.removeprefix(before).count("icure-sync: cannot ") == len(lines) + 2, desk.said


def test_nothing_typed_is_on_disk_or_in_an_error_while_two_practices_work(desk: Desk, hub: RunningHub):
    words = iter(WORDS)
    for home, hcp in (("a", "hcp-a"), ("b", "hcp-b")):
        desk.run("init", "--hcp-id", hcp, "--name", f"Practice {home.upper()}", "--server", hub.database, home=home)
        desk.run("sync", home=home)
    desk.run("sync")
    patient = chart(desk, words)
    desk.run("share", patient, "--with", "hcp-b", "--include-linked")
    desk.run("sync")
    desk.run("sync", home="b")
    note = next(words)
    desk.run("patient", "edit", patient, "--note", note, home="b")
    desk.run("patient", "edit", patient, "--note", next(words))
    for home in ("a", "b", "a"):
        desk.run("sync", home=home)
    assert note in desk.run("conflicts", "show", patient) + desk.run("patient", "show", patient)
    assert desk.said == ""
    mistakes(desk, hub, patient, next(words))
    desk.run("identity", "export", desk.folder / "exported")
    desk.run("passphrase", "change")
    assert note in desk.run("patient", "show", patient, home="b")
    assert "is not the passphrase" not in desk.run("patient", "list", passphrase=NEXT_PASSPHRASE)

    identity = Identity.unlock((desk.folder / "a" / "identity.key").read_bytes(), NEXT_PASSPHRASE)
    database = unlock_key(desk.folder / "a" / "replica.db", NEXT_PASSPHRASE)
    keys = [identity.self_key, identity.signing_key.seed(), identity.party_key.pkcs8()[-400:], database]
    for name, content in (*files_of(desk.folder), *files_of(hub.data)):
        assert_silent(content, name, [*keys, *WORDS])
    assert_silent(desk.said, "standard error", [*keys, *WORDS, PASSPHRASE, NEXT_PASSPHRASE, WRONG, "a-long-password"])
    assert not list((desk.folder / "temporary").iterdir())
