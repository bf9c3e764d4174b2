"""A scripted server, and real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from icure_sync.testing import ScriptedServer
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as script:
        yield script


@pytest.fixture(params=["hub", *REAL_SERVERS])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database on a hub, and on the real CouchDB."""
    if request.param == "couchdb":
        async with fresh_database(request.getfixturevalue("couchdb_url")) as found:
            yield found
    else:
        async with fresh_hub(tmp_path) as hub, fresh_database(hub) as found:
            yield found
