"""What every peer must hold to, as tests: `class TestMyPeer(PeerConformance)` with a fixture `peer`.

Owns the sum of the statements; each group of them is a module. Needs pytest with asyncio tests, and imports neither.
"""

from __future__ import annotations

from icure_sync.testing.conformance.attachments import AttachmentStatements
from icure_sync.testing.conformance.feed import FeedStatements
from icure_sync.testing.conformance.following import FollowStatements
from icure_sync.testing.conformance.repeating import RepetitionStatements
from icure_sync.testing.conformance.revisions import RevisionStatements


class PeerConformance(FeedStatements, FollowStatements, RevisionStatements, AttachmentStatements, RepetitionStatements):
    """All statements about a Peer (icure_sync/peers/port.py).

    A subclass, whose name begins with `Test`, has a fixture `peer` that gives a new, empty peer to each test.
    """
