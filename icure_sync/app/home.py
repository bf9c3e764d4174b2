"""A home folder: one Hcp's device. Owns its files and their names; knows no records, prints nothing.

    config.json     who this is: nothing secret, readable without the passphrase
    identity.key    the identity, locked by the passphrase
    replica.db      the replica, locked by the same passphrase (with replica.db.key and SQLite's own files beside it)

rewriting.py changes the two locked files, as one change. Once another device has revoked this one, wiping.py removes
all of them, and leaves a mark.

The server's address lives in the replica: it may hold credentials.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icure_sync import Identity, Replica, strict_json
from icure_sync.app.output import Answer
from icure_sync.app.passphrases import unlocked
from icure_sync.app.rewriting import IDENTITY, rewrite, settle
from icure_sync.app.wiping import decide, finish, refuse_revoked, revoked
from icure_sync.errors import IcureSyncError, InvalidEntity, NotFound, StoreFull, UnsupportedSuite

VARIABLE = "ICURE_SYNC_HOME"
USUAL = "~/.icure-sync"
CONFIG = "config.json"
REPLICA = "replica.db"
CONFIG_VERSION = 1
SERVER_SETTING = "server"  # kept in the replica: a URL, with its login
CA_SETTING = "server-ca"  # the file with the certificates that vouch for it; None: those of the system
FILE_SIZE_MOST = 1 << 20  # bytes; config and locked identities take a few KB, so more is some other file

Begin = Callable[[Replica], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Home:
    """An initialised home folder."""

    folder: Path
    hcp_id: str
    name: str

    @asynccontextmanager
    async def replica(self, passphrase: str, identity: Identity | None = None) -> AsyncIterator[Replica]:
        """The open replica; `identity`: this home's, if it is unlocked already.

        Raises WrongPassphrase, StoreCorrupt, StoreLocked, SchemaTooNew; NoAccess if this device learns, or has learnt,
        that it was revoked: then nothing of the home is left.
        """
        identity = identity or self.identity(passphrase)
        try:
            async with Replica.open(self.folder / REPLICA, identity, passphrase=passphrase) as replica:
                await self.keep_identity(replica, passphrase)
                await self._leave_if_revoked(replica)
                try:
                    yield replica
                finally:
                    await self._leave_if_revoked(replica)
        finally:
            finish(self.folder)

    async def keep_identity(self, replica: Replica, passphrase: str) -> None:
        """If the replica has begun a new identity, keep that in place of the one before. Raises StoreFull."""
        begun = await replica.devices.succession()
        if begun is not None and begun.identity is not None:
            rewrite(self.folder, {IDENTITY: begun.identity.lock(passphrase)})
            await replica.devices.kept()

    async def _leave_if_revoked(self, replica: Replica) -> None:
        """After one attempt to send what was not sent. Raises NoAccess."""
        out = await replica.devices.shut_out()
        if out is None:
            return
        server = await replica.setting(SERVER_SETTING)
        if server is not None:
            from icure_sync.app.farewell import farewell  # most commands need no server

            await farewell(replica, server, await replica.setting(CA_SETTING))
        decide(self.folder, {"hcpId": self.hcp_id, "device": replica.device, "by": out.device})
        raise revoked(self.folder)

    def identity(self, passphrase: str) -> Identity:
        """The unlocked identity. Raises WrongPassphrase, StoreCorrupt."""
        return Identity.unlock(read_file(self.folder / IDENTITY), passphrase)


def folder_of(name: str | None) -> Path:
    """The folder named by `--home`, else by ICURE_SYNC_HOME, else the usual one."""
    return Path(name or os.environ.get(VARIABLE) or USUAL).expanduser().absolute()


def open_home(folder: Path) -> Home:
    """The home in this folder; what a crash left half done in it is finished.

    Raises NotFound if there is none, InvalidEntity if its config.json is damaged, StoreFull; NoAccess if its device was
    revoked.
    """
    refuse_revoked(folder)
    path = folder / CONFIG
    if not path.exists():
        raise NotFound(
            f"open the home folder {folder}",
            "it is not initialised",
            "make it with icure-sync init, or name another with --home or ICURE_SYNC_HOME",
        )
    settle(folder)
    config = strict_json.loads(read_file(path), str(path))
    match config:
        case {"version": int(version)} if version > CONFIG_VERSION:
            raise InvalidEntity(f"read {path}", "a newer version wrote it", "install that version of icure-sync")
        case {"version": int(), "hcpId": str(hcp_id), "name": str(name)}:
            return Home(folder, hcp_id, name)
    raise InvalidEntity(
        f"read {path}",
        "it does not say version, hcpId and name",
        'write it as {"version": 1, "hcpId": "…", "name": "…"}',
    )


def in_replica(args: argparse.Namespace, work: Callable[[Replica], Awaitable[Answer]]) -> Answer:
    """What `work` answers, given the open replica of the home that the arguments name."""
    home = open_home(folder_of(getattr(args, "home", None)))
    passphrase, identity = unlocked(args, home.identity)  # before the loop runs: a prompt ends at the first Ctrl-C

    async def run() -> Answer:
        async with home.replica(passphrase, identity) as replica:
            return await work(replica)

    return asyncio.run(run())


async def _nothing(replica: Replica) -> None:
    """What a home begins with, if nobody says so."""


async def create_home(
    folder: Path, identity: Identity, passphrase: str, server: str | None, begin: Begin = _nothing
) -> Home:
    """Make a home for this identity. identity.key comes first: whoever makes that file makes the home, and clears away
    what did not come to an end. config.json comes last: until then there is no home. `begin` is done in between.

    Raises InvalidEntity if something is there already, StoreFull if the folder cannot be written.
    """
    refuse_taken(folder)
    home = Home(folder, identity.hcp_id, identity.name)
    with _writing(folder):
        _begin(folder, identity, passphrase)
        try:
            async with Replica.open(folder / REPLICA, identity, passphrase=passphrase) as replica:
                if server is not None:
                    await replica.keep_setting(SERVER_SETTING, server)
                with suppress(InvalidEntity, UnsupportedSuite):  # a machine may have any name at all
                    await replica.devices.rename(platform.node())
                await begin(replica)
            write_file(folder / CONFIG, _config_bytes(home))
        except BaseException:
            _remove_unfinished(folder)
            raise
    return home


def refuse_taken(folder: Path) -> None:
    """Raise InvalidEntity if the folder holds a home already, or what is left of one; NoAccess if that was revoked."""
    refuse_revoked(folder)
    attempted = f"initialise the home folder {folder}"
    if (folder / CONFIG).exists():
        raise InvalidEntity(attempted, "it is initialised already", "use it, or name another with --home")
    left = [name for name in (IDENTITY, REPLICA) if (folder / name).exists()]
    if left:
        raise InvalidEntity(
            attempted, f"it holds {left[0]} but no {CONFIG}", f"put {CONFIG} back, or name another folder with --home"
        )


def read_file(path: Path) -> bytes:
    """The bytes of a small file. Raises NotFound if there is none, InvalidEntity if it is too large or unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_SIZE_MOST + 1)
    except FileNotFoundError as error:
        raise NotFound(f"read {path}", "there is no such file", "name an existing one") from error
    except OSError as error:
        raise InvalidEntity(f"read {path}", str(error.strerror), "name a readable file") from error
    if len(content) > FILE_SIZE_MOST:
        raise InvalidEntity(f"read {path}", f"it is larger than {FILE_SIZE_MOST} bytes", "name the right file")
    return content


def write_file(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read; durable when this returns. Raises InvalidEntity if it exists."""
    with _writing(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise InvalidEntity(f"write {path}", "the file exists", "name another") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
        except BaseException:
            path.unlink()
            raise


def _begin(folder: Path, identity: Identity, passphrase: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(folder / IDENTITY, identity.lock(passphrase))


def _config_bytes(home: Home) -> bytes:
    config: dict[str, Any] = {"version": CONFIG_VERSION, "hcpId": home.hcp_id, "name": home.name}
    return strict_json.dumps(config) + b"\n"


def _remove_unfinished(folder: Path) -> None:
    for path in (folder / IDENTITY, folder / CONFIG, *folder.glob(REPLICA + "*")):
        path.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except IcureSyncError:
        raise
    except OSError as error:
        raise StoreFull(f"write {path}", str(error.strerror), "free space, or name another folder") from error
