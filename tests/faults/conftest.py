"""What every test of faults stands on, and what none may leave behind: sockets, tasks, secrets in a log."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.lines import PASSWORD, SECRET, Line, line_to
from tests.servers import REAL_SERVERS, fresh_hub
from tests.tidiness import nothing_left

NEVER_LOGGED = [PASSWORD, SECRET, *filter(None, [urlsplit(os.environ.get("COUCHDB_URL", "")).password])]


@pytest.fixture(autouse=True)
async def _tidy(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Runs around every other fixture."""
    caplog.set_level("DEBUG")
    async with nothing_left():
        yield
    logged = [record.getMessage() for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    assert not [line for line in logged if any(word in line for word in NEVER_LOGGED)]


@pytest.fixture(params=["hub", *REAL_SERVERS])
async def server(request: pytest.FixtureRequest, tmp_path: Path, _tidy: None) -> AsyncIterator[str]:
    """A hub, and a CouchDB if there is one: its URL, with a password."""
    if request.param == "hub":
        async with fresh_hub(tmp_path, PASSWORD) as url:
            yield url
    else:
        yield request.getfixturevalue("couchdb_url")


@pytest.fixture
async def line(server: str, tmp_path: Path) -> AsyncIterator[Line]:
    async with line_to(server, tmp_path) as running:
        yield running
