"""No plaintext, key, passphrase or password in logs, errors, reprs and tracebacks, whatever goes wrong.

Every logger of the process is listened to, the event loop's in debug mode too, and errors are logged as an application
would: with their tracebacks, by a logger that nobody has made discreet.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import io
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import Replica
from icure_sync.errors import IcureSyncError
from icure_sync.hub import Hub
from icure_sync.hub import server as hub_server
from icure_sync.hub.limits import MIN_PASSWORD_ROUNDS
from icure_sync.model import Address, Contact, Content, Document, Patient, Service
from icure_sync.peers.couch import CouchPeer
from icure_sync.store.keyfile import unlock_key
from tests.keys import PARTY_KEYS
from tests.servers import change_database
from tests.silence import assert_silent

WORDS = [f"canary{number:02d}zephyrine" for number in range(24)]
PASSWORD, WRONG_PASSWORD, PASSPHRASE, WRONG_PASSPHRASE, HUB_PASSPHRASE = (
    f"{kind}-{hashlib.sha256(kind.encode()).hexdigest()[:10]}" for kind in ("pw", "wp", "pp", "wpp", "hpp")
)


class Heard:
    """All that was logged, as text, and all that was raised, in every way in which that is shown."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.handler = logging.StreamHandler(self.log)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(args)s"))
        self.errors: list[str] = []

    async def failing(self, call: Callable[[], Awaitable[object]]) -> None:
        """Do what must fail, and log it as an application does."""
        try:
            await call()
        except (IcureSyncError, TypeError, ValueError) as error:
            logging.getLogger("an.application").exception("it failed: %r", error)  # noqa: TRY401  # as people do
            self.errors += [str(error), repr(error), repr(error.args), "".join(traceback.format_exception(error))]
            self.errors += [repr(vars(error))]
        else:
            pytest.fail("it did not fail")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    monkeypatch.setattr("hashlib.scrypt", functools.cache(hashlib.scrypt))
    monkeypatch.setattr(hub_server, "PASSWORD_ROUNDS", MIN_PASSWORD_ROUNDS)
    everything = Heard()
    root = logging.getLogger()
    before = root.level
    root.addHandler(everything.handler)
    root.setLevel(logging.DEBUG)
    yield everything
    root.removeHandler(everything.handler)
    root.setLevel(before)


