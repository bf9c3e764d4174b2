"""icure_sync: local-first sync of end-to-end encrypted medical records."""

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import Replica
from icure_sync.errors import IcureSyncError

__all__ = ["IcureSyncError", "Identity", "Replica"]
