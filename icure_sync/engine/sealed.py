"""Records in suite `sealed-1`: joins the stamped body (`merge`) to the sealed document (`crypto`).

Knows entities, keys and writers; no stores. Link registers hold `{"type", "id"}` of the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from icure_sync.canonical import authored, canonical_set
from icure_sync.crypto import merging, rekeying, sealing
from icure_sync.crypto.access import Statement, Subject, grant, union
from icure_sync.crypto.access import parties as parties_with_access
from icure_sync.crypto.chain import unwrap_chain
from icure_sync.crypto.identity import PLANNED
from icure_sync.crypto.layout import MERGED_MOST
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.revision import extended
from icure_sync.crypto.sealing import SECRET_ID_BYTES, Draft, Link, Sealed
from icure_sync.engine.parties import Parties
from icure_sync.engine.suite import Content, Joined, Parent, Stored, Written
from icure_sync.engine.writers import RECORD_ID_BYTES, Writers
from icure_sync.errors import NoAccess, NotFound, UntrustedKey, WeakKey, WriterOut
from icure_sync.ids import DocId, HcpId, Rev, rev_order
from icure_sync.merge import disputes, joining, registers
from icure_sync.model import Entity, to_record, with_record_ids
from icure_sync.model.schema import SEALED_1, clear, record_lists

Changes = Mapping[registers.Path, Any]


class SealedSuite:
    """`engine.suite.Suite` for `sealed-1`."""

    name = SEALED_1
    is_authenticated = True

    def __init__(self, parties: Parties, writers: Writers, entropy: Entropy) -> None:
        self._parties = parties
        self._keyring = parties.keyring
        self._writers = writers
        self._entropy = entropy

    def open(self, stored: Stored) -> Content:
        document = stored.document
        subject = Subject.of(stored.id, document)
        shown = registers.read(sealing.open_body(subject, document, self._keyring))
        return Content(
            type=subject.type,
            record=shown.record,
            deleted=shown.deleted,
            shared_with=parties_with_access(subject, document["access"]),
            parents=_parent_ids(stored, shown.links),
            siblings=shown.alternatives,
        )

    def join(self, leaves: Sequence[Stored], known: Sequence[Statement] = ()) -> Joined:
        """`known`: verified statements that were seen for the record, beyond those that the leaves carry."""
        subject = Subject.of(leaves[0].id, leaves[0].document)
        statements = union(known, *(leaf.document["access"] for leaf in leaves))
        inside = parties_with_access(subject, statements)
        taken = [leaf for leaf in leaves if leaf.document["written"]["by"] in inside]
        if not taken:
            raise WriterOut(f"merge document {subject.id}", "all who wrote its leaves are out", "adopt one of them")
        merged = merging.merge([*map(_sealed, taken)], self._joined(taken), self._keyring, statements)
        joined = _joined_leaves(taken, merged, tuple(leaf.rev for leaf in leaves if leaf not in taken))
        # Who is out by then may look, but nobody would take a merge of his.
        return joined if self._keyring.identity.hcp_id in inside else replace(joined, written=None)

    def covers(self, one: Stored, other: Stored) -> bool:
        """Whether the content of one shows and has seen all that the other does. Raises NoAccess, Tampered."""
        return joining.covers(self._body(one), self._body(other))

    def again(self, stored: Stored) -> Written:
        """The same once more, below itself: what hid it does not count."""
        return _written(merging.again(_sealed(stored), self._keyring), stored)

    def create(self, entity: Entity, parents: Sequence[Parent]) -> Written:
        subject = Subject.create(entity.TYPE, self._keyring.identity, self._entropy)
        return self.create_as(subject, entity, parents)

    def create_as(
        self,
        subject: Subject,
        entity: Entity,
        parents: Sequence[Parent],
        files: Mapping[str, Any] | None = None,
    ) -> Written:
        """As `create`, for a subject that something else was bound to already."""
        self._parties.require_strong()
        secret_id = self._entropy(SECRET_ID_BYTES).hex()
        links = {registers.link(parent.secret_id): {"type": parent.type, "id": parent.id} for parent in parents}
        content = self._registers(entity)
        body = self._write(subject.id, None, {**content, registers.SECRET_ID: secret_id, **links})
        draft = Draft(
            subject,
            secret_id,
            body,
            [Link(parent.secret_id, parent.id) for parent in parents],
            _clear_fields(entity.TYPE, body),
            files,
        )
        return _written(sealing.create(draft, self._keyring, self._entropy), None)

    def edit(self, stored: Stored, entity: Entity) -> Written | None:
        body = self._body(stored)
        before = {path: value for path, value in registers.shown_registers(body).items() if _is_content(path)}
        changed = registers.changes(before, self._registers(entity))
        return self._rewritten(stored, body, changed) if changed else None

    def versions(self, stored: Stored) -> Mapping[registers.Path, Sequence[disputes.Version]]:
        return disputes.versions(self._body(stored))

    def settle(self, stored: Stored, choices: Changes) -> Written:
        body = self._body(stored)
        changed = {path: value for path, value in choices.items() if path != registers.DELETED}
        if choices.get(registers.DELETED) is not True:
            back = registers.restoring() if registers.DELETED in choices else {}
            return self._rewritten(stored, body, {**changed, **back})
        after = self._write(stored.id, body, changed)  # the deletion must have seen it
        return self._rewritten(stored, after, registers.deletion(after))

    def offered(self, shown: Stored, leaf: Stored) -> Mapping[registers.Path, Sequence[Any]]:
        """What adopting this leaf would write over what is shown, see `disputes.news`.

        Who wrote it is not looked at. Raises NoAccess, Tampered, InvalidEntity.
        """
        return disputes.news(self._body(shown), self.checked_body(leaf))

    def adopt(self, shown: Stored, leaf: Stored, earlier: Sequence[Stored] = ()) -> Written:
        """The next revision, with what the leaf offers, and the leaf's end beside it.

        Raises as `offered`. `leaf`: by somebody who is out, and verified but for that. What it states of access is
        stated on, since a merge would do so too, and only then does its end count. `earlier`: revisions that it
        replaced and has all of; they count as taken in with it.
        """
        document = shown.document
        taken = {leaf.rev, *sorted((each.rev for each in earlier), key=rev_order)[1 - MERGED_MOST :]}
        others = sorted({*document["merged"], *taken}, key=lambda rev: (rev in taken, rev_order(rev)))
        taken_in = {
            **document,
            "access": union(document["access"], leaf.document["access"]),
            "merged": canonical_set(others[-MERGED_MOST:]),
        }
        me = self._keyring.identity.hcp_id
        if me not in parties_with_access(Subject.of(leaf.id, leaf.document), taken_in["access"]):
            raise NoAccess(f"adopt {leaf.rev} of {leaf.id}", f"it says that {me} is out", "leave it to who has access")
        end = _tombstone(merging.retirement(_sealed(leaf)), leaf.rev)
        base = replace(shown, document=taken_in, beside=(*shown.beside, end))
        body = self._body(shown)
        author = self._writers.author(shown.id, body["context"])
        after = disputes.adopted(body, self.checked_body(leaf), author)
        self._writers.wrote(shown.id, author, after["context"])
        return self._rewritten(base, after, {})

    def checked_body(self, leaf: Stored) -> dict[str, Any]:
        """The body of a revision that was refused for who wrote it, which is all that was looked at before.

        Raises NoAccess, Tampered, InvalidEntity.
        """
        body = sealing.check_body(Subject.of(leaf.id, leaf.document), leaf.document, self._keyring)
        registers.check_body(body)
        return body

    def share(self, stored: Stored, delegate: HcpId) -> Written:
        self._parties.key_towards(delegate)
        if self._may_keep_key(stored):
            return _written(sealing.share(_sealed(stored), delegate, self._keyring, self._entropy), stored)
        present = stored.document["access"]
        granted = grant(Subject.of(stored.id, stored.document), delegate, present, self._keyring.identity)
        return self._rekeyed(stored, rekeying.Change(self._body(stored), union(present, [granted])))

    def revoke(self, stored: Stored, delegate: HcpId) -> Written:
        access = rekeying.revoked(_sealed(stored), delegate, self._keyring.identity, self._entropy)
        secret_id = self._entropy(SECRET_ID_BYTES).hex()
        body = self._body(stored)
        after = self._write(stored.id, body, {registers.SECRET_ID: secret_id})
        if registers.is_deleted(body):  # still: that deletion had not seen this write
            after = self._write(stored.id, after, registers.deletion(after))
        written = self._rekeyed(stored, rekeying.Change(after, access, secret_id=secret_id))
        self._parties.retire(delegate, PLANNED)  # what comes later for this pair uses a key that it has not had yet
        return written

    def repair(self, stored: Stored) -> Written | None:
        """The next revision, with entries that parties with access lack; None if none can be given here.

        May write the own Hcp document, so not for inside a transaction; and it judges by the Hcp keys known here, so
        what a pull brought of those comes first. Raises NoAccess, Tampered.
        """
        lacking = rekeying.lacking(_sealed(stored), self._keyring)
        self._make_keys(lacking)
        reached = [each for each in sorted(lacking) if self._keyring.pair(self._keyring.identity.hcp_id, each)]
        if not reached:
            return None
        if self._may_keep_key(stored):
            return _written(rekeying.repair(_sealed(stored), reached, self._keyring, self._entropy), stored)
        return self.rekeyed(stored)

    def rekeyed(self, stored: Stored) -> Written:
        """The next revision, which says the same under a new content key. Raises NoAccess, Tampered."""
        return self._rekeyed(stored, rekeying.Change(self._body(stored), stored.document["access"]))

    def delete(self, stored: Stored) -> Written:
        body = self._body(stored)
        return self._rewritten(stored, body, registers.deletion(body))

    def restore(self, stored: Stored) -> Written:
        return self._rewritten(stored, self._body(stored), registers.restoring())

    def secret_ids(self, stored: Stored) -> tuple[str, ...]:
        current = registers.secret_id(self._body(stored))
        chain = unwrap_chain(Subject.of(stored.id, stored.document), stored.document, self._keyring)
        return (current, *sorted(chain.secret_ids - {current}))

    def foreign_keys(self, stored: Stored) -> frozenset[DocId]:
        return unwrap_chain(Subject.of(stored.id, stored.document), stored.document, self._keyring).foreign_keys

    def _joined(self, leaves: Sequence[Stored]) -> merging.Joined:
        bodies = {leaf.rev: self._body(leaf) for leaf in leaves}
        body = joining.join(list(bodies.values()))
        return merging.Joined(
            body=body,
            clear=_still_clear(leaves, bodies, body),
            secret_ids=[*registers.read(body).links],
            whole={rev for rev, each in bodies.items() if joining.covers(each, body)},
        )

    def _body(self, stored: Stored) -> dict[str, Any]:
        return sealing.open_body(Subject.of(stored.id, stored.document), stored.document, self._keyring)

    def _registers(self, entity: Entity) -> Changes:
        named = with_record_ids(entity, lambda: self._entropy(RECORD_ID_BYTES).hex())
        return registers.flatten(authored(to_record(named)), record_lists(entity.TYPE))

    def _write(self, doc_id: DocId, body: registers.Body | None, changed: Changes) -> dict[str, Any]:
        author = self._writers.author(doc_id, body["context"] if body else {})
        after = registers.write(body, changed, author)
        self._writers.wrote(doc_id, author, after["context"])
        return after

    def _rewritten(self, stored: Stored, body: registers.Body, changed: Changes) -> Written:
        after = self._write(stored.id, body, changed)
        visible = _clear_fields(stored.document["type"], after)
        if not self._may_keep_key(stored):
            return self._rekeyed(stored, rekeying.Change(after, stored.document["access"], visible))
        edited = sealing.edit(_sealed(stored), after, self._keyring, self._entropy, clear=visible)
        return _written(edited, stored)

    def _may_keep_key(self, stored: Stored) -> bool:
        """Whether what is written next may stay under the content key."""
        return stored.is_safe and rekeying.is_sound(_sealed(stored), self._keyring)

    def _rekeyed(self, stored: Stored, change: rekeying.Change) -> Written:
        """Under a new content key, with the notice for those whom it puts out."""
        self._make_keys(parties_with_access(Subject.of(stored.id, stored.document), change.access))
        rekeyed = rekeying.rekey(_sealed(stored), change, self._keyring, self._entropy)
        written = _written(rekeyed.sealed, stored)
        if not rekeyed.outs:
            return written
        above = replace(_sealed(stored), rev=_above(stored))
        notice = _tombstone(merging.notice(above, change.access, sorted(rekeyed.outs)), above.rev)
        return replace(written, beside=(*written.beside, notice))

    def _make_keys(self, hcp_ids: Iterable[HcpId]) -> None:
        """Hcp keys towards all of these, as far as that can be: who is not known here, or not trusted, does without."""
        for hcp_id in sorted(hcp_ids):
            try:
                self._parties.key_towards(hcp_id)
            except NotFound:
                continue  # whoever granted him access knows him, and serves him later
            except (UntrustedKey, WeakKey) as error:
                self._parties.troubles[hcp_id] = error.wrong


def _parent_ids(stored: Stored, links: Mapping[str, Any]) -> dict[str, DocId]:
    """The links that the sealed body and the clear `secretForeignKeys` both state."""
    visible = stored.document.get("secretForeignKeys", ())
    return {
        secret_id: DocId(link["id"])
        for secret_id, link in links.items()
        if secret_id in visible and isinstance(link, dict) and isinstance(link.get("id"), str)
    }


def _is_content(path: registers.Path) -> bool:
    return path not in (registers.SECRET_ID, registers.DELETED) and path[0] != registers.LINKS


def _clear_fields(type_name: str, body: registers.Body) -> dict[str, Any]:
    """Fields that a deployment leaves readable: what the body shows of them stands in the document as well."""
    names = clear(type_name, SEALED_1)
    if not names:
        return {}
    shown = registers.read(body).record
    return {name: shown[name] for name in sorted(names) if name in shown}


def _still_clear(
    leaves: Sequence[Stored], bodies: Mapping[Rev, registers.Body], body: registers.Body
) -> dict[str, Any]:
    """What the joined body shows of the fields that stand in clear in every leaf that shows them."""
    clear_in = [sealing.clear_members(leaf.document) for leaf in leaves]
    if not any(clear_in):
        return {}
    shown_in = [registers.read(bodies[leaf.rev]).record for leaf in leaves]
    shown = registers.read(body).record
    names = {name for each in clear_in for name in each} - {
        name for clear_, shown_ in zip(clear_in, shown_in, strict=True) for name in shown_.keys() - clear_.keys()
    }
    return {name: shown[name] for name in sorted(names & shown.keys())}


def _joined_leaves(leaves: Sequence[Stored], merged: merging.Merged, out: tuple[Rev, ...]) -> Joined:
    above = max((leaf.rev for leaf in leaves), key=rev_order)
    ends = {leaf.rev: _tombstone(merging.retirement(_sealed(leaf)), leaf.rev) for leaf in leaves}
    beside = tuple(tombstone for rev, tombstone in sorted(ends.items()) if rev != above)
    if merged.outs and merged.same is None:
        sealed = next(_sealed(leaf) for leaf in leaves if leaf.rev == above)
        beside += (_tombstone(merging.notice(sealed, merged.sealed.document["access"], sorted(merged.outs)), above),)
    shown = Stored(
        merged.sealed.id, merged.sealed.rev, merged.sealed.document, tuple(sorted(ends)), beside, merged.is_safe
    )
    if merged.same is not None:
        kept = next(leaf for leaf in leaves if leaf.rev == merged.same)
        return Joined(
            replace(shown, rev=kept.rev, document=kept.document),
            tuple(tombstone for rev, tombstone in sorted(ends.items()) if rev != kept.rev),
            out,
        )
    written = Written(shown.id, shown.rev, above, shown.document, beside=beside)
    return Joined(shown, (written,) if merged.is_safe else None, out)


def _tombstone(sealed: Sealed, above: Rev) -> Written:
    return Written(sealed.id, sealed.rev, above, sealed.document, deleted=True)


def _sealed(stored: Stored) -> Sealed:
    return Sealed(stored.id, stored.rev, stored.document, stored.leaves)


def _written(sealed: Sealed, above: Stored | None) -> Written:
    if above is None:
        return Written(sealed.id, sealed.rev, None, sealed.document)
    return Written(sealed.id, sealed.rev, _above(above), sealed.document, beside=above.beside)


def _above(stored: Stored) -> Rev:
    """What a write over this one extends."""
    return extended(stored.leaves) or stored.rev