@pytest.fixture
async def _talkative_loop() -> AsyncIterator[None]:
    """Every callback counts as slow, and is logged with what it was given."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    yield
    loop.set_debug(False)


async def listed(found: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in found]


def identity_of(hcp_id: str) -> Identity:
    return Identity.from_private_key(hcp_id, bytes.fromhex(PARTY_KEYS[hcp_id]), name=f"Practice {hcp_id}")


def keys_of(identity: Identity, folder: Path) -> list[bytes]:
    """The secret keys of an Hcp and of its replica, and their beginnings: reprs are cut short."""
    database = unlock_key(folder / f"{identity.hcp_id}.db", PASSPHRASE)
    keys = [identity.self_key, identity.signing_key.seed(), identity.party_key.pkcs8()[-400:], database]
    return [*keys, *(key[:10] for key in keys)]


async def written(replica: Replica, words: Iterator[str]) -> tuple[Patient, Document]:
    """A chart, every text of which is a word."""
    john = await replica.save(Patient(first_name=next(words), note=next(words), addresses=(Address(city=next(words)),)))
    service = Service(label=next(words), content={"en": Content(string_value=next(words))})
    await replica.save(Contact(description=next(words), services=(service,)), patient=john)
    letter = await replica.save(Document(name=next(words)), patient=john)
    await replica.attach(letter, next(words), next(words).encode() * 1_000)
    return john, letter


async def mistakes(heard: Heard, replica: Replica, john: Patient, letter: Document, words: Iterator[str]) -> None:
    """What people and applications do wrong with a record in their hands."""
    failing, word = heard.failing, next(words)
    await failing(lambda: replica.save(john.replace(rev="1-" + "0" * 32, note=word)))
    await failing(lambda: replica.save(Patient(date_of_birth=word)))
    await failing(lambda: replica.save(Patient(first_name=[word])))
    await failing(lambda: replica.save(Patient(first_name=f"{word}\ud800")))
    await failing(lambda: replica.save(Patient(addresses=({"city": word},))))
    await failing(lambda: replica.save(Patient(addresses=(word,))))
    await failing(lambda: replica.save({"first_name": word}))
    await failing(lambda: replica.save(john.replace(gender=object())))
    await failing(lambda: replica.save(Contact(description=word), patient=letter, document=letter))
    await failing(lambda: replica.resolve(john, {"note": word}))
    await failing(lambda: replica.resolve(john, word))
    await failing(lambda: replica.share(john, with_=f"{word} is no id"))
    await failing(lambda: replica.attach(letter.replace(id="0" * 32), word, word.encode()))
    await failing(lambda: replica.attach(letter, word, word))  # text, where bytes are wanted
    await failing(lambda: replica.attach(letter, f"{word}\ud800", word.encode()))
    await failing(lambda: replica.keep_setting("server", {word: {word}}))
    await failing(lambda: replica.get(Document, john.id))
    for text in (f'"{word}', f"{word} AND (", f"{word}*:^", f"{word}\0"):
        await listed(replica.search(text))


async def tampered(url: str, ids: list[str]) -> None:
    """Have the server change what it holds: a letter of each ciphertext, or all of it."""
    base, _, name = url.rpartition("/")
    login, _, host = base.removeprefix("http://").rpartition("@")
    headers = {"Authorization": aiohttp.encode_basic_auth(*login.split(":"))}
    async with aiohttp.ClientSession(headers=headers) as session:
        for number, doc_id in enumerate(ids):
            place = f"http://{host}/{name}/{doc_id}"
            async with session.get(place) as answer:
                document = await answer.json()
            sealed = document["encryptedSelf"]
            document["encryptedSelf"] = sealed[:60] + "AAAA" + sealed[64:] if number else "%"
            async with session.put(place, json=document) as answer:
                assert answer.status == 201


async def a_day(heard: Heard, folder: Path, hub: Hub, words: Iterator[str]) -> list[bytes]:
    """Everything that two practices do, and everything that goes wrong. Returns the keys that there were."""
    address = f"127.0.0.1:{hub.port}/clinic"
    url = f"http://admin:{PASSWORD}@{address}"
    await change_database(url, "PUT")
    a, b = identity_of("hcp-a"), identity_of("hcp-b")
    async with AsyncExitStack() as open_:
        ours, theirs = [
            await open_.enter_async_context(Replica.open(folder / f"{each.hcp_id}.db", each, passphrase=PASSPHRASE))
            for each in (a, b)
        ]
        for replica in (ours, theirs, ours):
            await replica.sync(CouchPeer(url))
        john, letter = await written(ours, words)
        await ours.share(john, with_="hcp-b", include_linked=True)
        for replica in (ours, theirs):
            await replica.sync(CouchPeer(url))
        await theirs.save((await theirs.get(Patient, john.id)).replace(note=next(words)))
        await ours.save((await ours.get(Patient, john.id)).replace(note=next(words)))
        async with theirs.live(CouchPeer(url)) as live:
            await ours.sync(CouchPeer(url))
            await live.caught_up()
        await mistakes(heard, ours, await ours.get(Patient, john.id), letter, words)
        await strangers(heard, ours, folder, address)
        await tampered(url, [john.id, letter.id])
        for replica in (ours, theirs):
            await replica.sync(CouchPeer(url))
            assert await listed(replica.find(Patient)) is not None
            logging.getLogger("an.application").info("%s %r", await replica.status(), await listed(replica.conflicts()))
        await shown(ours, john, letter, a)
        await ours.lock()
        await heard.failing(lambda: ours.save(john.replace(note=WORDS[0])))
    return [*keys_of(a, folder), *keys_of(b, folder)]


async def strangers(heard: Heard, replica: Replica, folder: Path, address: str) -> None:
    """Wrong passphrases, wrong passwords, wrong addresses."""
    wrong = f"http://admin:{WRONG_PASSWORD}@"
    await heard.failing(lambda: replica.sync(CouchPeer(f"{wrong}{address}")))
    await heard.failing(lambda: replica.sync(CouchPeer(f"{wrong}127.0.0.1:1/clinic")))

    async def made(url: str) -> None:
        CouchPeer(url)

    for place in ("127.0.0.1:99999/clinic", "127.0.0.1/", f"{address}?q={WRONG_PASSWORD}", "[::1/clinic"):
        await heard.failing(functools.partial(made, wrong + place))
    nobody = asyncio.create_task(replica.pull(CouchPeer(f"{wrong}{address}")))
    await asyncio.wait([nobody])
    del nobody  # its error is never asked for: asyncio logs that
    gc.collect()

    async def opened(passphrase: str) -> None:
        async with Replica.open(folder / "hcp-a.db", None, passphrase=passphrase):
            pass

    await heard.failing(lambda: opened(WRONG_PASSPHRASE))
    await heard.failing(lambda: opened(PASSPHRASE))  # it is open
    await heard.failing(lambda: opened(f"{WRONG_PASSPHRASE}\ud800"))


async def shown(replica: Replica, john: Patient, letter: Document, identity: Identity) -> None:
    """Values as an application may log them, by accident."""
    seen: list[object] = [john, letter, identity, identity.party_key, identity.signing_key, identity.birth, replica]
    seen += [replica._custody.held, replica._store, CouchPeer(f"http://admin:{PASSWORD}@127.0.0.1:1/clinic")]
    seen += [*await listed(replica.contacts_of(john)), *await listed(replica.attachments_of(letter))]
    seen += await listed(replica.find(Patient))
    logging.getLogger("an.application").info("seen: %r", seen)
    logging.getLogger("an.application").info("seen: %s", " ".join(map(str, seen)))


@pytest.mark.usefixtures("_talkative_loop")
async def test_nothing_secret_is_logged_or_in_an_error_whatever_goes_wrong(heard: Heard, tmp_path: Path):
    async with Hub(tmp_path / "hub", admin=("admin", PASSWORD), passphrase=HUB_PASSPHRASE) as hub:
        keys = await a_day(heard, tmp_path, hub, iter(WORDS))
    secrets = [*WORDS, PASSWORD, WRONG_PASSWORD, PASSPHRASE, WRONG_PASSPHRASE, HUB_PASSPHRASE, *keys]
    assert len(heard.errors) > 100
    for error in heard.errors:
        assert_silent(error, "an error", secrets)
    log = heard.log.getvalue()
    assert_silent(log, "the logs", secrets)
    for spoken in ("icure_sync.hub.dispatch", "asyncio Executing", "never retrieved", "an.application seen"):
        assert spoken in log  # it was listened to where it matters
