"""What several leaves of a record in suite `icure-classic` come to: their stamped bodies joined (`merge`), in one
document (`crypto`). Pure, and the same for everybody who can open these leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from icure_sync.crypto.classic import Opened
from icure_sync.crypto.classic_merging import ClassicLeaf, Outcome, merge_documents
from icure_sync.crypto.revision import extended
from icure_sync.engine.classic_revision import next_revision, tombstone
from icure_sync.engine.classic_stamps import is_same, join_stamped, read_stamped, to_stamps
from icure_sync.engine.suite import Joined, Stored
from icure_sync.ids import Rev


def join_leaves(leaves: Mapping[Rev, tuple[Stored, Opened]]) -> Joined:
    """Raises InvalidEntity for leaves that cannot be stamped or are of several types, Tampered for a broken part.

    Without a key that all delegates have, the merge is shown and not stored; a write over it extends the winner alone,
    and the others stay for those who can read nothing else.
    """
    above = extended([*leaves])
    assert above is not None  # there is at least one
    stamped = {rev: read_stamped(rev, opened) for rev, (_, opened) in leaves.items()}
    joined = join_stamped([stamped[rev] for rev in sorted(leaves)])
    merged = merge_documents(
        [ClassicLeaf(rev, stored.document, opened) for rev, (stored, opened) in leaves.items()],
        Outcome(joined.record, to_stamps(joined, leaves[above][1].type, leaves), joined.deleted_at),
    )
    ends = {rev: tombstone(stored) for rev, (stored, _) in sorted(leaves.items())}
    beside = tuple(end for rev, end in ends.items() if rev != above)
    whole = replace(leaves[above][0], leaves=tuple(ends), beside=beside)
    same = extended([rev for rev in merged.alike if is_same(stamped[rev], joined)])
    if same is not None:
        kept = replace(whole, rev=same, document=leaves[same][0].document)
        return Joined(kept, tuple(end for rev, end in ends.items() if rev != same))
    written = next_revision(whole.id, whole, merged.document)
    shown = replace(whole, rev=written.rev, document=merged.document)
    if merged.is_safe:
        return Joined(shown, (written,))
    return Joined(replace(shown, leaves=(above,), beside=(), is_safe=False), None)
