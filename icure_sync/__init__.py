"""icure_sync: local-first sync of end-to-end encrypted medical records.

The public names. Each is imported when it is first asked for: the command line starts without what it does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icure_sync.crypto.glass import Glass, GlassOpened
    from icure_sync.crypto.identity import Identity
    from icure_sync.crypto.recovery import Recovery
    from icure_sync.crypto.relocking import relock
    from icure_sync.crypto.shares import RecoverySecret, Share, is_share
    from icure_sync.discretion import Discretion, withhold
    from icure_sync.engine.access_list import AccessList
    from icure_sync.engine.acquaintances import Acquaintance, KnownKeys
    from icure_sync.engine.alarms import Alarm
    from icure_sync.engine.audit import Audit
    from icure_sync.engine.conflict import Conflict, Disputed, Reason, Standing
    from icure_sync.engine.devices import Device
    from icure_sync.engine.handovers import Offered, ShutOut
    from icure_sync.engine.live import Live
    from icure_sync.engine.pairing import NewDevice
    from icure_sync.engine.private_memory import keep_memory_private
    from icure_sync.engine.progress import Phase, Progress
    from icure_sync.engine.relay import Relay
    from icure_sync.engine.replica import Replica
    from icure_sync.engine.rescue import Broken, break_glass, recover
    from icure_sync.engine.status import Status
    from icure_sync.engine.succession import Succession
    from icure_sync.engine.sync import SyncReport
    from icure_sync.engine.trail import TrailRow, TrailState
    from icure_sync.errors import IcureSyncError
    from icure_sync.hub import Hub, Upstream
    from icure_sync.merge.disputes import Version
    from icure_sync.model import (
        Address,
        Attachment,
        Code,
        Contact,
        Content,
        Document,
        Entity,
        Form,
        Hcp,
        HealthcareElement,
        Measure,
        Patient,
        Service,
        Telecom,
        fuzzy_date,
    )
    from icure_sync.peers.couch import CouchPeer
    from icure_sync.peers.couch_address import parse_address
    from icure_sync.peers.couch_proxy import Proxy, proxy_for
    from icure_sync.replication.checkpoint import Direction
    from icure_sync.replication.wire import Refusal
    from icure_sync.store.keyfile import change_passphrase

__all__ = [
    "AccessList",
    "Acquaintance",
    "Address",
    "Alarm",
    "Attachment",
    "Audit",
    "Broken",
    "Code",
    "Conflict",
    "Contact",
    "Content",
    "CouchPeer",
    "Device",
    "Direction",
    "Discretion",
    "Disputed",
    "Document",
    "Entity",
    "Form",
    "Glass",
    "GlassOpened",
    "Hcp",
    "HealthcareElement",
    "Hub",
    "IcureSyncError",
    "Identity",
    "KnownKeys",
    "Live",
    "Measure",
    "NewDevice",
    "Offered",
    "Patient",
    "Phase",
    "Progress",
    "Proxy",
    "Reason",
    "Recovery",
    "RecoverySecret",
    "Refusal",
    "Relay",
    "Replica",
    "Service",
    "Share",
    "ShutOut",
    "Standing",
    "Status",
    "Succession",
    "SyncReport",
    "Telecom",
    "TrailRow",
    "TrailState",
    "Upstream",
    "Version",
    "break_glass",
    "change_passphrase",
    "fuzzy_date",
    "is_share",
    "keep_memory_private",
    "parse_address",
    "proxy_for",
    "recover",
    "relock",
    "withhold",
]

# Where a name lives; entities and their records, the most of them, live in the model.
_HOMES = {
    "icure_sync.crypto.glass": ("Glass", "GlassOpened"),
    "icure_sync.crypto.identity": ("Identity",),
    "icure_sync.crypto.recovery": ("Recovery",),
    "icure_sync.crypto.shares": ("RecoverySecret", "Share", "is_share"),
    "icure_sync.crypto.relocking": ("relock",),
    "icure_sync.discretion": ("Discretion", "withhold"),
    "icure_sync.engine.access_list": ("AccessList",),
    "icure_sync.engine.acquaintances": ("Acquaintance", "KnownKeys"),
    "icure_sync.engine.alarms": ("Alarm",),
    "icure_sync.engine.devices": ("Device",),
    "icure_sync.engine.audit": ("Audit",),
    "icure_sync.engine.conflict": ("Conflict", "Disputed", "Reason", "Standing"),
    "icure_sync.engine.handovers": ("Offered", "ShutOut"),
    "icure_sync.engine.live": ("Live",),
    "icure_sync.engine.private_memory": ("keep_memory_private",),
    "icure_sync.engine.pairing": ("NewDevice",),
    "icure_sync.engine.progress": ("Phase", "Progress"),
    "icure_sync.engine.relay": ("Relay",),
    "icure_sync.engine.replica": ("Replica",),
    "icure_sync.engine.rescue": ("Broken", "break_glass", "recover"),
    "icure_sync.engine.status": ("Status",),
    "icure_sync.engine.succession": ("Succession",),
    "icure_sync.engine.sync": ("SyncReport",),
    "icure_sync.engine.trail": ("TrailRow", "TrailState"),
    "icure_sync.errors": ("IcureSyncError",),
    "icure_sync.hub": ("Hub", "Upstream"),
    "icure_sync.merge.disputes": ("Version",),
    "icure_sync.peers.couch": ("CouchPeer",),
    "icure_sync.peers.couch_address": ("parse_address",),
    "icure_sync.peers.couch_proxy": ("Proxy", "proxy_for"),
    "icure_sync.replication.checkpoint": ("Direction",),
    "icure_sync.replication.wire": ("Refusal",),
    "icure_sync.store.keyfile": ("change_passphrase",),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "icure_sync.model")
    value = globals()[name] = getattr(import_module(home), name)
    return value
