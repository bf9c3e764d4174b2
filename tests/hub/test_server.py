"""The hub's beginning and end: its folder, its key, its first administrator, where it listens, restarts."""

import asyncio
import stat
from pathlib import Path

import aiohttp
import pytest

from icure_sync.errors import StoreCorrupt, StoreError, StoreLocked, WrongPassphrase
from icure_sync.hub.server import Hub
from tests.hub.conftest import ADMIN


def login(name: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(name, password)}


async def ask(hub: Hub, method: str, path: str, **more: object) -> tuple[int, object]:
    more.setdefault("headers", login(*ADMIN))
    async with aiohttp.ClientSession() as session, session.request(method, hub.url + path, **more) as answer:
        return answer.status, await answer.json()


async def test_the_url_names_a_loopback_port_and_no_credentials(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        assert hub.url == f"http://127.0.0.1:{hub.port}"
        assert hub.port > 0
        assert hub.new_admin is None


async def test_the_first_administrator_is_made_up_and_shown_once(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub") as hub:
        assert hub.new_admin is not None
        name, password = hub.new_admin
        status, _ = await ask(hub, "GET", "/_all_dbs", headers=login(name, password))
        assert status == 200
    async with Hub(tmp_path / "hub") as hub:
        assert hub.new_admin is None
        status, _ = await ask(hub, "GET", "/_all_dbs", headers=login(name, password))
        assert status == 200


async def test_an_administrators_password_can_be_changed_from_outside(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=("root", "one")):
        pass
    async with Hub(tmp_path / "hub", admin=("root", "two")) as hub:
        assert (await ask(hub, "GET", "/_all_dbs", headers=login("root", "two")))[0] == 200
        assert (await ask(hub, "GET", "/_all_dbs", headers=login("root", "one")))[0] == 401


async def test_a_restart_keeps_databases_documents_users_and_seqs(tmp_path: Path) -> None:
    user = {"name": "ann", "password": "pw", "type": "user", "roles": []}
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        await ask(hub, "PUT", "/clinic%2Feast")
        await ask(hub, "PUT", "/clinic%2Feast/a", json={"v": 1})
        await ask(hub, "PUT", "/clinic%2Feast/_local/cp", json={"seq": 7})
        await ask(hub, "PUT", "/_users/org.couchdb.user:ann", json=user)
        await ask(hub, "PUT", "/clinic%2Feast/_security", json={"members": {"names": ["ann"]}})
        _, before = await ask(hub, "GET", "/clinic%2Feast")
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        assert (await ask(hub, "GET", "/_all_dbs"))[1] == ["_users", "clinic/east"]
        assert (await ask(hub, "GET", "/clinic%2Feast/a", headers=login("ann", "pw")))[1]["v"] == 1
        assert (await ask(hub, "GET", "/clinic%2Feast/_local/cp"))[1]["seq"] == 7
        _, after = await ask(hub, "GET", "/clinic%2Feast")
        assert {**after, "sizes": 0} == {**before, "sizes": 0}


async def test_two_databases_share_nothing(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        for name in ("one", "two"):
            await ask(hub, "PUT", f"/{name}")
        await ask(hub, "PUT", "/one/a", json={"v": 1})
        assert (await ask(hub, "GET", "/two/a"))[0] == 404
        seqs = [(await ask(hub, "GET", f"/{name}"))[1]["update_seq"] for name in ("one", "two")]
        assert seqs[0].partition("-")[2] != seqs[1].partition("-")[2]


async def test_a_database_made_anew_knows_nothing_of_the_old_one(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        await ask(hub, "PUT", "/one")
        await ask(hub, "PUT", "/one/a", json={"v": 1})
        _, old = await ask(hub, "GET", "/one/_changes")
        await ask(hub, "DELETE", "/one")
        await ask(hub, "PUT", "/one")
        await ask(hub, "PUT", "/one/b", json={"v": 2})
        _, new = await ask(hub, "GET", f"/one/_changes?since={old['last_seq']}")
        assert [row["id"] for row in new["results"]] == ["b"]
        names = [path.name for path in (tmp_path / "hub").iterdir() if path.name.startswith("one.")]
        assert len({name.split(".")[1] for name in names}) == 1


async def test_a_since_that_was_never_given_means_the_start(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        await ask(hub, "PUT", "/one")
        await ask(hub, "PUT", "/one/a", json={})
        _, feed = await ask(hub, "GET", "/one/_changes")
        ahead = "9" + feed["last_seq"]
        _, again = await ask(hub, "GET", f"/one/_changes?since={ahead}")
        assert [row["id"] for row in again["results"]] == ["a"]


async def test_files_are_the_owners_alone_and_hold_no_clear_text(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    async with Hub(folder, admin=ADMIN) as hub:
        await ask(hub, "PUT", "/one")
        await ask(hub, "PUT", "/one/a", json={"word": "canary-in-the-hub"})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert b"canary-in-the-hub" not in path.read_bytes()


async def test_a_passphrase_locks_the_hub(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN, passphrase="open sesame"):
        pass
    for wrong in ("close sesame", None):
        with pytest.raises(WrongPassphrase):
            await Hub(tmp_path / "hub", admin=ADMIN, passphrase=wrong).start()
    async with Hub(tmp_path / "hub", admin=ADMIN, passphrase="open sesame"):
        pass


async def test_a_passphrase_for_a_hub_without_one_is_refused(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN):
        pass
    with pytest.raises(StoreError, match="has no passphrase"):
        await Hub(tmp_path / "hub", admin=ADMIN, passphrase="open sesame").start()


async def test_a_damaged_key_file_is_named(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN):
        pass
    key = tmp_path / "hub" / "hub.key"
    key.write_bytes(key.read_bytes()[:40])
    with pytest.raises(StoreCorrupt, match=r"hub\.key"):
        await Hub(tmp_path / "hub", admin=ADMIN).start()


async def test_a_second_hub_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN):
        with pytest.raises(StoreLocked):
            await Hub(tmp_path / "hub", admin=ADMIN).start()


async def test_a_port_in_use_is_one_clear_error(tmp_path: Path) -> None:
    async with Hub(tmp_path / "one", admin=ADMIN) as hub:
        with pytest.raises(StoreError, match="listen on"):
            await Hub(tmp_path / "two", admin=ADMIN, port=hub.port).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "hub.example"])
def test_listening_elsewhere_than_loopback_needs_tls_or_a_flag(tmp_path: Path, host: str) -> None:
    with pytest.raises(StoreError, match="others could read passwords"):
        Hub(tmp_path / "hub", host=host)
    Hub(tmp_path / "hub", host=host, expose=True)


async def test_serving_for_ever_ends_when_the_hub_is_closed(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        serving = asyncio.create_task(hub.serve_forever())
    await serving


async def test_closing_ends_waiting_feeds_with_a_normal_last_line(tmp_path: Path) -> None:
    async with aiohttp.ClientSession(headers=login(*ADMIN)) as session:
        async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
            await ask(hub, "PUT", "/one")
            feed = await session.get(f"{hub.url}/one/_changes?feed=longpoll&heartbeat=10000")
        assert (await feed.json())["results"] == []


async def test_what_is_no_path_of_a_hub_is_not_found(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        for path in ("/_nosuch", "/_nosuch/x", "/nosuch", "/nosuch/a/b", "/_utils/", "/_users/nosuch"):
            assert (await ask(hub, "GET", path))[0] == 404, path
