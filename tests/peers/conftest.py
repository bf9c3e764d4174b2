"""A scripted server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from icure_sync.testing import ScriptedServer


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as script:
        yield script
