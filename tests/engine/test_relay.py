"""The hub in front of a server: devices on both sides agree, and whatever is wrong with the server is told."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from icure_sync import Attachment, CouchPeer, Document, Hub, Patient
from icure_sync.engine.clock import Clock
from icure_sync.engine.relay import Relay, RelayState
from icure_sync.errors import InvalidEntity
from icure_sync.hub import Upstream
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from tests.engine.conftest import OpenReplica
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database

ADMIN = ("admin", "hub-pw-1")
NURSE = ("nurse", "nurse-pw-1")
LARGE = bytes(range(256)) * 10_000


def address(hub: Hub, name: str = "clinic", login: tuple[str, str] = ADMIN) -> str:
    return hub.url.replace("//", "//{}:{}@".format(*login)) + "/" + quote(name, safe="")


async def request(
    hub: Hub, method: str, path: str, body: Any = None, login: tuple[str, str] = ADMIN
) -> tuple[int, Any]:
    headers = {"Authorization": aiohttp.encode_basic_auth(*login)}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, hub.url + path, json=body) as answer,
    ):
        return answer.status, await answer.json()


@dataclass
class Heard:
    """What a relay said, and whether it has said something yet."""

    said: list[Upstream] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, upstream: Upstream) -> None:
        self.said.append(upstream)
        self.news.set()

    async def until(self, state: RelayState) -> Upstream:
        """The state is now this one, or will be."""
        while not self.said or self.said[-1].state != state:
            self.news.clear()
            await self.news.wait()
        return self.said[-1]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """What is on its way arrives."""
    while not await check():  # noqa: ASYNC110  (nothing tells a client of a server that something has come)
        await asyncio.sleep(0.02)


def brisk() -> Clock:
    """Pauses between attempts that nobody has to sit through."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))

    return Clock(sleep=sleep)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(tmp_path / "hub", admin=ADMIN) as running:
        yield running


@asynccontextmanager
async def other_hub(folder: Path, port: int = 0) -> AsyncIterator[Hub]:
    async with Hub(folder / "upstream", admin=ADMIN, port=port) as running:
        yield running


