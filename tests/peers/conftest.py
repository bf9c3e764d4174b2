"""A scripted server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers import Script, scripted


@pytest.fixture
async def server() -> AsyncIterator[Script]:
    async with scripted() as script:
        yield script
