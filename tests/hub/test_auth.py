"""Who gets in: Basic, cookies, lock-outs, users and their documents, members and administrators of a database."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from icure_sync.hub import auth, passwords
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.limits import FAILURES_BEFORE_LOCK, LOCK_ENTRIES, LOCK_SECONDS, SESSION_SECONDS
from icure_sync.hub.passwords import Lockout, PasswordHash
from icure_sync.hub.server import Hub
from tests.hub.conftest import ADMIN, Browser

PRIVATE = {"members": {"names": ["ann"], "roles": ["nurses"]}, "admins": {"names": ["boss"]}}


async def test_a_new_database_admits_administrators_only(browse: Browser, clinic: str) -> None:
    ann = await browse.make_user("ann", "pw")
    assert (await browse("GET", clinic, auth=ann)).status == 403
    assert (await browse("GET", clinic, auth=None)).status == 401
    assert (await browse("GET", clinic)).status == 200


async def test_members_by_name_or_role_read_and_write_documents(browse: Browser, clinic: str) -> None:
    ann, joe = await browse.make_user("ann", "pw"), await browse.make_user("joe", "pw", "nurses")
    await browse("PUT", f"{clinic}/_security", PRIVATE)
    for who in (ann, joe):
        assert (await browse("PUT", f"{clinic}/{who[0]}", {}, auth=who)).status == 201
        assert (await browse("GET", f"{clinic}/_all_docs", auth=who)).status == 200


async def test_members_neither_write_design_documents_nor_settings(browse: Browser, clinic: str) -> None:
    ann = await browse.make_user("ann", "pw")
    await browse("PUT", f"{clinic}/_security", PRIVATE)
    for method, path, body in (
        ("PUT", "/_design/d", {}),
        ("POST", "", {"_id": "_design/d"}),
        ("PUT", "/_design/d/attachment", {}),
        ("PUT", "/_security", {}),
        ("PUT", "/_revs_limit", 5),
        ("POST", "/_compact", {}),
        ("DELETE", "", None),
    ):
        assert (await browse(method, clinic + path, body, auth=ann)).status in {401, 403}, (method, path)
    assert (await browse("GET", f"{clinic}/_design/d")).status == 404


async def test_a_members_design_document_does_not_keep_the_rest_of_his_batch_out(browse: Browser, clinic: str) -> None:
    ann = await browse.make_user("ann", "pw")
    await browse("PUT", f"{clinic}/_security", PRIVATE)
    edits = {"docs": [{"_id": "a"}, {"_id": "_design/d"}, {"_id": "_local/cp"}, {"_id": "b"}]}
    rows = (await browse("POST", f"{clinic}/_bulk_docs", edits, auth=ann)).json
    assert [(row["id"], row.get("error")) for row in rows] == [
        ("a", None),
        ("_design/d", "forbidden"),
        ("_local/cp", None),
        ("b", None),
    ]
    docs = [{"_id": "_design/d", "_rev": "1-a"}, {"_id": "c", "_rev": "1-c"}]
    rows = (await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs}, auth=ann)).json
    assert [(row["id"], row["rev"], row["error"]) for row in rows] == [("_design/d", "1-a", "forbidden")]
    listed = (await browse("GET", f"{clinic}/_all_docs")).json["rows"]
    assert [row["id"] for row in listed] == ["a", "b", "c"]


async def test_a_malformed_user_does_not_keep_the_others_out(browse: Browser) -> None:
    def user(name: str) -> dict[str, object]:
        return {"_id": f"org.couchdb.user:{name}", "name": name, "type": "user", "roles": [], "password": name}

    rows = (await browse("POST", "/_users/_bulk_docs", {"docs": [user("ann"), user("bob") | {"type": "x"}]})).json
    assert [row.get("error") for row in rows] == [None, "forbidden"]
    assert (await browse("GET", "/_session", auth=("ann", "ann"))).status == 200


async def test_guesses_at_once_are_counted_like_guesses_in_turn(browse: Browser) -> None:
    ann = await browse.make_user("ann", "right")
    guesses = [("ann", f"wrong {number}") for number in range(15)]
    answers = await asyncio.gather(*(browse("GET", "/_session", auth=guess) for guess in [*guesses, ann]))
    assert [answer.status for answer in answers].count(401) == FAILURES_BEFORE_LOCK
    assert answers[-1].status == 403


async def test_many_first_requests_at_once_with_the_right_password_all_get_in(browse: Browser) -> None:
    ann = await browse.make_user("ann", "right")
    answers = await asyncio.gather(*(browse("GET", "/_session", auth=ann) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}


async def test_administrators_of_a_database_change_its_settings_but_do_not_delete_it(
    browse: Browser, clinic: str
) -> None:
    boss = await browse.make_user("boss", "pw")
    await browse("PUT", f"{clinic}/_security", PRIVATE)
    assert (await browse("PUT", f"{clinic}/_design/d", {"language": "query"}, auth=boss)).status == 201
    assert (await browse("PUT", f"{clinic}/_security", PRIVATE, auth=boss)).status == 200
    assert (await browse("DELETE", clinic, auth=boss)).status == 401
    assert (await browse("PUT", "/another", auth=boss)).status == 401


@pytest.mark.parametrize("security", [[], {"members": []}, {"admins": {"names": "ann"}}, {"members": {"roles": [1]}}])
async def test_what_is_no_security_object_changes_nothing(browse: Browser, clinic: str, security: object) -> None:
    assert (await browse("PUT", f"{clinic}/_security", security)).status == 400
    assert (await browse("GET", f"{clinic}/_security")).json["members"] == {"roles": ["_admin"]}


async def test_nobody_gets_in_without_a_name_even_where_members_are_not_listed(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/_security", {})
    assert (await browse("GET", f"{clinic}/_all_docs", auth=None)).status == 401
    ann = await browse.make_user("ann", "pw")
    assert (await browse("GET", f"{clinic}/_all_docs", auth=ann)).status == 200


async def test_a_login_cookie_stands_for_the_password(browse: Browser, clinic: str) -> None:
    name, password = ADMIN
    answer = await browse("POST", "/_session", {"name": name, "password": password}, auth=None)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    assert (await browse("GET", clinic, auth=None, headers=headers)).status == 200
    session = (await browse("GET", "/_session", auth=None, headers=headers)).json
    assert session["userCtx"] == {"name": name, "roles": ["_admin"]}
    assert session["info"]["authenticated"] == "cookie"


async def test_a_login_ends_after_its_time_and_lasts_while_it_is_used(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, password = ADMIN
    now = 1_000_000.0
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: now))
    answer = await browse("POST", "/_session", {"name": name, "password": password}, auth=None)
    headers = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    now += SESSION_SECONDS / 2
    renewed = await browse("GET", clinic, auth=None, headers=headers)
    fresh = {"Cookie": renewed.headers["Set-Cookie"].partition(";")[0]}
    now += SESSION_SECONDS / 2 + 2
    assert (await browse("GET", clinic, auth=None, headers=headers)).status == 401
    assert (await browse("GET", clinic, auth=None, headers=fresh)).status == 200


async def test_a_forged_cookie_is_nobodys(browse: Browser, clinic: str) -> None:
    name, password = ADMIN
    answer = await browse("POST", "/_session", {"name": name, "password": password}, auth=None)
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    forged = cookie[:-2] + ("AA" if cookie[-2:] != "AA" else "BB")
    assert (await browse("GET", clinic, auth=None, headers={"Cookie": forged})).status == 401
    session = await browse("GET", "/_session", auth=None, headers={"Cookie": forged})
    assert session.json["userCtx"]["name"] is None


async def test_a_changed_password_ends_the_old_logins(browse: Browser) -> None:
    ann = await browse.make_user("ann", "old")
    answer = await browse("POST", "/_session", {"name": "ann", "password": "old"}, auth=None)
    headers = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    own = (await browse("GET", "/_users/org.couchdb.user:ann", auth=ann)).json
    assert (await browse("PUT", "/_users/org.couchdb.user:ann", {**own, "password": "new"}, auth=ann)).status == 201
    assert (await browse("GET", "/_session", auth=ann)).status == 401
    assert (await browse("GET", "/_session", auth=("ann", "new"))).json["userCtx"]["name"] == "ann"
    session = await browse("GET", "/_session", auth=None, headers=headers)
    assert session.json["userCtx"]["name"] is None


async def test_passwords_are_stored_as_hashes_only(browse: Browser) -> None:
    await browse.make_user("ann", "a secret word")
    stored = (await browse("GET", "/_users/org.couchdb.user:ann")).json
    assert "password" not in stored
    assert "a secret word" not in str(stored)
    assert stored["password_scheme"] == "pbkdf2"
    bulk = {"docs": [{**stored, "_id": "org.couchdb.user:bob", "name": "bob", "password": "b", "_rev": None}]}
    bulk["docs"][0].pop("_rev")
    await browse("POST", "/_users/_bulk_docs", bulk)
    assert "password" not in (await browse("GET", "/_users/org.couchdb.user:bob")).json
    assert (await browse("GET", "/_session", auth=("bob", "b"))).status == 200


async def test_a_user_sees_and_changes_himself_only(browse: Browser) -> None:
    ann, bob = await browse.make_user("ann", "a"), await browse.make_user("bob", "b")
    own = (await browse("GET", "/_users/org.couchdb.user:ann", auth=ann)).json
    assert own["name"] == "ann"
    promoted = {**own, "roles": ["nurses"]}
    for method, path, body, who in (
        ("GET", "/org.couchdb.user:ann", None, bob),
        ("PUT", "/org.couchdb.user:ann", own, bob),
        ("PUT", "/org.couchdb.user:ann", promoted, ann),
        ("PUT", "/org.couchdb.user:eve", {"name": "eve", "type": "user", "roles": [], "password": "e"}, ann),
        ("GET", "/_all_docs", None, ann),
        ("GET", "/_changes", None, ann),
        ("POST", "/_bulk_get", {"docs": [{"id": "org.couchdb.user:bob"}]}, ann),
        ("POST", "/_bulk_docs", {"docs": [promoted]}, ann),
        ("DELETE", f"/org.couchdb.user:ann?rev={own['_rev']}", None, ann),
        ("PUT", "/_security", {}, ann),
    ):
        answer = await browse(method, f"/_users{path}", body, auth=who)
        assert answer.status in {401, 403, 404, 405}, (method, path, answer.status)


async def test_a_user_brings_no_revision_of_himself_that_outlives_his_deletion(browse: Browser) -> None:
    ann = await browse.make_user("ann", "a")
    path = "/_users/org.couchdb.user:ann"
    own = (await browse("GET", path, auth=ann)).json
    grafted = await browse("PUT", f"{path}?new_edits=false", {**own, "_rev": "1-0000aaaa"}, auth=ann)
    assert grafted.status == 403
    await browse("DELETE", f"{path}?rev={own['_rev']}")
    assert (await browse("GET", "/_session", auth=ann)).status == 401


async def test_a_user_who_is_deleted_while_he_changes_himself_stays_deleted(
    browse: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await browse.make_user("ann", "a")
    path = "/_users/org.couchdb.user:ann"
    own = (await browse("GET", path, auth=ann)).json
    hashing, deleted = asyncio.Event(), threading.Event()
    loop, hash_of = asyncio.get_running_loop(), PasswordHash.of

    def slow(*given: Any) -> PasswordHash:
        loop.call_soon_threadsafe(hashing.set)
        deleted.wait()
        return hash_of(*given)

    monkeypatch.setattr(PasswordHash, "of", slow)
    fresh = {"name": "ann", "type": "user", "roles": [], "password": "new"}
    changing = asyncio.create_task(browse("PUT", path, fresh, auth=ann))
    waiting = asyncio.create_task(hashing.wait())
    await asyncio.wait({changing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    await browse("DELETE", f"{path}?rev={own['_rev']}")
    deleted.set()
    assert (await changing).status == 409
    waiting.cancel()
    assert (await browse("GET", path)).json["reason"] == "deleted"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "person"},
        {"name": "other"},
        {"roles": "nurses"},
        {"roles": ["_admin"]},
        {"roles": [1]},
        {"password": 5},
    ],
)
async def test_a_user_document_has_its_form(browse: Browser, change: dict[str, object]) -> None:
    user = {"name": "ann", "type": "user", "roles": [], "password": "pw", **change}
    assert (await browse("PUT", "/_users/org.couchdb.user:ann", user)).status == 403


async def test_wrong_passwords_lock_a_name_out_the_right_one_included(browse: Browser) -> None:
    ann, bob = await browse.make_user("ann", "a"), await browse.make_user("bob", "b")
    for _ in range(FAILURES_BEFORE_LOCK):
        assert (await browse("GET", "/_session", auth=("ann", "wrong"))).status == 401
    assert (await browse("GET", "/_session", auth=ann)).status == 403
    assert (await browse("GET", "/_session", auth=bob)).status == 200


def test_a_lock_is_for_one_address_and_opens_after_its_time() -> None:
    now = 0.0
    lockout = Lockout(lambda: now)
    for _ in range(FAILURES_BEFORE_LOCK):
        lockout.failed("ann", "192.0.2.1")
    lockout.check("ann", "192.0.2.2")
    with pytest.raises(HttpRefusal, match="temporarily locked"):
        lockout.check("ann", "192.0.2.1")
    now = LOCK_SECONDS + 1
    lockout.check("ann", "192.0.2.1")


def test_strangers_do_not_fill_the_memory() -> None:
    lockout = Lockout(lambda: 0.0)
    for number in range(LOCK_ENTRIES + 10):
        lockout.failed(f"stranger {number}", "192.0.2.1")
    assert len(lockout._failures) == LOCK_ENTRIES


async def test_a_right_password_forgives_the_wrong_ones_before(browse: Browser) -> None:
    ann = await browse.make_user("ann", "a")
    for _ in range(3):
        for _ in range(FAILURES_BEFORE_LOCK - 1):
            assert (await browse("GET", "/_session", auth=("ann", "wrong"))).status == 401
        assert (await browse("GET", "/_session", auth=ann)).status == 200


@pytest.mark.parametrize("credentials", ["Basic", "Basic !!!", "Basic bm9jb2xvbg=="])
async def test_malformed_credentials_are_a_bad_request(browse: Browser, credentials: str) -> None:
    assert (await browse("GET", "/_session", auth=None, headers={"Authorization": credentials})).status == 400


async def test_logs_hold_no_credentials_and_no_bodies(
    browse: Browser, clinic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="icure_sync")
    headers = {"Authorization": aiohttp.encode_basic_auth(*ADMIN), "Cookie": "AuthSession="}
    await browse("PUT", f"{clinic}/a?rev=1-canary", {"v": "canary"}, auth=None, headers=headers)
    await browse("POST", "/_session", {"name": ADMIN[0], "password": ADMIN[1]})
    assert "PUT /clinic/a" in caplog.text
    for secret in ("canary", ADMIN[1], headers["Authorization"]):
        assert secret not in caplog.text


async def test_a_malformed_request_is_not_quoted_in_the_log(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    for request in (
        b"GET / HTTP/1.1\r\nAuthorization: Basic canary\x00\r\n\r\n",
        b"canary " + b"x" * 20_000 + b"\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(request)
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert "Error handling request" in caplog.text
    assert "canary" not in caplog.text


def test_a_hash_fits_its_password_only() -> None:
    stored = PasswordHash.of("open sesame", 1_000, bytes)
    assert stored.fits("open sesame")
    assert not stored.fits("open sesame ")
    assert PasswordHash.from_members(stored.to_members()) == stored


def test_a_hash_that_couchdb_wrote_is_understood() -> None:
    members = {
        "password_scheme": "pbkdf2",
        "pbkdf2_prf": "sha256",
        "iterations": 10_000,
        "salt": "0" * 32,
        "derived_key": passwords.hashlib.pbkdf2_hmac("sha256", b"pw", b"0" * 32, 10_000).hex(),
    }
    stored = PasswordHash.from_members(members)
    assert stored is not None
    assert stored.fits("pw")


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 1},
        {"iterations": 10**9},
        {"derived_key": "zz"},
        {"derived_key": "00"},
        {"pbkdf2_prf": "md5"},
        {"password_scheme": "simple"},
    ],
)
def test_a_stored_hash_that_cannot_be_believed_lets_nobody_in(change: dict[str, object]) -> None:
    members = PasswordHash.of("pw", 1_000, bytes).to_members()
    assert PasswordHash.from_members({**members, **change}) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"type": "other"}, "doc.type must be user"),
        ({"name": None}, "doc.name is required"),
        ({"name": ""}, "doc.name is required"),
        ({"name": "zoe"}, "Doc ID must be of the form org.couchdb.user:name"),
        ({"name": 5}, "Doc ID must be of the form org.couchdb.user:name"),
        ({"roles": None}, "doc.roles must exist"),
        ({"roles": "x"}, "doc.roles must be an array"),
        ({"roles": [1]}, "doc.roles can only contain strings"),
        ({"roles": ["_admin"]}, "No system roles (starting with underscore) in users db."),
        ({"password": 5}, "Password value of '5' is invalid."),
    ],
)
async def test_administrators_too_store_nothing_but_users_in_the_users_database(
    browse: Browser, changed: dict[str, object], reason: str
) -> None:
    body = {"name": "ann", "type": "user", "roles": [], "password": "a long one", **changed}
    answer = await browse("PUT", "/_users/org.couchdb.user:ann", body)
    assert (answer.status, answer.json) == (403, {"error": "forbidden", "reason": reason})


async def test_other_documents_than_users_and_designs_are_kept_out_of_the_users_database(browse: Browser) -> None:
    for doc_id, body, reason in (
        ("foo", {"x": 1}, "doc.type must be user"),
        (
            "foo",
            {"name": "foo", "type": "user", "roles": []},
            "Doc ID must be of the form org.couchdb.user:name",
        ),
        (
            "org.couchdb.user:a:b",
            {"name": "a:b", "type": "user", "roles": []},
            "Character `:` is not allowed in usernames.",
        ),
        (
            "org.couchdb.user:_ann",
            {"name": "_ann", "type": "user", "roles": []},
            "Username may not start with underscore.",
        ),
    ):
        answer = await browse("PUT", f"/_users/{doc_id}", body)
        assert (answer.status, answer.json["reason"]) == (403, reason)
    assert (await browse("POST", "/_users", {"x": 1})).status == 403
    rows = (await browse("POST", "/_users/_bulk_docs", {"docs": [{"_id": "foo"}]})).json
    assert [(row["id"], row["error"]) for row in rows] == [("foo", "forbidden")]
    assert (await browse("PUT", "/_users/_design/mine", {})).status == 201
