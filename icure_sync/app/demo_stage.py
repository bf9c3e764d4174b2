"""The stage of the demo: its folder, its hub or server, and devices with ordinary homes. Knows no story.

Whatever it makes stays in the folder, and the ordinary commands can go on with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from icure_sync import CouchPeer, Hub, Identity, Replica, SyncReport
from icure_sync.app.home import create_home
from icure_sync.app.server import Wish, provision_database
from icure_sync.errors import InvalidEntity, StoreFull

PASSPHRASE = "so many poppies in the night"  # noqa: S105  # guards invented people only
USUAL_FOLDER = "demo-homes"
HUB_FOLDER = "hub"
HUB_DATABASE = "clinic"
ADMIN = "admin"
DATABASE_BYTES = 4  # of chance in the name of a database on somebody else's server


@dataclass(frozen=True, slots=True)
class Device:
    """One device of one Hcp: an ordinary home, its open replica, and the way to the server."""

    name: str
    folder: Path
    replica: Replica
    peer: CouchPeer

    async def sync(self) -> SyncReport:
        """Go online for a moment."""
        return await self.replica.sync(self.peer)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo takes place. `database_url` holds the administrator's login."""

    folder: Path
    database_url: str
    hub: Hub | None  # None: the server is somebody else's
    _open: AsyncExitStack

    async def device(self, name: str, identity: Identity) -> Device:
        """A new device in its own home folder, closed when the stage is."""
        folder = self.folder / name
        home = await create_home(folder, identity, PASSPHRASE, self.database_url)
        replica = await self._open.enter_async_context(home.replica(PASSPHRASE))
        peer = await self._open.enter_async_context(CouchPeer(self.database_url))
        return Device(name, folder, replica, peer)


@asynccontextmanager
async def open_stage(folder: Path, server: str | None) -> AsyncIterator[Stage]:
    """A stage in a new folder: on a hub of its own, or with a database of its own on `server` (an administrator's URL).

    Raises InvalidEntity if the folder holds something, StoreFull, the kinds of PeerError.
    """
    _make_folder(folder)
    async with AsyncExitStack() as opened:
        hub: Hub | None = None
        if server is None:
            password = os.urandom(12).hex()
            hub = Hub(folder / HUB_FOLDER, admin=(ADMIN, password), passphrase=PASSPHRASE)
            await opened.enter_async_context(hub)
            url = f"http://{ADMIN}:{password}@127.0.0.1:{hub.port}/{HUB_DATABASE}"
        else:
            url = f"{server.rstrip('/')}/demo-{os.urandom(DATABASE_BYTES).hex()}"
        await asyncio.to_thread(provision_database, url, Wish())
        yield Stage(folder, url, hub, opened)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidEntity(f"play the demo in {folder}", "the folder is not empty", "name another with --folder")
    except OSError as error:
        raise StoreFull(
            f"make the folder {folder}", str(error.strerror), "name one that can be written with --folder"
        ) from error
