"""icure_sync: local-first sync of end-to-end encrypted medical records."""

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import Replica
from icure_sync.engine.status import Conflict, Status
from icure_sync.engine.sync import SyncReport
from icure_sync.errors import IcureSyncError
from icure_sync.hub import Hub
from icure_sync.model import (
    Address,
    Attachment,
    Code,
    Contact,
    Content,
    Document,
    Form,
    Hcp,
    HealthcareElement,
    Measure,
    Patient,
    Service,
    Telecom,
)
from icure_sync.peers.couch import CouchPeer

__all__ = [
    "Address",
    "Attachment",
    "Code",
    "Conflict",
    "Contact",
    "Content",
    "CouchPeer",
    "Document",
    "Form",
    "Hcp",
    "HealthcareElement",
    "Hub",
    "IcureSyncError",
    "Identity",
    "Measure",
    "Patient",
    "Replica",
    "Service",
    "Status",
    "SyncReport",
    "Telecom",
]