@pytest.fixture(params=("hub", *REAL_SERVERS))
async def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an empty database on another server."""
    if request.param == "hub":
        async with (
            other_hub(tmp_path) as server,
            fresh_database(server.url.replace("//", "//{}:{}@".format(*ADMIN))) as url,
        ):
            yield url
    else:
        async with fresh_database(request.getfixturevalue("couchdb_url")) as url:
            yield url


async def test_devices_on_the_hub_and_on_the_server_behind_it_agree(hub: Hub, upstream: str, open_replica: OpenReplica):
    near, far = await open_replica("hcp-a", "near"), await open_replica("hcp-a", "far")
    heard = Heard()
    old = await far.save(Patient(first_name="Old"))
    await far.sync(CouchPeer(upstream))
    async with Relay(hub, "clinic", upstream, report=heard.hear):
        await heard.until(RelayState.IN_SYNC)
        await near.sync(CouchPeer(address(hub)))
        assert (await near.get(Patient, old.id)).first_name == "Old"
        document = await near.save(Document(name="Scan"))
        await near.attach(document, "scan", LARGE)
        await near.sync(CouchPeer(address(hub)))
        waiting = CouchPeer(upstream)

        async def is_there() -> bool:
            await far.pull(waiting)
            return [each async for each in far.find(Attachment)] != []

        await until(is_there)
        (scan,) = [each async for each in far.attachments_of(await far.get(Document, document.id))]
        assert b"".join([piece async for piece in far.read_attachment(scan)]) == LARGE
        new = await far.save(old.replace(first_name="New"))
        await far.push(waiting)

        async def is_new() -> bool:
            await near.pull(CouchPeer(address(hub)))
            return (await near.get(Patient, old.id)).rev == new.rev

        await until(is_new)


async def test_a_file_that_is_kept_packed_goes_up_as_what_it_says(hub: Hub, upstream: str):
    await hub.database("clinic")
    packed = gzip.compress(LARGE)
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
    headers["Authorization"] = aiohttp.encode_basic_auth(*ADMIN)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.put(f"{hub.url}/clinic/a/f", data=packed) as answer,
    ):
        assert answer.status == 201
        first = (await answer.json())["rev"]
    heard = Heard()
    async with Relay(hub, "clinic", upstream, report=heard.hear), CouchPeer(upstream) as behind:
        await heard.until(RelayState.IN_SYNC)
        content = b"".join([piece async for piece in behind.attachment(DocId("a"), first, "f")])
    assert content == LARGE


async def test_a_live_device_hears_at_once_of_what_came_from_the_server_behind(
    hub: Hub, upstream: str, open_replica: OpenReplica
):
    near, far = await open_replica("hcp-a", "near"), await open_replica("hcp-a", "far")
    heard = Heard()
    async with Relay(hub, "clinic", upstream, report=heard.hear), near.live(CouchPeer(address(hub))) as live:
        await heard.until(RelayState.IN_SYNC)
        await live.caught_up()
        saved = await far.save(Patient(first_name="Far"))
        await far.push(CouchPeer(upstream))

        async def is_there() -> bool:
            return saved.id in {each.id async for each in near.find(Patient)}

        await until(is_there)


async def test_edits_on_both_sides_are_merged_and_shown_alike_on_both(
    hub: Hub, upstream: str, open_replica: OpenReplica
):
    near, far = await open_replica("hcp-a", "near"), await open_replica("hcp-a", "far")
    first = await near.save(Patient(first_name="First"))
    await near.push(CouchPeer(upstream))
    await far.pull(CouchPeer(upstream))
    await near.save(first.replace(first_name="Near"))
    await far.save((await far.get(Patient, first.id)).replace(first_name="Far"))
    await far.push(CouchPeer(upstream))
    heard = Heard()
    async with Relay(hub, "clinic", upstream, report=heard.hear):
        await heard.until(RelayState.IN_SYNC)
        await near.sync(CouchPeer(address(hub)))

        async def is_alike() -> bool:
            await far.pull(CouchPeer(upstream))
            seen = await far.get(Patient, first.id)
            names = {seen.first_name, *seen.alternatives.get("first_name", ())}
            return names == {"Near", "Far"} and seen == await near.get(Patient, first.id)

        await until(is_alike)


async def test_the_hub_keeps_its_own_rules_for_histories(hub: Hub, upstream: str):
    await hub.database("clinic")
    assert (await request(hub, "PUT", "/clinic/_revs_limit", 3))[0] == 200
    history = [rev(generation, 1) for generation in range(7, 0, -1)]
    async with CouchPeer(upstream) as behind:
        assert await behind.write([revision("a", *history)], MemoryPeer()) == []
    heard = Heard()
    async with Relay(hub, "clinic", upstream, report=heard.hear):
        await heard.until(RelayState.IN_SYNC)
        shown = (await request(hub, "GET", "/clinic/a?revs=true"))[1]
    assert (shown["_rev"], len(shown["_revisions"]["ids"])) == (rev(7, 1), 3)


async def test_what_was_written_before_the_relay_and_just_before_its_end_goes_up(
    hub: Hub, upstream: str, open_replica: OpenReplica
):
    near = await open_replica("hcp-a", "near")
    await hub.database("clinic")
    early = await near.save(Patient(first_name="Early"))
    await near.push(CouchPeer(address(hub)))
    heard = Heard()
    async with Relay(hub, "clinic", upstream, report=heard.hear):
        await heard.until(RelayState.IN_SYNC)
        late = await near.save(Patient(first_name="Late"))
        await near.push(CouchPeer(address(hub)))
    far = await open_replica("hcp-a", "far")
    await far.pull(CouchPeer(upstream))
    assert {early.id, late.id} <= {each.id async for each in far.find(Patient)}


@pytest.mark.parametrize("listens", [True, False])
async def test_a_trouble_is_said_once_to_whoever_listens_or_to_the_log(
    hub: Hub, caplog: pytest.LogCaptureFixture, listens: bool
):
    heard = Heard()
    with caplog.at_level("INFO", logger="icure_sync"):
        async with Relay(hub, "clinic", "http://127.0.0.1:1/clinic", report=heard.hear if listens else None) as relay:
            async with asyncio.timeout(10):
                while relay.state is not RelayState.WAITING:  # noqa: ASYNC110  (nobody tells of it here)
                    await asyncio.sleep(0.01)
    said = [record.getMessage() for record in caplog.records if "clinic" in record.getMessage()]
    assert (said == []) is listens


async def test_a_server_that_goes_and_comes_back_is_told_of_and_the_hub_serves_meanwhile(
    hub: Hub, tmp_path: Path, open_replica: OpenReplica
):
    near, far = await open_replica("hcp-a", "near"), await open_replica("hcp-a", "far")
    heard = Heard()
    async with other_hub(tmp_path) as server:
        await server.database("clinic")
        url, port = address(server), server.port
    async with Relay(hub, "clinic", url, report=heard.hear, clock=brisk()):
        told = await heard.until(RelayState.WAITING)
        assert "no connection" in told.trouble
        assert ADMIN[1] not in str(told)
        assert (await request(hub, "GET", "/_up"))[0] == 200
        saved = await near.save(Patient(first_name="Meanwhile"))
        await near.sync(CouchPeer(address(hub)))
        (shown,) = (await request(hub, "GET", "/_upstreams"))[1]["upstreams"]
        assert (shown["database"], shown["state"], shown["trouble"]) == ("clinic", "waiting", told.trouble)
        async with other_hub(tmp_path, port) as server:
            await heard.until(RelayState.IN_SYNC)
            (shown,) = (await request(hub, "GET", "/_upstreams"))[1]["upstreams"]
            assert (shown["state"], shown["trouble"], shown["refused"]) == ("in sync", "", [])
            await far.pull(CouchPeer(url))
            assert (await far.get(Patient, saved.id)).first_name == "Meanwhile"
        await heard.until(RelayState.WAITING)
    assert (await request(hub, "GET", "/_upstreams"))[1] == {"upstreams": []}


async def test_a_wrong_password_stops_it_and_says_so_and_is_not_sent_again(hub: Hub, tmp_path: Path):
    heard = Heard()
    async with other_hub(tmp_path) as server:
        await server.database("clinic")
        wrong = address(server, login=("admin", "wrong"))
        async with Relay(hub, "clinic", wrong, report=heard.hear, clock=brisk()) as relay:
            told = await heard.until(RelayState.STOPPED)
            assert "password" in told.trouble
            await asyncio.sleep(0.2)
            assert [each.state for each in heard.said].count(RelayState.STOPPED) == 1
            assert relay.state is RelayState.STOPPED
        async with Relay(hub, "clinic", address(server), report=heard.hear):  # the account was not locked
            await heard.until(RelayState.IN_SYNC)


async def test_a_database_that_is_not_there_yet_is_asked_for_again(hub: Hub, tmp_path: Path):
    heard = Heard()
    async with (
        other_hub(tmp_path) as server,
        Relay(hub, "clinic", address(server, "later"), report=heard.hear, clock=brisk()),
    ):
        assert "no database" in (await heard.until(RelayState.WAITING)).trouble
        await server.database("later")
        await heard.until(RelayState.IN_SYNC)


async def test_what_the_server_refuses_is_listed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A member may write no design documents: it is said with the next checkpoint, and the rest goes up."""
    monkeypatch.setattr("icure_sync.engine.attempt.LIVE_CHECKPOINT_SECONDS", 0.05)
    heard = Heard()
    async with other_hub(tmp_path) as server:
        await request(server, "PUT", "/clinic")
        user = {"name": NURSE[0], "password": NURSE[1], "roles": [], "type": "user"}
        await request(server, "PUT", f"/_users/org.couchdb.user:{NURSE[0]}", user)
        members = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [NURSE[0]], "roles": []}}
        await request(server, "PUT", "/clinic/_security", members)
        await hub.database("clinic")
        await request(hub, "PUT", "/clinic/_design/x", {"views": {}})
        await request(hub, "PUT", "/clinic/plain", {"n": 1})
        async with Relay(hub, "clinic", address(server, login=NURSE), report=heard.hear):
            await heard.until(RelayState.IN_SYNC)

            async def is_listed() -> bool:
                (shown,) = (await request(hub, "GET", "/_upstreams"))[1]["upstreams"]
                return [each["id"] for each in shown["refused"]] == ["_design/x"]

            await until(is_listed)
            assert (await request(server, "GET", "/clinic/plain"))[0] == 200


