"""What a refused key signed: believed until a person said whose key it is not, and from then on not any more.

Owns what is looked for, and what the person is told of it. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto.access import Subject
from icure_sync.crypto.envelope import from_text
from icure_sync.crypto.primitives import signature_holds
from icure_sync.crypto.revision import writer_of, written_message
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.verdicts import UNSEEN, VERIFIED
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import HcpId
from icure_sync.store import Held, Store

PAGE = 500  # documents looked at in one go
NAMED_MOST = 20  # documents that an alarm names


def take_back(store: Store, bell: Bell, hcp_id: HcpId, keys: Collection[bytes]) -> None:
    """Have every revision that one of these signed for this Hcp, or of a record that it created, looked at anew, and
    ring an alarm that names the records among them. In the transaction under way; it reads all documents.

    What others wrote over it stays as it is, unless the record itself was made up.
    """
    shown: list[str] = []
    since = 0
    while page := store.documents.changes(since, PAGE):
        since = page[-1].seq
        for change in page:
            here = (*store.documents.held_leaves(change.id), *store.documents.displaced(change.id))
            taken = [held for held in here if _is_signed(held, hcp_id, keys)]
            for held in taken:
                store.documents.mark_verified(change.id, held.revision.rev, UNSEEN)
            if any(b'"creator"' in held.revision.body for held in taken):
                shown.append(change.id)
    if shown:
        more = f" and {len(shown) - NAMED_MOST} more" if len(shown) > NAMED_MOST else ""
        named = ", ".join(sorted(shown)[:NAMED_MOST])
        bell.ring(AlarmKind.IMPOSTOR, hcp_id, f"signed with a key that is not its own: {named}{more}")


def _is_signed(held: Held, hcp_id: HcpId, keys: Collection[bytes]) -> bool:
    if held.state != VERIFIED or hcp_id.encode() not in held.revision.body:
        return False
    try:
        document: Mapping[str, Any] = strict_json.loads(held.revision.body, "a verified document")
        signed = []
        if "written" in document and writer_of(held.revision.id, document) == hcp_id:
            message = written_message(held.revision.id, held.revision.rev, document)
            signed.append((message, document["written"]["signature"]))
        if "creator" in document and (subject := Subject.of(held.revision.id, document)).by == hcp_id:
            signed.append((subject.message, subject.signature))
        return any(signature_holds(key, from_text(text), message) for message, text in signed for key in keys)
    except (Tampered, InvalidEntity):
        return False  # what is verified as something of another layout
