"""The hub: a server that speaks the CouchDB protocol over local encrypted stores. Must not know peers or merging."""

from icure_sync.hub.databases import Database
from icure_sync.hub.server import Hub
from icure_sync.hub.upstreams import Upstream

__all__ = ["Database", "Hub", "Upstream"]
