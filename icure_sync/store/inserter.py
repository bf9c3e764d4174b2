"""How revisions get into the store. Owns the decisions of `apply`: what fits, what is new, what it displaces.

Knows the rows of documents that are here already; what changes is collected in a Batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from icure_sync.canonical import MAX_DEPTH, MAX_INTEGER
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, Rev, generation
from icure_sync.merge.revtree import Leaf, Path, RevTree, is_path
from icure_sync.replication.wire import Attachment, Refusal, Revision
from icure_sync.store.batch import Batch
from icure_sync.store.database import Database
from icure_sync.store.heads import Head, Term, read_head, stored_head
from icure_sync.store.limits import MAX_GENERATION_JUMP, MAX_ID, REVS_LIMIT
from icure_sync.store.rows import read_tree

_Arrival = tuple[Revision, Head]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a store takes. `revs_limit`: generations kept of each leaf's history; `max_depth`: of a body's JSON.

    `is_history`: which histories are well-formed, at least one revision, `N-text` with N falling by one.
    """

    revs_limit: int = REVS_LIMIT
    is_history: Callable[[Path], bool] = is_path
    max_depth: int = MAX_DEPTH


DEVICE_RULES: Final = Rules()


@dataclass(frozen=True, slots=True)
class _Known:
    """A document that is here already. `bodies`: the numbers of the revisions whose bodies are here."""

    number: int
    tree: RevTree
    bodies: dict[Rev, int] = field(default_factory=dict)
    terms: set[Term] = field(default_factory=set)


