"""`server provision`: on a real hub, on a CouchDB if there is one, on servers that answer what a test tells them."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from icure_sync import SyncReport
from icure_sync.app import server_steps, syncing
from icure_sync.app.server import State, Wish, provision_database
from icure_sync.app.server_design import VERSION, brought_up_to_date
from icure_sync.app.server_login import VARIABLE, Login, administrator
from icure_sync.errors import (
    BadAnswer,
    ConflictError,
    Forbidden,
    InvalidEntity,
    PeerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from icure_sync.hub import Hub
from icure_sync.replication.filters import CLASSIC_HCP, SHARED_TYPES
from icure_sync.testing import ScriptedServer, json_answer, raw_answer, redirect, refusal
from tests.app.conftest import ADMIN, CommandLine, RunningHub, typed
from tests.hub.test_server import self_signed
from tests.servers import REAL_SERVERS

STRANGER = json_answer({"ok": True, "userCtx": {"name": None, "roles": []}})
BOSS = json_answer({"ok": True, "userCtx": {"name": "boss", "roles": ["_admin"]}})
MEMBERSHIP = json_answer({"all_nodes": ["n1", "n2"], "cluster_nodes": ["n1", "n2"]})
DONE = json_answer({"ok": True}, status=201)

PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_login_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(params=["hub", *REAL_SERVERS])
def fresh(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL, with an administrator's login, of a database that is not there yet."""
    server = (
        request.getfixturevalue("hub").database.rpartition("/")[0]
        if request.param == "hub"
        else request.getfixturevalue("couchdb_url")
    )
    url = f"{server}/provision-{uuid.uuid4().hex}"
    yield url
    ask("DELETE", url)


def device_name() -> str:
    """One that no earlier run left on a server."""
    return f"phone-{uuid.uuid4().hex[:12]}"


