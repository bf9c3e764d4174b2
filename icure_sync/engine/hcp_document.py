"""The Hcp document of this replica's own Hcp: profile in clear with its stamps, public keys, Hcp keys. Pure.

Its first revision is a function of the identity alone, so all devices of an Hcp write the same bytes and there is
nothing to merge. Only the Hcp's own devices write it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icure_sync.canonical import authored
from icure_sync.crypto import hcp_keys
from icure_sync.crypto.hcp_keys import HCP_TYPE, Wrapped, wrapped_keys
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.revision import written
from icure_sync.engine.suite import Content, Stored, Written
from icure_sync.engine.writers import RECORD_ID_BYTES, Writers
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId
from icure_sync.merge import registers
from icure_sync.merge.registers import Author
from icure_sync.model import Hcp, to_record, with_record_ids
from icure_sync.model.schema import SEALED_1, record_lists

_STAMPS = ("context", "writers", "fields")
_MEMBERS = frozenset(
    {
        *("type", "cryptoSuite", "parents", "merged", "written", "publicKey", "signingKey", "identity"),
        *("hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures", "retiredKeys", *_STAMPS),
    }
)  # what a profile field may not be called


def first(identity: Identity) -> Written:
    """The first revision: the name, the public keys and {AA}."""
    born = Author(identity.birth.writer, identity.hcp_id, "", 0)
    body = registers.write(None, {("name",): identity.name}, born)
    return _written(identity, None, body, [hcp_keys.born(identity)])


def with_key(identity: Identity, leaves: Sequence[Stored], key: Wrapped) -> Written:
    """The next revision, which holds one more Hcp key. `leaves`: all of the document's, the winner first."""
    held = [wrapped for leaf in leaves for wrapped in wrapped_keys(leaf.id, leaf.document)]
    return _written(identity, leaves[0], _body(leaves[0]), [*held, key])


def with_profile(
    identity: Identity, leaves: Sequence[Stored], hcp: Hcp, writers: Writers, entropy: Entropy
) -> Written | None:
    """The next revision, which shows this profile; None if nothing would change. Raises InvalidEntity."""
    body = _body(leaves[0])
    profile = authored(to_record(with_record_ids(hcp, lambda: entropy(RECORD_ID_BYTES).hex())))
    reserved = sorted(name for name in profile if name in _MEMBERS or name.startswith("_"))
    if reserved:
        raise InvalidEntity("save an Hcp", f"{', '.join(reserved)} cannot be the name of a field", "name it otherwise")
    wanted = registers.flatten(profile, record_lists(HCP_TYPE))
    changed = registers.changes(registers.shown_registers(body), wanted)
    if not changed:
        return None
    doc_id = leaves[0].id
    author = writers.author(doc_id, body["context"])
    after = registers.write(body, changed, author)
    writers.wrote(doc_id, author, after["context"])
    held = [wrapped for leaf in leaves for wrapped in wrapped_keys(leaf.id, leaf.document)]
    return _written(identity, leaves[0], after, held)


def content(stored: Stored) -> Content:
    """What an Hcp document shows of its Hcp."""
    body = _body(stored)
    registers.check_body(body)
    shown = registers.read(body)
    return Content(HCP_TYPE, shown.record, shown.deleted, frozenset(), {}, shown.alternatives)


def _body(stored: Stored) -> dict[str, Any]:
    return {name: stored.document.get(name) for name in _STAMPS}


def _written(identity: Identity, above: Stored | None, body: Mapping[str, Any], keys: Sequence[Wrapped]) -> Written:
    kept = dict(above.document) if above else {"merged": [], "retiredKeys": []}
    profile = registers.read(body).record
    for name in set(kept) - profile.keys():
        if (name,) in {tuple(path) for path, _ in body["fields"]}:
            del kept[name]  # a profile field that was emptied
    document = {
        **kept,
        **profile,
        **body,
        "type": HCP_TYPE,
        "cryptoSuite": SEALED_1,
        "parents": [above.rev] if above else [],
        **hcp_keys.identity_members(identity),
        **hcp_keys.key_members(keys),
    }
    document.pop("written", None)
    rev, signed = written(DocId(identity.hcp_id), document, identity)
    return Written(DocId(identity.hcp_id), rev, above.rev if above else None, signed)
