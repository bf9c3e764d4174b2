"""Verifying the revisions of records, lazily and once: the outcome is kept with the revision.

Owns what a state means. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto import sealing
from icure_sync.crypto.access import Statement, Subject, carried, check_statement
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.trust import Seen, Verdict, verify_record
from icure_sync.errors import IcureSyncError, InvalidEntity, Misplaced, NotFound, Tampered, WriterOut
from icure_sync.ids import DocId, Rev, generation, is_rev
from icure_sync.merge import registers
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.store.rows import Held

UNSEEN, VERIFIED, REFUSED = 0, 1, 2  # what `Held.state` says

SigningKeys = Callable[[str], bytes | None]


class Verdicts:
    """Says of a revision whether it may be shown, merged or extended."""

    def __init__(self, store: Store, keyring: Keyring, signing_keys: SigningKeys) -> None:
        self._store = store
        self._keyring = keyring
        self._signing_keys = signing_keys

    def require(self, held: Held) -> None:
        """That this revision of a `sealed-1` record verifies. Looks only once at each.

        Raises Tampered if it does not; NotFound if somebody who signed it is not known here yet; NoAccess if its body
        could not be looked at.
        """
        if held.state == VERIFIED:
            return
        doc_id, rev = held.revision.id, held.revision.rev
        if held.state == REFUSED:
            raise _refused(doc_id, held.why)
        try:
            verdict = self._verify(held)
        except (WriterOut, Misplaced):
            raise  # not for good: it follows from the statements and the tree known now
        except (Tampered, InvalidEntity) as error:
            if not self._store.read_only:
                self._store.documents.mark_verified(doc_id, rev, REFUSED, error.wrong)
            raise
        if verdict.pending:
            unknown = ", ".join(sorted(verdict.pending))
            raise NotFound(f"trust document {doc_id}", f"the keys of {unknown} are not here yet", "sync again")
        if not self._store.read_only:
            self.accept(doc_id, rev)

    def accept(self, doc_id: DocId, rev: Rev) -> None:
        """This revision verifies (or was just written here): what it descends from need not be kept any longer.

        What something else displaced stays: it may be all that is genuine on its branch.
        """
        with self._store.transaction():
            self._store.documents.mark_verified(doc_id, rev, VERIFIED)
            tree = self._store.documents.tree(doc_id) if generation(rev) > 1 else None
            if tree is not None:
                self._store.documents.prune(doc_id, tree.history(rev)[1:])

    def accept_end(self, doc_id: DocId, tombstone: Rev) -> None:
        """This tombstone counts: the body of what it ends need not be kept any longer."""
        with self._store.transaction():
            self._store.documents.mark_verified(doc_id, tombstone, VERIFIED)
            tree = self._store.documents.tree(doc_id)
            if tree is not None:
                self._store.documents.prune(doc_id, tree.history(tombstone)[1:])

    def proven(self, subject: Subject, document: Mapping[str, Any]) -> list[Statement]:
        """The statements of a document whose signatures hold. Raises Tampered if one does not, or is malformed."""
        statements = carried(subject.id, document)
        return [each for each in statements if check_statement(subject, each, self._signing_keys)]

    def _verify(self, held: Held) -> Verdict:
        revision = held.revision
        document = strict_json.loads(revision.body, f"document {revision.id}")
        is_alone = len(revision.history) == 1 and held.live == 1
        tree = None if is_alone else self._store.documents.tree(revision.id)
        parents = tree.parents(revision.rev) if tree else ()
        known = self.statements(revision.id) if tree and len(tree.leaves()) > 1 else ()
        seen = Seen(parents, known, self._displaced(revision.id, document))
        verdict = verify_record(revision.id, revision.rev, document, self._signing_keys, seen)
        if not verdict.pending:
            subject = Subject.of(revision.id, document)
            registers.check_body(sealing.check_body(subject, document, self._keyring))
        return verdict

    def statements(self, doc_id: DocId) -> tuple[Statement, ...]:
        """Those of the document's revisions that were verified, as far as they are here.

        What a verified revision carries all that descend from it carry, so a body that is gone hides no statement.
        """
        found: list[Statement] = []
        documents = self._store.documents
        for held in (*documents.held_leaves(doc_id), *documents.displaced(doc_id)):
            if held.state == VERIFIED and not held.revision.deleted:
                found += _access(held.revision.body)
        return tuple(found)

    def _displaced(self, doc_id: DocId, document: Mapping[str, Any]) -> tuple[Statement, ...]:
        """Those of the verified revisions that it lists as parents, as far as their bodies are still here."""
        found: list[Statement] = []
        parents = document.get("parents")
        for parent in parents if isinstance(parents, list) else ():
            if not is_rev(parent) or self._store.documents.verification(doc_id, parent) != (VERIFIED, ""):
                continue
            displaced = self._store.documents.get(doc_id, parent)
            if displaced is not None and not displaced.deleted:
                found += _access(displaced.body)
        return tuple(found)


def above(store: Store, revision: Revision) -> tuple[Rev, ...]:
    """What the tree has above a revision; several if somebody claims a second parent for it."""
    tree = store.documents.tree(revision.id) if len(revision.history) > 1 else None
    return tree.parents(revision.rev) if tree else ()


def _access(body: bytes) -> list[Statement]:
    document = strict_json.loads(body, "a verified document")
    return list(document.get("access", ()))


def _refused(doc_id: DocId, why: str) -> IcureSyncError:
    return Tampered(f"trust document {doc_id}", why, "keep it aside and tell whoever runs the server")
