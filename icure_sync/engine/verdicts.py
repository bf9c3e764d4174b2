"""Verifying the revisions of records, lazily and once: the outcome is kept with the revision.

Owns what a state means. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from icure_sync import strict_json
from icure_sync.canonical import canonical
from icure_sync.crypto import sealing
from icure_sync.crypto.access import Statement, Subject, carried, check_statement, parties, union
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.revision import check_revision_id, extended
from icure_sync.crypto.signers import SigningKeys
from icure_sync.crypto.trust import Seen, Verdict, verify_record
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.errors import IcureSyncError, InvalidEntity, Misplaced, NotFound, Tampered, WriterOut
from icure_sync.ids import DocId, Rev, is_rev
from icure_sync.merge import registers
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.store.rows import Held

UNSEEN, VERIFIED, REFUSED = 0, 1, 2  # what `Held.state` says


@dataclass(slots=True)
class _Known:
    """The statements known of a document, as it stood at a seq."""

    doc_id: DocId
    seq: int
    statements: list[Statement]


class Verdicts:
    """Says of a revision whether it may be shown, merged or extended."""

    def __init__(self, store: Store, keyring: Keyring, signing_keys: SigningKeys, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self._keyring = keyring
        self._signing_keys = signing_keys
        self._known: _Known | None = None  # of the document that was looked at last: it may have hundreds of leaves

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
            document = strict_json.loads(held.revision.body, f"document {doc_id}")
            verdict = self._verify(held, document)
        except (WriterOut, Misplaced):
            raise  # not for good: it follows from the statements and the tree known now
        except (Tampered, InvalidEntity) as error:
            if not self._store.read_only:
                with self._store.transaction():
                    self._store.documents.mark_verified(doc_id, rev, REFUSED, error.wrong)
                    self._bell.ring(AlarmKind.TAMPERED, doc_id, f"revision {rev}: {error.wrong}")
            raise
        if verdict.pending:
            raise self._pending(doc_id, document, verdict)
        if not self._store.read_only:
            self.accept(doc_id, rev, document)

    def accept(self, doc_id: DocId, rev: Rev, document: Mapping[str, Any]) -> None:
        """This revision verifies (or was just written here): what it was made from need not be kept any longer.

        What that is its signature says, and not the revision tree, in which a server may put anything above anything.
        """
        with self._store.transaction():
            self._store.documents.mark_verified(doc_id, rev, VERIFIED)
            if made_from := self._made_from(doc_id, document):
                self._store.documents.prune(doc_id, made_from)
        if self._known is not None and self._known.doc_id == doc_id:
            self._known.statements.extend(document.get("access", ()))

    def accept_end(self, doc_id: DocId, tombstone: Rev, document: Mapping[str, Any]) -> None:
        """This tombstone counts: the body of what it ends need not be kept any longer."""
        with self._store.transaction():
            self._store.documents.mark_verified(doc_id, tombstone, VERIFIED)
            self._store.documents.prune(doc_id, self._made_from(doc_id, document))

    def _made_from(self, doc_id: DocId, document: Mapping[str, Any]) -> list[Rev]:
        """What this revision extends, as signed: its parent, that one's parent, as far as the bodies are here.

        A revision id states the content, and with it the parents; so a body counts whose id is the computed one.
        """
        line: list[Rev] = []
        above = _extended(document)
        while above is not None and (revision := self._store.documents.get(doc_id, above)) is not None:
            line.append(above)
            stated = self._as_its_id_says(revision)
            above = None if stated is None else _extended(stated)
        return line

    def _as_its_id_says(self, revision: Revision) -> Mapping[str, Any] | None:
        """The document, if its revision id is that of its content."""
        try:
            document = strict_json.loads(revision.body, f"document {revision.id}")
            check_revision_id(revision.id, revision.rev, document)
        except (Tampered, InvalidEntity):
            return None
        return document  # type: ignore[no-any-return]  # an object, or it would have no revision id

    def proven(self, subject: Subject, document: Mapping[str, Any]) -> list[Statement]:
        """The statements of a document whose signatures hold. Raises Tampered if one does not, or is malformed."""
        statements = carried(subject.id, document)
        return [each for each in statements if check_statement(subject, each, self._signing_keys)]

    def may_have_access(self, subject: Subject, document: Mapping[str, Any], by: str) -> bool:
        """Whether this Hcp may turn out to have access, by what is known and this document: every grant in it counts,
        whose signature nobody can judge yet, and no such revocation. Raises Tampered as `proven`."""
        stated = carried(subject.id, document)
        counted = [each for each in stated if self.holds(subject, each) or "grant" in each]
        return by in parties(subject, [*self.statements(subject.id), *counted])

    def holds(self, subject: Subject, statement: Statement) -> bool:
        """See `check_statement`."""
        return check_statement(subject, statement, self._signing_keys)

    def _verify(self, held: Held, document: Mapping[str, Any]) -> Verdict:
        revision = held.revision
        is_alone = len(revision.history) == 1 and held.live == 1
        tree = None if is_alone else self._store.documents.tree(revision.id)
        parents = tree.parents(revision.rev) if tree else ()
        known = self.statements(revision.id) if tree and len(tree.leaves()) > 1 else ()
        subject = Subject.of(revision.id, document)
        seen = Seen(parents, known, self._displaced(subject, document) if _states_parents(document) else ())
        verdict = verify_record(revision.id, revision.rev, document, self._signing_keys, seen)
        if any(self._signing_keys(each) is not None for each in verdict.pending):
            seen = replace(seen, statements=self.statements(revision.id), creators=self._creators(revision.id))
            verdict = verify_record(revision.id, revision.rev, document, self._signing_keys, seen)
        if not verdict.pending:
            registers.check_body(sealing.check_body(subject, document, self._keyring))
        return verdict

    def _pending(self, doc_id: DocId, document: Mapping[str, Any], verdict: Verdict) -> IcureSyncError:
        attempted = f"trust document {doc_id}"
        by = document["written"]["by"]
        if not self.may_have_access(Subject.of(doc_id, document), document, by):
            return Tampered(
                attempted,
                f"it names {by} as its writer, whom nothing in it gives access, whatever is not known here yet",
                "keep it aside and tell whoever runs the server",
            )
        unknown = sorted(each for each in verdict.pending if self._signing_keys(each) is None)
        if unknown:
            return NotFound(attempted, f"the keys of {', '.join(unknown)} are not here yet", "sync again")
        named = ", ".join(sorted(verdict.pending))
        return NotFound(
            attempted,
            f"nothing vouches (yet) for the key that signed it for {named}",
            f"sync again; if {named} has a new identity, compare the numbers and confirm it",
        )

    def statements(self, doc_id: DocId) -> tuple[Statement, ...]:
        """Those of the document's revisions that were verified, as far as they are here.

        What a verified revision carries all that descend from it carry, so a body that is gone hides no statement. Who
        is put out gets no later revision that he can look into: a notice tells him, and what it proves counts.
        """
        documents = self._store.documents
        seq = documents.seq_of(doc_id) or 0
        if self._known is None or (self._known.doc_id, self._known.seq) != (doc_id, seq):
            found: list[Statement] = []
            here = (*documents.held_leaves(doc_id), *documents.displaced(doc_id))
            for held in here:
                if held.state == VERIFIED and not held.revision.deleted:
                    found += _access(doc_id, held.revision.body)
            for held in here:
                if held.revision.deleted:
                    found += self._told(held.revision, found)
            self._known = _Known(doc_id, seq, union(found))
        return tuple(self._known.statements)

    def _told(self, revision: Revision, known: Sequence[Statement]) -> list[Statement]:
        """What a deleted revision proves, if it is a notice: each statement is signed, so it counts wherever it is."""
        with suppress(Tampered, InvalidEntity):
            document = strict_json.loads(revision.body, f"document {revision.id}")
            if document.get("notice") is True:
                subject = Subject.of(revision.id, document)
                seen = set(map(canonical, known))
                told = [each for each in carried(revision.id, document) if canonical(each) not in seen]
                return [each for each in told if check_statement(subject, each, self._signing_keys)]
        return []

    def _creators(self, doc_id: DocId) -> tuple[Mapping[str, str], ...]:
        """As verified revisions of the document state it: asked for when a signature cannot be judged by its key."""
        documents = self._store.documents
        held = (*documents.held_leaves(doc_id), *documents.displaced(doc_id))
        verified = [each.revision.body for each in held if each.state == VERIFIED and not each.revision.deleted]
        return tuple(each["creator"] for body in verified if (each := _record(doc_id, body)) is not None)

    def _displaced(self, subject: Subject, document: Mapping[str, Any]) -> tuple[Statement, ...]:
        """The proven ones of the revisions that it lists as parents, as far as their bodies are still here.

        Whether anybody has looked at these before makes no difference.
        """
        found: list[Statement] = []
        for parent in document["parents"]:
            displaced = self._store.documents.get(subject.id, parent)
            if displaced is None or displaced.deleted:
                continue
            if self._store.documents.verification(subject.id, parent) == (VERIFIED, ""):
                found += _access(subject.id, displaced.body)
            elif (stated := self._as_its_id_says(displaced)) is not None:
                with suppress(Tampered):
                    found += self.proven(subject, stated)
        return tuple(found)


def above(store: Store, revision: Revision) -> tuple[Rev, ...]:
    """What the tree has above a revision; several if somebody claims a second parent for it."""
    tree = store.documents.tree(revision.id) if len(revision.history) > 1 else None
    return tree.parents(revision.rev) if tree else ()


def _states_parents(document: Mapping[str, Any]) -> bool:
    parents = document.get("parents")
    return isinstance(parents, list) and all(map(is_rev, parents))


def _extended(document: Mapping[str, Any]) -> Rev | None:
    return extended(document["parents"]) if _states_parents(document) else None


def _access(doc_id: DocId, body: bytes) -> list[Statement]:
    document = _record(doc_id, body)
    return [] if document is None else list(document["access"])


def _record(doc_id: DocId, body: bytes) -> Mapping[str, Any] | None:
    """A verified revision, if it is one of a record: what is verified as something else, a head, say, states nothing
    of access, whatever members it has."""
    document: Mapping[str, Any] = strict_json.loads(body, "a verified document")
    try:
        Subject.of(doc_id, document)
        carried(doc_id, document)
    except Tampered:
        return None
    return document


def _refused(doc_id: DocId, why: str) -> IcureSyncError:
    return Tampered(f"trust document {doc_id}", why, "keep it aside and tell whoever runs the server")
