"""The hub: a server that speaks the CouchDB protocol over local encrypted stores. Must not know peers or merging."""

from icure_sync.hub.server import Hub

__all__ = ["Hub"]
