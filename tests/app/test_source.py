"""Where a new device's server comes from, and its password, which no other user of the machine should see."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from icure_sync.app.source import named_server
from icure_sync.errors import InvalidEntity, Unauthorized
from tests.app.conftest import CommandLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def args(server: str | None) -> argparse.Namespace:
    return argparse.Namespace(server=server)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ICURE_SYNC_SERVER", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.mark.parametrize("address", ["http://ward:sesame@host:5984/clinic", "http://host:5984/clinic"])
def test_an_address_that_says_all_is_taken_as_it_is(address: str, monkeypatch: pytest.MonkeyPatch):
    assert named_server(args(address)) == address
    monkeypatch.setenv("ICURE_SYNC_SERVER", address)
    assert named_server(args(None)) == address
    assert named_server(args("http://other/clinic")) == "http://other/clinic"


def test_a_password_that_is_not_in_the_address_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def typed(question: str) -> str:
        asked.append(question)
        return "p@ss:/?#"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", typed)
    found = named_server(args("https://wa%40rd@host:6984/a%2Fb"))
    assert found == "https://wa%40rd:p%40ss%3A%2F%3F%23@host:6984/a%2Fb"
    assert asked == ["Password of wa@rd on https://host:6984/a%2Fb: "]


def test_without_a_terminal_or_a_server_it_is_said_what_to_do():
    with pytest.raises(Unauthorized, match="set ICURE_SYNC_SERVER"):
        named_server(args("http://ward@host/clinic"))
    with pytest.raises(InvalidEntity, match="give --server, or set ICURE_SYNC_SERVER"):
        named_server(args(None))


@pytest.mark.parametrize(
    "command",
    [("device", "pair"), ("recovery", "restore"), ("break-glass", "open", "--reason", "unconscious")],
    ids=lambda command: command[0],
)
def test_each_way_to_a_new_home_takes_the_variable(tmp_path: Path, command: tuple[str, ...]):
    line = CommandLine(tmp_path / "home")
    assert "ICURE_SYNC_SERVER" in line.run(*command).err
    line.variables["ICURE_SYNC_SERVER"] = "http://ward:sesame@127.0.0.1:1/clinic"
    failed = line.run(*command)
    assert "none is named" not in failed.err
    assert "sesame" not in failed.out + failed.err
