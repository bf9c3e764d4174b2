"""The hub's beginning and end: its folder, its key, its first administrator, where it listens, restarts."""

import datetime as dt
import io
import ssl
import stat
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from icure_sync.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, WrongPassphrase
from icure_sync.hub.server import Hub
from icure_sync.store.indexes import Indexes
from tests.hub.conftest import ADMIN

DAY = dt.timedelta(days=1)


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


async def test_a_damaged_database_is_told_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        for name in ("one", "two"):
            await ask(hub, "PUT", f"/{name}")
            await ask(hub, "PUT", f"/{name}/a", json={})
    (path,) = (tmp_path / "hub").glob("one.*.db")
    path.write_bytes(bytes(path.stat().st_size))
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        status, answer = await ask(hub, "GET", "/one/a")
        assert (status, answer["error"]) == (500, "file_corruption")
        assert "cannot open the store" in caplog.text
        assert (await ask(hub, "GET", "/two/a"))[0] == 200


async def test_a_database_that_could_not_be_opened_for_a_moment_can_be_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        await ask(hub, "PUT", "/clinic")

    def full(*_: object) -> None:
        raise StoreFull("write", "there is no room on the disk", "free some")

    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        with monkeypatch.context() as patch:
            patch.setattr(Indexes, "set_rules", full)
            assert (await ask(hub, "GET", "/clinic"))[0] == 507
        assert (await ask(hub, "GET", "/clinic"))[0] == 200


async def test_an_answer_that_cannot_be_finished_is_cut_not_shortened(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub, aiohttp.ClientSession(headers=login(*ADMIN)) as session:
        await ask(hub, "PUT", "/one")
        await ask(hub, "PUT", "/one/a/f", data=io.BytesIO(bytes(40 * 2**20)))
        async with session.get(f"{hub.url}/one/_all_docs?include_docs=true&attachments=true") as answer:
            await answer.content.readany()
            await ask(hub, "DELETE", "/one")
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


async def test_a_hub_speaks_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    async with Hub(tmp_path / "hub", admin=ADMIN, host="localhost", tls=server) as hub:
        assert hub.url.startswith("https://localhost:")
        async with aiohttp.ClientSession() as session:
            body = {"name": ADMIN[0], "password": ADMIN[1]}
            async with session.post(hub.url + "/_session", json=body, ssl=client) as answer:
                assert "Secure" in answer.headers["Set-Cookie"]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@pytest.mark.parametrize("name", ["a" * 238, "b" * 230, "c" + "%2F" * 81, "d" * 101])
async def test_every_legal_name_can_be_a_databases(tmp_path: Path, name: str) -> None:
    plain = unquote(name)
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        assert (await ask(hub, "PUT", f"/{name}"))[0] == 201
        assert (await ask(hub, "PUT", f"/{name}"))[0] == 412
        assert (await ask(hub, "PUT", f"/{name}/a", json={"v": 1}))[0] == 201
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        assert (await ask(hub, "GET", "/_all_dbs"))[1] == ["_users", plain]
        assert (await ask(hub, "GET", f"/{name}"))[1]["db_name"] == plain
        assert (await ask(hub, "GET", f"/{name}/a"))[0] == 200
        assert (await ask(hub, "DELETE", f"/{name}"))[0] == 200
        assert (await ask(hub, "GET", "/_all_dbs"))[1] == ["_users"]
        assert len(list((tmp_path / "hub").glob("*.db"))) == 1


async def test_a_longer_name_is_refused(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        status, answer = await ask(hub, "PUT", "/" + "a" * 239)
        assert (status, answer["error"]) == (400, "database_name_too_long")


async def test_a_damaged_database_of_a_long_name_is_told_to_who_asks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "a" * 238
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        await ask(hub, "PUT", f"/{name}")
    (path,) = (tmp_path / "hub").glob("~*.db")
    path.write_bytes(bytes(path.stat().st_size))
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        assert "cannot open the store" in caplog.text
        assert (await ask(hub, "GET", "/_all_dbs"))[1] == ["_users"]
        assert (await ask(hub, "GET", f"/{name}"))[1]["error"] == "file_corruption"
        assert (await ask(hub, "PUT", f"/{name}"))[0] == 412


async def test_the_file_of_a_long_name_is_not_opened_by_its_own_name(tmp_path: Path) -> None:
    name = "a" * 238
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        await ask(hub, "PUT", f"/{name}")
    (path,) = (tmp_path / "hub").glob("~*.db")
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        assert (await ask(hub, "GET", "/" + path.name.partition(".")[0]))[0] == 404
        assert (await ask(hub, "GET", f"/{name}"))[1]["db_name"] == name
        assert (await ask(hub, "GET", "/_all_dbs"))[1] == ["_users", name]


async def test_what_is_no_name_is_no_database(tmp_path: Path) -> None:
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        keys = [[1], {"a": 1}, 5, None, "nosuch"]
        status, rows = await ask(hub, "POST", "/_dbs_info", json={"keys": keys})
        assert (status, rows) == (200, [{"key": key, "error": "not_found"} for key in keys])
