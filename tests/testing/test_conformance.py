"""Every peer that there is holds to the statements about peers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.store import Store
from icure_sync.testing import FaultProxy, FaultyPeer
from icure_sync.testing.conformance import PeerConformance
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub


class TestMemoryPeer(PeerConformance):
    @pytest.fixture
    def peer(self) -> Peer:
        return MemoryPeer()


class TestPeerInFrontOfAnother(PeerConformance):
    @pytest.fixture
    def peer(self) -> Peer:
        return FaultyPeer(MemoryPeer())


class TestLocalPeer(PeerConformance):
    @pytest.fixture
    def peer(self, tmp_path: Path) -> AsyncIterator[Peer]:
        store = Store.open(tmp_path / "replica.db", bytes(32))
        yield LocalPeer(store)
        store.close()


class TestHub(PeerConformance):
    @pytest.fixture
    async def peer(self, tmp_path: Path) -> AsyncIterator[Peer]:
        async with fresh_hub(tmp_path) as server, fresh_database(server) as url, CouchPeer(url) as peer:
            yield peer


class TestHubBehindAProxy(PeerConformance):
    @pytest.fixture
    async def peer(self, tmp_path: Path) -> AsyncIterator[Peer]:
        async with (
            fresh_hub(tmp_path) as server,
            fresh_database(server) as url,
            FaultProxy(url) as proxy,
            CouchPeer(proxy.url) as peer,
        ):
            yield peer


if REAL_SERVERS:

    class TestCouchDB(PeerConformance):
        @pytest.fixture
        async def peer(self, couchdb_url: str) -> AsyncIterator[Peer]:
            async with fresh_database(couchdb_url) as url, CouchPeer(url) as peer:
                yield peer
