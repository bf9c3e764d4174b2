"""No clear text of any record in the replica's files, on the wire, on the server's disk or in the logs."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest

from icure_sync.engine.replica import replica_over
from icure_sync.errors import IcureSyncError
from icure_sync.hub import Hub
from icure_sync.model import Address, Code, Contact, Content, Document, Form, HealthcareElement, Patient, Service
from icure_sync.peers.couch import CouchPeer
from icure_sync.store import Store
from tests import silence
from tests.silence import files_of, forms, unpacked

CANARIES = [f"canary{number:02d}zephyrine" for number in range(12)]
ADMIN = ("admin", "secretpassword-canary")
KEY = bytes(range(32))


@asynccontextmanager
async def listening_on(url: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A relay in front of a server, and everything that passed through it, in both directions."""
    server = urlsplit(url)
    heard: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = bytearray()
        heard.append(b"")
        place = len(heard) - 1
        while data := await reader.read(65536):
            passed += data
            heard[place] = bytes(passed)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(server.hostname, server.port)
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", heard


def assert_silent(data: bytes, where: str) -> None:
    silence.assert_silent(data, where, CANARIES)


def test_the_search_itself_finds_what_it_looks_for():
    for form in forms(CANARIES[0]):
        with pytest.raises(AssertionError):
            assert_silent(b"..." + form + b"...", "here")
    with pytest.raises(AssertionError):
        assert_silent(unpacked(b"head" + gzip.compress(CANARIES[0].encode())), "here")


async def test_no_clear_text_leaves_the_device_or_lies_on_a_disk(tmp_path, identities, caplog):
    caplog.set_level(logging.DEBUG)
    words = iter(CANARIES)
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub, listening_on(hub.url) as (address, heard):
        url = f"http://{ADMIN[0]}:{ADMIN[1]}@{address}/clinic"
        async with aiohttp.ClientSession() as session, session.put(url) as answer:
            assert answer.status == 201
        stores = [Store.open(tmp_path / f"{name}.db", KEY) for name in ("a", "b")]
        a, b = [
            await store.run(replica_over, store, identities[hcp])
            for store, hcp in zip(stores, ("hcp-a", "hcp-b"), strict=True)
        ]
        for replica in (a, b, a):
            await replica.sync(CouchPeer(url))
        john = await a.save(Patient(first_name=next(words), note=next(words), addresses=(Address(city=next(words)),)))
        service = Service(label=next(words), content={"en": Content(string_value=next(words))})
        await a.save(Contact(description=next(words), services=(service,)), patient=john)
        await a.save(Form(description=next(words)), patient=john)
        codes = (Code(type="ICD", code=next(words), version="1"),)
        await a.save(HealthcareElement(description=next(words), codes=codes), patient=john)
        letter = await a.save(Document(name=next(words)), patient=john)
        await a.attach(letter, CANARIES[-2], CANARIES[-1].encode() * 20_000)
        john = await a.save(john.replace(note=f"{CANARIES[1]} again"))
        assert [each.id async for each in a.search(CANARIES[1])] == [john.id]
        await a.share(john, with_="hcp-b", include_linked=True)
        await a.sync(CouchPeer(url))
        await b.sync(CouchPeer(url))
        seen = await b.get(Patient, john.id)
        assert seen.first_name == CANARIES[0]
        assert len([each async for each in b.contacts_of(seen)]) == 1
        with pytest.raises(IcureSyncError) as refused:
            await a.save(letter.replace(rev="1-" + "0" * 32, name=CANARIES[0]))
        assert_silent(f"{refused.value} {refused.value!r} {john!r} {service!r} {a!r}".encode(), "errors and reprs")
        for name, data in files_of(tmp_path):
            assert_silent(data, f"{name}, while it is in use")
        for store in stores:
            store.close()
    for name, data in files_of(tmp_path):
        assert_silent(data, name)
    assert sum(map(len, heard)) > 100_000
    for each in heard:
        assert_silent(unpacked(each), "what passed over the wire")
    assert_silent(caplog.text.encode(), "the logs")
    assert ADMIN[1] not in caplog.text