async def test_a_database_of_the_hub_that_is_deleted_is_taken_anew(hub: Hub, upstream: str, open_replica: OpenReplica):
    far = await open_replica("hcp-a", "far")
    saved = await far.save(Patient(first_name="Far"))
    await far.push(CouchPeer(upstream))
    heard = Heard()
    async with Relay(hub, "clinic", upstream, report=heard.hear):
        await heard.until(RelayState.IN_SYNC)
        assert (await request(hub, "DELETE", "/clinic"))[0] == 200

        async def is_back() -> bool:
            return (await request(hub, "GET", f"/clinic/{saved.id}"))[0] == 200

        await until(is_back)
    await far.pull(CouchPeer(upstream))
    assert (await far.get(Patient, saved.id)).first_name == "Far"


async def test_a_hub_that_closes_first_does_not_keep_it_busy(tmp_path: Path):
    heard = Heard()
    async with other_hub(tmp_path) as server, Hub(tmp_path / "hub", admin=ADMIN) as closing:
        await server.database("clinic")
        async with Relay(closing, "clinic", address(server), report=heard.hear):
            await heard.until(RelayState.IN_SYNC)
            await closing.close()
            assert "not running" in (await heard.until(RelayState.WAITING)).trouble


async def test_only_administrators_are_told_of_upstreams(hub: Hub):
    user = {"name": NURSE[0], "password": NURSE[1], "roles": [], "type": "user"}
    await request(hub, "PUT", f"/_users/org.couchdb.user:{NURSE[0]}", user)
    assert (await request(hub, "GET", "/_upstreams"))[0] == 200
    assert (await request(hub, "GET", "/_upstreams", login=NURSE))[0] in {401, 403}
    assert (await request(hub, "PUT", "/_upstreams"))[0] == 405


async def test_a_relay_that_cannot_begin_leaves_nothing_behind(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    async def fail(_: CouchPeer) -> CouchPeer:
        raise InvalidEntity("open the connection", "there are no certificates", "name some")

    url = "http://127.0.0.1:1/clinic"
    with monkeypatch.context() as broken:
        broken.setattr(CouchPeer, "__aenter__", fail)
        with pytest.raises(InvalidEntity, match="no certificates"):
            await Relay(hub, "clinic", url).__aenter__()
    assert (await request(hub, "GET", "/_upstreams"))[1] == {"upstreams": []}
    async with Relay(hub, "clinic", url):
        assert len((await request(hub, "GET", "/_upstreams"))[1]["upstreams"]) == 1


async def test_a_database_has_one_upstream_and_a_name_that_can_be_one(hub: Hub):
    url = "http://127.0.0.1:1/clinic"
    async with Relay(hub, "clinic", url):
        with pytest.raises(InvalidEntity, match="one already"):
            await Relay(hub, "clinic", url).__aenter__()
    with pytest.raises(InvalidEntity):
        await Relay(hub, "Not A Name", url).__aenter__()
    with pytest.raises(InvalidEntity):
        Relay(hub, "clinic", "clinic.example")
