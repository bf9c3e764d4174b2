"""Tools that break things on purpose: for the tests of this package, and for those of applications. See TESTING.md.

`icure_sync.testing.conformance`, for tests of a Peer, is imported by itself.
"""

from icure_sync.testing.answers import (
    BAD_GZIP,
    CAPTIVE_PORTAL,
    EMPTY,
    OTHER_JSON,
    Answer,
    json_answer,
    raw_answer,
    redirect,
    refusal,
)
from icure_sync.testing.exchange import Exchange
from icure_sync.testing.faults import RESET_AFTER, RESET_BEFORE, SILENCE, Ending, Fault, Rule, anything, to, within
from icure_sync.testing.faulty import FaultyPeer
from icure_sync.testing.proxy import FaultProxy
from icure_sync.testing.scripted import ScriptedServer, Seen

__all__ = [
    "BAD_GZIP",
    "CAPTIVE_PORTAL",
    "EMPTY",
    "OTHER_JSON",
    "RESET_AFTER",
    "RESET_BEFORE",
    "SILENCE",
    "Answer",
    "Ending",
    "Exchange",
    "Fault",
    "FaultProxy",
    "FaultyPeer",
    "Rule",
    "ScriptedServer",
    "Seen",
    "anything",
    "json_answer",
    "raw_answer",
    "redirect",
    "refusal",
    "to",
    "within",
]
