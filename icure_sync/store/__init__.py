"""The encrypted database of one replica or hub database."""

from icure_sync.store.alarms import AlarmRow
from icure_sync.store.attachments import Attachments, Blob, Lacking, Upload
from icure_sync.store.documents import Documents
from icure_sync.store.indexes import Index, IndexRules
from icure_sync.store.local import LocalDocuments
from icure_sync.store.receiving import receive
from icure_sync.store.rows import DocumentChange, Held
from icure_sync.store.scans import IdRange, KeyRange, Scans, Spot
from icure_sync.store.search import Search
from icure_sync.store.settings import Settings
from icure_sync.store.store import Store
from icure_sync.store.trail import Act, Gathered, Verified, Wanted
from icure_sync.store.trust import HcpKeys, Pin, Pins

__all__ = [
    "Act",
    "AlarmRow",
    "Attachments",
    "Blob",
    "DocumentChange",
    "Documents",
    "Gathered",
    "HcpKeys",
    "Held",
    "IdRange",
    "Index",
    "IndexRules",
    "KeyRange",
    "Lacking",
    "LocalDocuments",
    "Pin",
    "Pins",
    "Scans",
    "Search",
    "Settings",
    "Spot",
    "Store",
    "Upload",
    "Verified",
    "Wanted",
    "receive",
]
