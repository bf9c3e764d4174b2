"""Hubs for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import REAL_SERVERS, fresh_hub

collect_ignore = [] if REAL_SERVERS else ["test_couchdb_replicate.py"]  # tests/test_couchdb.py says so, in one line


@pytest.fixture
def hub_url(tmp_path: Path) -> Iterator[str]:
    """`http://admin:password@127.0.0.1:port` of a hub that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    hub = fresh_hub(tmp_path)
    try:
        yield asyncio.run_coroutine_threadsafe(hub.__aenter__(), loop).result()
        asyncio.run_coroutine_threadsafe(hub.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