class Inserter:
    """Writes revisions, within a transaction of the caller's."""

    def __init__(self, database: Database, rules: Rules = DEVICE_RULES) -> None:
        self._database = database
        self._rules = rules

    def insert(self, revisions: Sequence[Revision]) -> list[Refusal]:
        """Take revisions as they are (`new_edits=false`). Returns those that cannot be taken."""
        refusals: list[Refusal] = []
        arrivals: dict[DocId, list[_Arrival]] = {}
        for revision in revisions:
            wrong = self._unfit(revision)
            if wrong is not None:
                refusals.append(_refusal(revision, wrong))
                continue
            try:
                head = read_head(revision.body, self._rules.max_depth)
            except InvalidEntity as error:
                refusals.append(_refusal(revision, error.wrong))
                continue
            arrivals.setdefault(revision.id, []).append((revision, head))
        known = self._known(arrivals)
        batch = Batch(self._database)
        for doc_id, arrived in arrivals.items():
            if doc_id not in known and len(arrived) == 1:
                refusals += self._insert_new(batch, doc_id, *arrived[0])
            else:
                refusals += self._insert_into(batch, doc_id, known.get(doc_id), arrived)
        batch.write()
        return refusals

    def _unfit(self, revision: Revision) -> str | None:
        """What keeps a revision from being stored, apart from its body; or None."""
        if not self._rules.is_history(revision.history):
            return "its history is not a list of revision ids, newest first, without gaps"
        if revision.attachments and not all(map(_is_storable, revision.attachments.values())):
            return "an attachment's length or revpos is not a number that JSON can hold"
        return _unfit_id(revision.id)

    def _insert_new(self, batch: Batch, doc_id: DocId, revision: Revision, head: Head) -> list[Refusal]:
        """The usual case of a first sync: a document that is not here, by one leaf."""
        history = revision.history
        if generation(history[0]) > MAX_GENERATION_JUMP:
            return [_refusal(revision, _JUMP)]
        tree = RevTree().graft(history[: self._rules.revs_limit], revision.deleted)
        number = batch.add_document(doc_id, revision, tree)
        batch.put_terms(number, set() if revision.deleted else head.terms())
        return []

    def _insert_into(
        self, batch: Batch, doc_id: DocId, known: _Known | None, arrived: Iterable[_Arrival]
    ) -> list[Refusal]:
        """The general case: what the tree does not know yet, or whose body is not here, is new."""
        before = known.tree if known else RevTree()
        bodies = known.bodies if known else {}
        refusals: list[Refusal] = []
        new: dict[Rev, _Arrival] = {}
        paths: list[tuple[tuple[Rev, ...], bool]] = []
        top = max((generation(leaf.rev) for leaf in before.leaves()), default=0)
        for revision, head in arrived:
            rev = revision.history[0]
            if generation(rev) > top + MAX_GENERATION_JUMP:
                refusals.append(_refusal(revision, _JUMP))
                continue
            top = max(top, generation(rev))
            first = rev not in bodies and rev not in new
            paths.append((revision.history, revision.deleted and first))  # known: its history may still be news
            if first:
                new[rev] = (revision, head)
        tree = before.graft_all(paths).stem(self._rules.revs_limit)
        if new or tree != before:
            self._put(batch, doc_id, known, tree, new)
        return refusals

    def _put(
        self,
        batch: Batch,
        doc_id: DocId,
        known: _Known | None,
        tree: RevTree,
        new: Mapping[Rev, _Arrival],
    ) -> None:
        number = known.number if known else batch.reserve_document()
        leaves = tree.leaves()
        standing = {leaf.rev for leaf in leaves}
        old = known.tree.leaves() if known else ()
        numbers = dict(known.bodies) if known else {}
        for rev, (revision, _) in new.items():
            if rev in tree:  # else it is older than all that is kept
                numbers[rev] = batch.add_revision(number, revision, leaf=rev in standing)
        ended = [leaf.rev for leaf in old if leaf.rev not in standing]
        for rev in ended:
            batch.displace(numbers[rev])
        for rev in self._cut_off(tree, known.bodies if known else {}):
            batch.drop_revision(numbers.pop(rev))
        if known is not None and not ended and new.keys().isdisjoint(standing):
            batch.put_tree(number, tree)
            return
        was_live = None if known is None else not old[0].deleted
        batch.put_document(number, doc_id, tree, numbers[leaves[0].rev], was_live=was_live)
        batch.put_terms(number, self._terms(leaves, numbers, new), known.terms if known else set())

    def _cut_off(self, tree: RevTree, bodies: Mapping[Rev, int]) -> list[Rev]:
        """Those of these revisions to which nothing leads any more, now that the tree has been stemmed."""
        end = max(generation(leaf.rev) for leaf in tree.leaves()) - self._rules.revs_limit
        return [rev for rev in bodies if generation(rev) <= end and rev not in tree] if end > 0 else []

    def _terms(self, leaves: Iterable[Leaf], numbers: Mapping[Rev, int], new: Mapping[Rev, _Arrival]) -> set[Term]:
        """What the document is looked up by: its live leaves."""
        terms: set[Term] = set()
        for leaf in leaves:
            if leaf.deleted:
                continue
            if leaf.rev in new:
                head = new[leaf.rev][1]
            else:
                head = stored_head(
                    self._database.value("SELECT body FROM revisions WHERE number = ?", (numbers[leaf.rev],))
                )
            terms |= head.terms()
        return terms

    def _known(self, ids: Iterable[DocId]) -> dict[DocId, _Known]:
        rows = self._database.rows(
            "SELECT d.id, d.number, d.rev, d.deleted, d.tree FROM json_each(?) j JOIN documents d ON d.id = j.value",
            (json.dumps(list(ids)),),
        )
        known = {number: (doc_id, _Known(number, read_tree(*tree))) for doc_id, number, *tree in rows}
        numbers = (json.dumps(list(known)),)
        of_these = "FROM json_each(?) j JOIN {} ON doc = j.value"
        for document, rev, number in self._database.rows(
            "SELECT doc, rev, number " + of_these.format("revisions"), numbers
        ):
            known[document][1].bodies[rev] = number
        for document, *term in self._database.rows("SELECT doc, kind, term " + of_these.format("terms"), numbers):
            known[document][1].terms.add(tuple(term))
        return dict(known.values())


_JUMP = f"its generation is more than {MAX_GENERATION_JUMP} past what is known of the document"


def _unfit_id(doc_id: DocId) -> str | None:
    """What keeps a document of this id from being stored; or None."""
    if not doc_id or len(doc_id) > MAX_ID:
        return f"its id is empty or longer than {MAX_ID} characters"
    if doc_id[0] == "_" and not doc_id.startswith("_design/"):
        return "its id begins with an underscore"
    if not doc_id.isascii() and not _is_text(doc_id):
        return "its id is not Unicode text"
    return None


def _is_storable(stub: Attachment) -> bool:
    return 0 <= stub.length <= MAX_INTEGER and 0 <= stub.revpos <= MAX_INTEGER


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _refusal(revision: Revision, reason: str) -> Refusal:
    return Refusal(revision.id, revision.history[0] if revision.history else None, "bad_request", reason)
