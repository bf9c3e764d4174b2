"""The hub answers what a real CouchDB 3.5.0 answered: the recorded scenarios, replayed step by step."""

import asyncio
import sys
from pathlib import Path

import pytest

from icure_sync.hub.server import Hub

sys.path.insert(0, str(Path(__file__).parent / "wire"))
import replay

ADMIN = ("admin", "admin")


@pytest.mark.parametrize("core", [True, False], ids=["what replication needs", "what applications use besides"])
async def test_every_scenario_that_needs_no_javascript_is_answered_as_couchdb_does(tmp_path: Path, core: bool):
    chosen = [one["name"] for one in replay.load()["scenarios"] if bool(one["core"]) is core]
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        results = await asyncio.to_thread(replay.run, hub.url, skip=["javascript"], only=chosen)
    assert sum(result.outcome == "passed" for result in results) > 100
    assert [result.line() for result in results if not result.ok] == []