def ask(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    """A request with the login of the URL: status and JSON."""
    scheme, _, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    request = urllib.request.Request(f"{scheme}://{host}", method=method)
    if at:
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def as_user(url: str, name: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{name}:{password}@{rest.rpartition('@')[2]}"


def drop_user(url: str, name: str) -> None:
    path = f"{url.rpartition('/')[0]}/_users/org.couchdb.user:{name}"
    _, user = ask("GET", path)
    ask("DELETE", f"{path}?rev={user['_rev']}")


def test_a_device_gets_an_account_that_syncs_and_administers_nothing(fresh: str) -> None:
    name = device_name()
    done = provision_database(fresh, Wish(devices=(name,)))
    assert (done.database, done.index, done.devices[0].state) == (State.CREATED, State.CREATED, State.CREATED)
    password = done.devices[0].password
    assert password is not None
    assert len(password) >= 20
    device = as_user(fresh, name, password)
    assert ask("PUT", f"{device}/one", {"type": "Patient"})[0] == 201
    assert ask("PUT", f"{device}/_design/mine", {})[0] == 403
    others = f"{fresh.rpartition('/')[0]}/_users/_all_docs"
    assert ask("GET", as_user(others, name, password))[0] >= 400
    assert ask("GET", f"{fresh.partition('://')[0]}://{fresh.rpartition('@')[2]}")[0] == 401
    drop_user(fresh, name)


def test_a_second_run_changes_nothing(fresh: str) -> None:
    name = device_name()
    first = provision_database(fresh, Wish(devices=(name,)))
    before = [ask("GET", f"{fresh}/{path}") for path in ("_security", "_design/icure_sync")]
    second = provision_database(fresh, Wish(devices=(name,)))
    states = (second.database, second.security, second.index, second.settings, second.devices[0].state)
    assert {*states} == {State.UNCHANGED}
    assert second.devices[0].password is None
    assert before == [ask("GET", f"{fresh}/{path}") for path in ("_security", "_design/icure_sync")]
    assert ask("GET", as_user(fresh, name, str(first.devices[0].password)))[0] == 200
    drop_user(fresh, name)


def test_a_password_is_replaced_only_when_that_is_asked_for(fresh: str) -> None:
    name = device_name()
    provision_database(fresh, Wish(devices=(name,), passwords=("first-one",)))
    kept = provision_database(fresh, Wish(devices=(name,), passwords=("second-one",)))
    assert kept.devices[0].password is None
    assert ask("GET", as_user(fresh, name, "first-one"))[0] == 200
    provision_database(fresh, Wish(devices=(name,), passwords=("third-one",), reset_passwords=True))
    assert ask("GET", as_user(fresh, name, "third-one"))[0] == 200
    drop_user(fresh, name)


def test_what_others_have_set_up_stays(fresh: str) -> None:
    name = device_name()
    assert ask("PUT", fresh)[0] in (201, 202)
    theirs = {"admins": {"names": ["carol"]}, "members": {"names": ["bob"], "roles": ["nurses"]}, "note": "ours"}
    ask("PUT", f"{fresh}/_security", theirs)
    view = {"map": "function (doc) {}"}
    ask("PUT", f"{fresh}/_design/icure_sync", {"views": {"theirs": view}, "by": "carol"})
    users = f"{fresh.rpartition('/')[0]}/_users/org.couchdb.user:{name}"
    ask("PUT", users, {"name": name, "type": "user", "roles": ["nurses"], "password": "hers", "room": 12})

    done = provision_database(fresh, Wish(devices=(name,)))
    assert (done.database, done.security, done.index) == (State.UNCHANGED, State.UPDATED, State.UPDATED)
    _, security = ask("GET", f"{fresh}/_security")
    assert security["members"].pop("roles")[0] == "nurses"
    theirs["members"].pop("roles")  # type: ignore[attr-defined]  # ours is behind theirs now
    assert security == theirs
    _, design = ask("GET", f"{fresh}/_design/icure_sync")
    assert (design["by"], design["views"]["theirs"], design["version"]) == ("carol", view, VERSION)
    _, user = ask("GET", users)
    assert (user["room"], user["roles"][0], len(user["roles"])) == (12, "nurses", 2)
    assert ask("GET", as_user(fresh, name, "hers"))[0] == 200
    drop_user(fresh, name)


def test_a_device_that_could_write_design_documents_is_named(fresh: str) -> None:
    name = device_name()
    provision_database(fresh, Wish(devices=(name,)))
    assert not any(name in warning for warning in provision_database(fresh, Wish(devices=(name,))).warnings)
    _, security = ask("GET", f"{fresh}/_security")
    ask("PUT", f"{fresh}/_security", {**security, "admins": {"names": [name], "roles": ["_admin"]}})
    assert any(name in warning for warning in provision_database(fresh, Wish(devices=(name,))).warnings)
    drop_user(fresh, name)


def test_a_device_of_two_databases_is_a_member_of_both(fresh: str) -> None:
    name = device_name()
    provision_database(fresh, Wish(devices=(name,), passwords=("both",)))
    provision_database(f"{fresh}-2", Wish(devices=(name,)))
    assert [ask("GET", as_user(url, name, "both"))[0] for url in (fresh, f"{fresh}-2")] == [200, 200]
    ask("DELETE", f"{fresh}-2")
    drop_user(fresh, name)


DOCUMENTS: dict[str, dict[str, Any]] = {
    "own": {"type": "Patient", "delegations": {"hcp-a": [], "hcp-b": [1]}, "secretForeignKeys": ["k1", "k2"]},
    "hcp": {"type": "HealthcareParty"},
    "classic": {"java_type": CLASSIC_HCP, "delegations": {"hcp-a": []}},
    "both-ways": {"type": "HealthcareParty", "java_type": CLASSIC_HCP},
    "head": {"type": "DeviceHead"},
    "attested": {"type": "Attestation"},
    "odd-1": {"type": ["HealthcareParty"], "delegations": ["hcp-a"], "secretForeignKeys": {"k1": 1}},
    "odd-2": {"type": "Patient", "delegations": "hcp-a", "secretForeignKeys": "k1"},
    "odd-3": {"type": "Patient", "delegations": None, "secretForeignKeys": None},
    "odd-4": {"type": "Patient", "secretForeignKeys": ["k3", 1]},
    "twice": {"type": "Patient", "secretForeignKeys": ["k2", "k2", ""]},
    "nobody": {"type": "Patient", "delegations": {"": []}},
    "plain": {"type": "Patient", "secretForeignKeys": []},
}
BY_DELEGATE = [
    ("contested", [None]),
    ("nobody", [""]),
    ("attested", ["", "Attestation"]),
    ("head", ["", "DeviceHead"]),
    ("both-ways", ["", "HealthcareParty"]),
    ("classic", ["", "HealthcareParty"]),
    ("hcp", ["", "HealthcareParty"]),
    ("classic", ["hcp-a"]),
    ("own", ["hcp-a"]),
    ("own", ["hcp-b"]),
    ("contested", ["hcp-b"]),
]


def test_the_index_names_what_each_delegate_needs(fresh: str) -> None:
    provision_database(fresh, Wish())
    leaves = [("1-aa", {"hcp-a": []}), ("1-bb", {"hcp-b": []})]  # the second wins
    docs = [{"_id": name, "_rev": "1-cc", **body} for name, body in DOCUMENTS.items()]
    docs += [{"_id": "contested", "_rev": rev, "delegations": named} for rev, named in leaves]
    docs += [{"_id": "gone", "_rev": "1-aa", "_deleted": True, "delegations": {"hcp-a": []}}]
    docs += [{"_id": "half-gone", "_rev": "1-aa"}, {"_id": "half-gone", "_rev": "1-bb", "_deleted": True}]
    assert ask("POST", f"{fresh}/_bulk_docs", {"new_edits": False, "docs": docs})[0] == 201
    view = f"{fresh}/_design/icure_sync/_view"
    status, answer = ask("GET", f"{view}/by_delegate?update_seq=true")
    assert status == 200, answer
    rows = [(row["id"], row["key"]) for row in answer["rows"]]
    assert sorted(rows, key=repr) == sorted(BY_DELEGATE, key=repr)
    assert {row["value"] for row in answer["rows"]} == {None}
    assert answer["update_seq"]
    _, answer = ask("GET", f"{view}/by_secret_foreign_key")
    rows = [(row["id"], row["key"]) for row in answer["rows"]]
    assert rows == [("twice", [""]), ("own", ["k1"]), ("own", ["k2"]), ("twice", ["k2"])]


def test_the_index_knows_the_types_that_every_device_takes() -> None:
    design = brought_up_to_date(None, validate=False)
    assert design is not None
    text = design["views"]["by_delegate"]["map"]
    for name in SHARED_TYPES:
        assert f'emit(["", "{name}"], null)' in text
    assert json.dumps(CLASSIC_HCP) in text


def test_an_older_design_document_is_brought_up_to_date_and_a_newer_one_left_alone() -> None:
    design = brought_up_to_date(None, validate=True)
    assert design is not None
    assert brought_up_to_date(design, validate=False) is None
    function = design["validate_doc_update"]
    older = {**design, "version": 0, "views": {}, "validate_doc_update": function.replace("8000000", "1")}
    assert brought_up_to_date(older, validate=False) == design
    assert brought_up_to_date({**older, "version": VERSION + 1}, validate=True) is None


def test_a_validation_function_of_somebody_else_is_not_replaced() -> None:
    theirs = {"_id": "_design/icure_sync", "validate_doc_update": "function () {}"}
    kept = brought_up_to_date(theirs, validate=False)
    assert kept is not None
    assert kept["validate_doc_update"] == "function () {}"
    with pytest.raises(InvalidEntity, match="another one"):
        brought_up_to_date(theirs, validate=True)


def test_a_couchdb_that_validates_takes_records_and_refuses_other_shapes(couchdb_url: str) -> None:
    url = f"{couchdb_url}/provision-{uuid.uuid4().hex}"
    provision_database(url, Wish(validate=True))
    try:
        good = [
            {"type": "Patient", "cryptoSuite": "sealed-1", "delegations": {"a": []}, "encryptedSelf": "AA"},
            {"java_type": CLASSIC_HCP, "encryptedSelf": None, "delegations": None, "secretForeignKeys": None},
            {"_deleted": True},
            {"_deleted": True, "delegations": {"a": []}, "notice": True},
        ]
        bad = [
            {},
            {"type": 1},
            {"type": "Patient", "delegations": []},
            {"type": "Patient", "secretForeignKeys": {}},
            {"type": "Patient", "encryptedSelf": 1},
            {"_deleted": True, "delegations": "a"},
            {"type": "Patient", "note": "x" * 7_999_990},
        ]
        for number, body in enumerate(good):
            assert ask("PUT", f"{url}/good-{number}", body)[0] in (200, 201), body
        for number, body in enumerate(bad):
            status, answer = ask("PUT", f"{url}/bad-{number}", body)
            assert (status, answer["error"]) in ((403, "forbidden"), (413, "document_too_large")), str(body)[:100]
        assert provision_database(url, Wish(validate=True)).index is State.UNCHANGED
    finally:
        ask("DELETE", url)


def test_a_hub_keeps_the_validation_function_and_says_that_it_does_nothing(hub: RunningHub) -> None:
    done = provision_database(f"{hub.database}-validated", Wish(validate=True))
    assert ["hub runs no JavaScript" in warning for warning in done.warnings] == [True]
    assert provision_database(f"{hub.database}-validated", Wish(require_valid_user=True)).warnings == ()


# The command


def test_a_person_is_shown_each_address_once(hub: RunningHub, tmp_path: Path) -> None:
    line, url = CommandLine(tmp_path), f"{hub.database}-shown"
    first = line.run("server", "provision", url, "--device", "ward", "--device", "desk")
    assert (first.code, first.err) == (0, "")
    created, ward, desk, note = first.out.splitlines()
    assert created == f"{hub.url}/clinic-shown is created."
    for text, name in ((ward, "ward"), (desk, "desk")):
        assert text.startswith(f"Device {name} syncs with http://{name}:")
        assert ask("GET", text.rpartition(" ")[2])[0] == 200
    assert "this once" in note
    second = line.run("server", "provision", url, "--device", "ward")
    assert second.out.splitlines()[0].endswith("was there already; nothing had to be changed.")
    assert "ward keeps its password" in second.out
    assert "a-long-password" not in first.out + second.out


@pytest.mark.parametrize("password", ["ü", "pass Ω", "\u65e5\u672c"])
def test_text_beyond_ascii_is_written_as_it_is(fresh: str, password: str) -> None:
    ask("PUT", fresh)
    others = {"admins": {"names": [], "roles": []}, "members": {"names": ["zoë"], "roles": ["Ärzte"]}}
    ask("PUT", f"{fresh}/_security", others)
    name = device_name()
    try:
        done = provision_database(fresh, Wish(devices=(name,), passwords=(password,)))
        assert (done.security, done.devices[0].state) == (State.UPDATED, State.CREATED)
        members = ask("GET", f"{fresh}/_security")[1]["members"]
        assert (members["names"], members["roles"][0]) == (["zoë"], "Ärzte")
        assert ask("GET", as_user(fresh, name, password))[0] == 200
    finally:
        drop_user(fresh, name)


@pytest.mark.parametrize("given", [True, False])
def test_a_password_that_was_set_is_shown_whatever_fails_afterwards(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    create, change = server_steps.new_user, server_steps.user
    failures = {"second": Forbidden("make a user", "no", "ask"), "third": TimedOut("make a user", "nothing", "wait")}

    def failing(write: Any) -> Any:
        def fails(link: Any, name: str, role: str, password: str | None) -> State:
            state: State = write(link, name, role, password)
            if name in failures:
                raise failures[name]
            return state

        return fails

    monkeypatch.setattr(server_steps, "new_user", failing(create))
    monkeypatch.setattr(server_steps, "user", failing(change))
    url = f"{hub.database}-half"
    for unlucky, shown in (("second", ["first"]), ("third", ["first", "third"])):
        arguments = ["server", "provision", url, "--reset-passwords", "--device", "first", "--device", unlucky]
        if given:
            monkeypatch.setattr("icure_sync.app.server.passwords_from_input", lambda _: ["one", "two"])
            arguments.append("--password-stdin")
        done = CommandLine(tmp_path).run(*arguments)
        assert (done.code, done.err.count("\n")) == (1, 1)
        addresses = [text.split()[4] for text in done.out.splitlines() if text.startswith("Device ")]
        assert [address.partition("//")[2].partition(":")[0] for address in addresses] == shown
        assert all(ask("GET", address)[0] == 200 for address in addresses)
        assert ("the server did not say" in done.out) == (unlucky == "third")
        done = CommandLine(tmp_path).run(*arguments, "--json")
        assert [(one["name"], len(one["password"]) > 0) for one in json.loads(done.out)["devices"]] == [
            (name, True) for name in shown
        ]


def test_a_device_that_gains_a_database_is_told_of(hub: RunningHub, tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    line.run("server", "provision", f"{hub.database}-one", "--device", "traveller")
    line.run("server", "provision", f"{hub.database}-two")
    gained = line.run("server", "provision", f"{hub.database}-two", "--device", "traveller").out.splitlines()
    assert gained[0].endswith("brought up to date: its devices.")
    assert gained[1].startswith("Device traveller may use it now, too, and keeps its password")
    again = line.run("server", "provision", f"{hub.database}-two", "--device", "traveller").out.splitlines()
    assert again[0].endswith("nothing had to be changed.")


def test_many_at_once_make_one_database_ready(fresh: str) -> None:
    name = device_name()
    try:
        with ThreadPoolExecutor(8) as pool:
            runs = list(pool.map(lambda _: provision_database(fresh, Wish(devices=(name,))), range(8)))
        passwords = [device.password for run in runs for device in run.devices if device.password is not None]
        assert len(passwords) == 1
        assert ask("GET", as_user(fresh, name, passwords[0]))[0] == 200
    finally:
        drop_user(fresh, name)


def test_a_script_reads_json_and_gives_passwords_on_standard_input(hub: RunningHub, tmp_path: Path) -> None:
    line, url = CommandLine(tmp_path), f"{hub.database}-scripted"
    command = ["icure-sync", "server", "provision", url, "--device", "s-one", "--device", "s-two", "--password-stdin"]

    def run(*more: str) -> str:
        text = "first word\nx/y@z:w\r\n"
        done = subprocess.run(
            [*command, *more], env=line.environment(), input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert json.loads(run("--json")) == {
        "database": f"{hub.url}/clinic-scripted",
        "created": True,
        "security": "updated",
        "index": "created",
        "devices": [
            {"name": "s-one", "state": "created", "password": "first word"},
            {"name": "s-two", "state": "created", "password": "x/y@z:w"},
        ],
        "settings": "unchanged",
        "warnings": [],
    }
    assert "http://s-two:x%2Fy%40z%3Aw@" in run("--reset-passwords")
    assert ask("GET", as_user(url, "s-two", "x/y@z:w"))[0] == 200


def test_passwords_that_lack_or_cannot_be_typed_are_refused(hub: RunningHub, tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    wrong = line.error("server", "provision", hub.database, "--device", "x", "--password-stdin")
    assert "password of x" in wrong


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "a b"),
        ("--device", "_admin"),
        ("--device", "a:b"),
        ("--password-stdin",),
        ("--reset-passwords",),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = CommandLine(tmp_path).run("server", "provision", "http://boss:x@127.0.0.1:1/clinic", *arguments)
    assert (done.code, done.out) == (2, "")


def test_names_that_are_no_device_and_databases_that_are_none(hub: RunningHub, tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    assert "administrator" in line.error("server", "provision", hub.database, "--device", ADMIN.partition(":")[0])
    assert "the server's own" in line.error("server", "provision", hub.database.replace("/clinic", "/_users"))


def test_the_login_need_not_stand_on_the_command_line(hub: RunningHub, tmp_path: Path) -> None:
    url = f"{hub.url}/clinic"
    known = CommandLine(tmp_path, variables={VARIABLE: ADMIN})
    assert known.json("server", "provision", url)["created"] is False
    wrong = CommandLine(tmp_path, variables={VARIABLE: "admin"})
    assert "user:password" in wrong.error("server", "provision", url)
    nothing = CommandLine(tmp_path).error("server", "provision", url.replace("//", "//admin@"))
    assert VARIABLE in nothing
    asked = typed(
        CommandLine(tmp_path),
        [(f"Password of admin on {hub.url}: ", ADMIN.partition(":")[2])],
        *("server", "provision", url.replace("//", "//admin@"), "--json"),
    )
    assert (asked.code, json.loads(asked.out)["created"]) == (0, False)
    assert "a-long-password" not in asked.err


def test_the_variable_speaks_for_its_own_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "boss:one:two")
    assert administrator("http://host", None).password == "one:two"
    assert administrator("http://host", Login("boss", "")).password == "one:two"
    assert administrator("http://host", Login("other", "typed")).password == "typed"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Unauthorized, match=VARIABLE):
        administrator("http://host", Login("other", ""))
    assert "one:two" not in repr(administrator("http://host", None))


# Servers that cannot be provisioned


async def provision(script: ScriptedServer, wish: Wish | None = None) -> Any:
    url = script.url.replace("//", "//boss:secret@") + "/clinic"
    return await asyncio.to_thread(provision_database, url, wish or Wish())


def ready(script: ScriptedServer) -> None:
    """As a CouchDB answers on which everything is there already."""
    script.on("GET /_session", STRANGER, BOSS)
    script.on("GET /_membership", MEMBERSHIP)
    script.on("GET /_node/_local/_config/chttpd", json_answer({"port": "5984"}))
    security = {"members": {"roles": ["icure-sync:clinic"]}, "admins": {"roles": ["_admin"]}}
    script.on("GET /clinic/_security", json_answer(security))
    script.on("GET /clinic/_design/icure_sync", json_answer(brought_up_to_date(None, validate=False)))


async def test_a_server_without_administrator_is_refused_before_anything_is_sent() -> None:
    async with ScriptedServer() as script:
        script.on("GET /_session", BOSS)
        with pytest.raises(Forbidden, match="no administrator"):
            await provision(script)
        assert [seen.headers.get("Authorization") for seen in script.seen] == [None]


async def test_an_account_that_is_no_administrator_is_told_so() -> None:
    async with ScriptedServer() as script:
        script.on("GET /_session", STRANGER, json_answer({"userCtx": {"name": "boss", "roles": ["nurse"]}}))
        with pytest.raises(Forbidden, match="boss is no administrator"):
            await provision(script)


async def test_a_wrong_password_is_sent_once() -> None:
    async with ScriptedServer() as script:
        refused = refusal(401, "unauthorized", "Name or password is incorrect.")
        script.on("GET /_session", STRANGER, refused)
        with pytest.raises(Unauthorized) as raised:
            await provision(script)
        assert "secret" not in str(raised.value)
        assert sum("Authorization" in seen.headers for seen in script.seen) == 1


async def test_a_locked_account_is_told_to_wait() -> None:
    async with ScriptedServer() as script:
        reason = "Account is temporarily locked due to multiple authentication failures"
        script.on("GET /_session", STRANGER, refusal(403, "forbidden", reason))
        with pytest.raises(Throttled, match="five minutes"):
            await provision(script)


@pytest.mark.parametrize(
    "answer",
    [
        raw_answer(b"<html>", content_type="text/html"),
        raw_answer(b"<html>" * 2000, status=404, content_type="text/html"),
        raw_answer(b"", status=200),
        raw_answer(b"{broken"),
        raw_answer(b"[]"),
        json_answer({"userCtx": {}}),
        refusal(500, "oops", "x" * 9000),
    ],
)
async def test_what_is_no_couchdb_is_told_from_one(answer: Any) -> None:
    async with ScriptedServer() as script:
        script.on("GET /_session", answer)
        with pytest.raises(BadAnswer):
            await provision(script)


async def test_the_password_follows_no_redirect() -> None:
    async with ScriptedServer() as elsewhere, ScriptedServer() as script:
        script.on("GET /_session", STRANGER, redirect(elsewhere.url + "/_session"))
        with pytest.raises(BadAnswer, match="sends elsewhere"):
            await provision(script)
        assert not elsewhere.seen


async def test_somebody_elses_change_at_the_same_time_is_not_overwritten() -> None:
    async with ScriptedServer() as script:
        ready(script)
        script.on("GET /clinic/_design/icure_sync", json_answer({"_id": "_design/icure_sync", "_rev": "1-a"}))
        conflict = refusal(409, "conflict", "Document update conflict.")
        script.on("PUT /clinic/_design/icure_sync", conflict)
        with pytest.raises(ConflictError, match="run it again"):
            await provision(script)


async def test_an_open_server_is_warned_of_and_its_settings_left_alone() -> None:
    async with ScriptedServer() as script:
        ready(script)
        done = await provision(script)
        assert ["strangers" in warning for warning in done.warnings] == [True]
        assert not any(seen.method == "PUT" for seen in script.seen)


async def test_a_server_that_hides_its_settings_is_no_hub() -> None:
    async with ScriptedServer() as script:
        ready(script)
        script.on("GET /_node/_local/_config/chttpd", refusal(403, "forbidden", "not for you"))
        assert ["strangers" in warning for warning in (await provision(script)).warnings] == [True]


async def test_the_proxy_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer() as script:
        ready(script)
        script.on("GET /clinic", json_answer({"db_name": "clinic"}))
        for variable in PROXY_VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("http_proxy", script.url.replace("//", "//user:p%40ss@"))
        done = await asyncio.to_thread(provision_database, "http://boss:secret@server.example:5984/clinic", Wish())
        assert done.database is State.UNCHANGED
        asked = script.last("GET /clinic")
        assert asked.headers["Host"] == "server.example:5984"
        assert asked.headers["Proxy-Authorization"] == "Basic " + b64encode(b"user:p@ss").decode()
        monkeypatch.setenv("no_proxy", "server.example")
        with pytest.raises(Unreachable, match="the server does not answer"):
            await asyncio.to_thread(provision_database, "http://boss:secret@server.example:5984/clinic", Wish())


@pytest.mark.parametrize(
    ("scheme", "answer", "kind", "words"),
    [
        ("http", b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", Unauthorized, "wants a user"),
        ("https", b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", Unauthorized, "wants a user"),
        ("http", b"HTTP/1.1 502 Down\r\nContent-Length: 0\r\n\r\n", Unreachable, "no connection.*502"),
        ("https", b"HTTP/1.1 502 Down\r\nContent-Length: 0\r\n\r\n", Unreachable, "no connection.*502"),
        ("http", None, Unreachable, "does not answer"),
        ("https", None, Unreachable, "does not answer"),
    ],
)
async def test_what_fails_at_the_proxy_is_said_of_the_proxy(
    monkeypatch: pytest.MonkeyPatch, scheme: str, answer: bytes | None, kind: type[PeerError], words: str
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer or b"")
        writer.close()
        await writer.wait_closed()

    for variable in PROXY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("all_proxy", address)
    async with listening:
        if answer is None:
            listening.close()
        url = f"{scheme}://boss:secret@server.example:5984/clinic"
        with pytest.raises(kind, match=f"proxy http://{address}.*{words}") as raised:
            await asyncio.to_thread(provision_database, url, Wish())
    assert "secret" not in str(raised.value)


async def test_a_closed_server_is_not_warned_of() -> None:
    async with ScriptedServer() as script:
        ready(script)
        nobody = refusal(401, "unauthorized", "Authentication required.")
        script.on("GET /_session", nobody, BOSS)
        assert (await provision(script)).warnings == ()


async def test_every_node_is_closed_when_that_is_asked_for() -> None:
    async with ScriptedServer() as script:
        ready(script)
        for node, value in (("n1", json_answer("true")), ("n2", json_answer("false"))):
            script.on(f"GET /_node/{node}/_config/chttpd/require_valid_user", value)
            script.on(f"PUT /_node/{node}/_config/chttpd/require_valid_user", json_answer("false"))
        done = await provision(script, Wish(require_valid_user=True))
        assert (done.settings, done.warnings) == (State.UPDATED, ())
        assert script.count("PUT /_node/n1/_config/chttpd/require_valid_user") == 0
        assert script.last("PUT /_node/n2/_config/chttpd/require_valid_user").body == b'"true"'


async def test_a_server_that_lets_nobody_set_it_says_so() -> None:
    async with ScriptedServer() as script:
        ready(script)
        with pytest.raises(Forbidden, match="does not let it be set"):
            await provision(script, Wish(require_valid_user=True))


async def test_a_couchdb_that_was_never_set_up_gets_its_users_database() -> None:
    async with ScriptedServer() as script:
        ready(script)
        script.on("PUT /_users", DONE)
        script.on("PUT /_users/org.couchdb.user:phone", DONE)
        missing = refusal(404, "not_found", "missing")
        user = json_answer({"name": "phone", "roles": ["icure-sync:clinic"]})
        script.on("GET /_users/org.couchdb.user:phone", missing, user)
        done = await provision(script, Wish(devices=("phone",), passwords=("typed-in",)))
        assert done.devices[0].state is State.CREATED
        sent = json.loads(script.last("PUT /_users/org.couchdb.user:phone").body)
        assert sent == {"name": "phone", "type": "user", "roles": ["icure-sync:clinic"], "password": "typed-in"}


def test_a_server_that_is_silent_or_speaks_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://boss:secret@127.0.0.1:{listener.getsockname()[1]}/clinic"

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(BadAnswer):
            provision_database(url, Wish())
        speaker.join()
        monkeypatch.setattr("icure_sync.app.server_link.TIMEOUT", 0.1)
        with pytest.raises(TimedOut):
            provision_database(url, Wish())


async def test_an_own_certificate_authority_is_named_by_its_file(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with Hub(tmp_path / "hub", host="localhost", admin=("boss", "a-long-secret"), tls=tls) as hub:
        url = f"https://boss:a-long-secret@localhost:{hub.port}/clinic"
        with pytest.raises(Unreachable, match="--ca"):
            await asyncio.to_thread(provision_database, url, Wish())
        done = await asyncio.to_thread(provision_database, url, Wish(), ca=str(certificate))
        assert (done.database, done.warnings) == (State.CREATED, ())
        with pytest.raises(InvalidEntity, match="PEM"):
            await asyncio.to_thread(provision_database, url, Wish(), ca=str(tmp_path / "missing.pem"))


async def test_plain_http_beyond_this_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer() as script:
        ready(script)
        monkeypatch.setattr("icure_sync.app.server._is_loopback", lambda _: False)
        assert any("https" in warning for warning in (await provision(script)).warnings)


def test_a_large_database_without_index_is_told_of_in_one_line() -> None:
    report = SyncReport(pulled=2, pushed=0, merged=0, undone=0, conflicts=0, refused=(), lacks_index=True)
    first, second = syncing.as_text(report).splitlines()
    assert first == "2 documents pulled, 0 pushed."
    assert second.endswith("icure-sync server provision URL")
    assert set(syncing.as_json(report)) == {"pulled", "pushed", "merged", "conflicts", "refused"}
