"""Review: which records a person should look at, what there is to see, and what a person's decision writes.

Owns what counts as a conflict. Which leaves may be shown is opening.py's to say, what is written the suites'. A record
is opened for this only if it may be in conflict, once for each change of it. Of Hcps, the own one is among them: nobody
else decides for it, nor it for others. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from icure_sync.engine import hcp_document
from icure_sync.engine.choices import chosen
from icure_sync.engine.conflict import Conflict, Disputed, Reason, Standing
from icure_sync.engine.hcps import Hcps, Own
from icure_sync.engine.hidden import Hidden, Look
from icure_sync.engine.opening import UNREADABLE, Leaves, Opened, Opener, not_found
from icure_sync.engine.records import Records
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Content, Stored
from icure_sync.engine.trail import Action, Deed
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, StaleRevision, UnsupportedSuite, WriterOut
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.merge.disputes import Version
from icure_sync.merge.registers import Path
from icure_sync.model import ENTITY_CLASSES, Entity, entity_class, from_record
from icure_sync.store import Store

PAGE = 128  # records opened between two looks of the event loop: some 100 ms

# In a sealed document that was never merged; alternatives come from merges alone. JSON has no other text for it that
# anybody writes; where somebody does, the record is opened in vain.
_NEVER_MERGED = b'"merged":[]'

_TYPES = {cls.TYPE for cls in ENTITY_CLASSES if not cls.CLEAR_DOCUMENT}  # those of records
_Offers = Mapping[str, tuple[Any, ...]]
_ORDER = "order"
_OTHER_FILES = "it has other files than what is shown, and a merge would lose them"


class Review:
    """The records of one Hcp in one store that are left to a person. `me`: that Hcp."""

    def __init__(
        self,
        store: Store,
        me: HcpId,
        *,
        hcps: Hcps,
        opener: Opener,
        hidden: Hidden,
        records: Records,
        sealed: SealedSuite,
    ) -> None:
        self._store = store
        self._me = DocId(me)
        self._hcps = hcps
        self._opener = opener
        self._hidden = hidden
        self._records = records
        self._sealed = sealed

    # Finding

    def advance(self) -> bool:
        """Look at a page of what has changed. False: there is no more, or the file cannot be written."""
        if self._store.read_only:
            return False
        since = self._store.reviews.through()
        with self._store.transaction():
            ids, through = self._store.reviews.changed(since, _NEVER_MERGED, PAGE)
            if through != since:
                self._store.reviews.put(through, [doc_id for doc_id in ids if self.look(doc_id) is not None])
        return through != since

    def ids(self) -> list[DocId]:
        """Records to look at, as far as `advance` has come; of a file that cannot be written, all of them."""
        listed = self._store.reviews.ids()
        if not self._store.read_only:
            return listed
        since = self._store.reviews.through()
        while True:
            found, through = self._store.reviews.changed(since, _NEVER_MERGED, PAGE)
            if through == since:
                return [doc_id for doc_id in dict.fromkeys(listed) if self.look(doc_id) is not None]
            listed += found
            since = through

    def look(self, doc_id: DocId) -> Conflict | None:
        """What there is to see of one record, or of the own Hcp; None if nothing is left to a person."""
        if doc_id == self._me:
            return self._look_at_me()
        leaves = self._opener.leaves(doc_id)
        shown = self._shown(doc_id, leaves)
        fields = _fields(shown.stored, shown.content, shown.suite.versions) if shown else ()
        standing = self._standing(doc_id, leaves, shown)
        if shown is not None and fields:
            standing += _waiting([leaf.stored for leaf in leaves.opened if leaf.stored.rev in shown.stored.leaves])
        live = [leaf.rev for leaf in self._tree_leaves(doc_id) if leaf.rev in leaves.others or _has(leaves, leaf.rev)]
        type_ = shown.content.type if shown else self._stated_type(doc_id, live)
        if not (fields or standing) or (shown is None and (len(live) < 2 or type_ not in _TYPES)):
            return None
        return Conflict(doc_id, type_, shown.entity if shown else None, tuple(live), fields, standing)

    def _look_at_me(self) -> Conflict | None:
        """Its leaves that are not believed are among what is untrusted, and nothing for anybody to decide."""
        own = self._own()
        fields = _own_fields(own) if own else ()
        if own is None or not fields:
            return None
        live = tuple(leaf.rev for leaf in self._tree_leaves(own.stored.id) if not leaf.deleted)
        merged = [self._stored(own.stored.id, rev) for rev in live if rev in own.stored.leaves]
        return Conflict(own.stored.id, own.content.type, own.hcp, live, fields, _waiting(merged))

    # Deciding

    def resolve(self, record: Conflict | Entity | str, choices: Any) -> Entity:
        """Write the registers that are chosen, over what was seen. See `chosen`."""
        own = self._own() if _id(record) == self._me else None
        if own is not None:
            _require_seen(record, own)
            return self._hcps.settle(own, chosen(own.stored.id, _own_fields(own), choices))
        opened = self._seen(record)
        fields = _fields(opened.stored, opened.content, opened.suite.versions)
        written = opened.suite.settle(opened.stored, chosen(opened.stored.id, fields, choices))
        return self._records.keep(written, opened.suite, Deed(Action.RESOLVED))

    def adopt(self, record: Conflict | Entity | str, rev: Rev | None) -> Entity:
        """Write what a leaf of somebody who is out offers, over what is shown, and end the leaf.

        Or what such a leaf offers that something hid which does not count. Raises NotFound for what is no such leaf,
        and what stands against one that cannot be adopted.
        """
        doc_id = _id(record)
        leaves, shown = self._opener.leaves(doc_id), self._opener.open(doc_id)
        hidden = self._hidden.look(doc_id, leaves)
        outs = (*_outs(leaves, shown), *(each.rev for each, _ in self._offering(hidden, shown)))
        if rev is None:
            if len(outs) != 1:
                wrong = f"{len(outs)} of its leaves are by somebody who is out"
                raise InvalidEntity(f"adopt a leaf of {doc_id}", wrong, "name one that conflicts() lists as out")
            rev = outs[0]
        if rev not in outs:
            if rev in leaves.others:
                raise leaves.others[rev]
            wrong = "it is in what is shown" if _has(leaves, rev) else "it is no live leaf of that record"
            raise NotFound(f"adopt {rev} of {doc_id}", wrong, "name one that conflicts() lists as out")
        written = self._sealed.adopt(shown.stored, self._stored(doc_id, rev), hidden.earlier.get(rev, ()))
        return self._records.keep(written, self._sealed, Deed(Action.ADOPTED, {"leaf": rev}))

    def _seen(self, record: Conflict | Entity | str) -> Opened:
        """Over what was seen: values that nobody has looked at yet must stay."""
        entity = record.entity if isinstance(record, Conflict) else record
        if isinstance(entity, str):
            return self._opener.open(DocId(entity))
        if entity is None:
            raise not_found(Entity, DocId(str(getattr(record, "id", ""))))
        return self._records.shown(entity)

    def _own(self) -> Own | None:
        with suppress(*UNREADABLE):
            return self._hcps.own()
        return None

    def _shown(self, doc_id: DocId, leaves: Leaves) -> Opened | None:
        """What `Opener.open` gives; most leaves are open already."""
        with suppress(*UNREADABLE):
            if leaves.opened:
                return self._opener.join(leaves)
        try:
            return self._opener.open(doc_id)
        except UNREADABLE:
            return None

    def _standing(self, doc_id: DocId, leaves: Leaves, shown: Opened | None) -> tuple[Standing, ...]:
        outs = _outs(leaves, shown) if shown else ()
        found = [self._out(self._stored(doc_id, rev), shown) for rev in outs if shown]
        if shown is not None:
            look = self._hidden.look(doc_id, leaves)
            found += [_standing_out(each, offered) for each, offered in self._offering(look, shown)]
        found += [Standing(leaf.stored.rev, Reason.APART, _OTHER_FILES) for leaf in _apart(leaves)]
        for rev, error in leaves.others.items():
            if rev in outs or not isinstance(error, UNREADABLE):
                continue
            reason = _reason(error)
            by = None if reason is Reason.TAMPERED else self._by(doc_id, rev)
            found.append(Standing(rev, reason, error.wrong, by))
        return tuple(found)

    def _out(self, leaf: Stored, shown: Opened) -> Standing:
        try:
            return _standing_out(leaf, self._offered(leaf, shown))
        except UNREADABLE as error:
            standing = _standing_out(leaf, None)
            return replace(standing, why=f"{standing.why}, and it does not open: {error.wrong}")

    def _offering(self, look: Look, shown: Opened) -> Iterator[tuple[Stored, _Offers]]:
        """What is hidden of those who are out, as far as it has something to offer: the rest is not worth a look."""
        for stored in look.out:
            if shown.suite is self._sealed and stored.rev not in (shown.stored.rev, *shown.stored.leaves):
                with suppress(*UNREADABLE):
                    if offered := self._offered(stored, shown):
                        yield stored, offered

    def _offered(self, leaf: Stored, shown: Opened) -> _Offers:
        offered = self._sealed.offered(shown.stored, leaf)
        return dict(_named(shown.stored, shown.content.type, offered).values())

    def _stored(self, doc_id: DocId, rev: Rev) -> Stored:
        held = self._store.documents.held(doc_id, rev)
        assert held is not None  # it was looked at a moment ago
        return self._opener.read(held)

    def _by(self, doc_id: DocId, rev: Rev) -> HcpId | None:
        try:
            return _writer(self._stored(doc_id, rev))
        except InvalidEntity:
            return None

    def _stated_type(self, doc_id: DocId, live: Sequence[Rev]) -> str:
        for rev in live:
            try:
                type_ = self._stored(doc_id, rev).document.get("type")
            except InvalidEntity:
                continue
            if isinstance(type_, str):
                return type_
        return ""

    def _tree_leaves(self, doc_id: DocId) -> Sequence[Any]:
        tree = self._store.documents.tree(doc_id)
        return tree.leaves() if tree else ()


def live_leaves(store: Store) -> list[Conflict]:
    """For who has no keys: documents with several live leaves, of which it can say no more."""
    found = []
    for doc_id in store.documents.conflicted_ids():
        leaves = (leaf.rev for leaf in store.documents.leaves(doc_id) if not leaf.deleted)
        found.append(Conflict(doc_id, "", None, tuple(leaves)))
    return found


async def conflict_ids(store: Store, review: Review) -> list[DocId]:
    """Every record to look at, those that sync has just brought included."""
    while await store.run(review.advance):
        pass
    return await store.run(review.ids)


async def conflict_count(store: Store, review: Review | None) -> int:
    """How many there are; without keys, documents with several live leaves."""
    if review is None:
        return len(await store.run(store.documents.conflicted_ids))
    return len(await conflict_ids(store, review))


def _fields(
    stored: Stored, content: Content, versions_of: Callable[[Stored], Mapping[Path, Sequence[Version]]]
) -> tuple[Disputed, ...]:
    """Of a deleted record nothing is in dispute, until it is restored."""
    if content.deleted or not content.siblings:
        return ()
    versions = versions_of(stored)
    plain = {path: [each.value for each in found] for path, found in versions.items()}
    named = _named(stored, content.type, plain)
    fields = []
    for path, (name, values) in named.items():
        first, *others = [replace(each, value=value) for each, value in zip(versions[path], values, strict=True)]
        fields.append(Disputed(path, name, first, tuple(others)))
    return tuple(fields)


def _own_fields(own: Own) -> tuple[Disputed, ...]:
    return _fields(own.stored, own.content, hcp_document.versions)


def _named(stored: Stored, type_: str, values: Mapping[Path, Sequence[Any]]) -> dict[Path, tuple[str, tuple[Any, ...]]]:
    """Values of registers as the entity's fields have them, with the field's name; no orders. Raises InvalidEntity."""
    found = {}
    cls = entity_class(type_)
    for path, each in values.items():
        if path[0] != _ORDER:
            read = from_record(cls, {}, id=stored.id, rev=stored.rev, siblings={path: each})
            ((name, typed),) = read.alternatives.items()
            found[path] = name, typed
    return found


def _outs(leaves: Leaves, shown: Opened) -> tuple[Rev, ...]:
    """Leaves that verify, but that who wrote them is out; some since they were first looked at."""
    taken = {*shown.stored.leaves, shown.stored.rev}
    left = [leaf.stored.rev for leaf in leaves.opened if leaf.suite.is_authenticated and leaf.stored.rev not in taken]
    return (*left, *(rev for rev, error in leaves.others.items() if isinstance(error, WriterOut)))


def _standing_out(leaf: Stored, offers: _Offers | None) -> Standing:
    by = _writer(leaf)
    return Standing(leaf.rev, Reason.OUT, f"{by}, who wrote it, has no access any more", by, offers)


def _apart(leaves: Leaves) -> list[Opened]:
    return [leaf for leaf in leaves.opened if not leaf.joins(leaves.opened[0])]


def _waiting(merged: Sequence[Stored]) -> tuple[Standing, ...]:
    if len(merged) < 2:
        return ()
    return tuple(
        Standing(leaf.rev, Reason.WAITING, "its merge is shown, and not written yet", _writer(leaf)) for leaf in merged
    )


def _id(record: Conflict | Entity | str) -> DocId:
    return DocId(record if isinstance(record, str) else record.id)


def _require_seen(record: Conflict | Entity | str, own: Own) -> None:
    seen = record.entity if isinstance(record, Conflict) else record
    if isinstance(seen, Entity) and seen.rev != own.stored.rev:
        raise StaleRevision(f"settle the Hcp {seen.id}", f"{seen.rev} has been replaced since", "read it again")


def _has(leaves: Leaves, rev: Rev) -> bool:
    return any(leaf.stored.rev == rev for leaf in leaves.opened)


def _reason(error: Exception) -> Reason:
    if isinstance(error, NotFound):
        return Reason.PENDING
    return Reason.UNREADABLE if isinstance(error, NoAccess | UnsupportedSuite) else Reason.TAMPERED


def _writer(stored: Stored) -> HcpId | None:
    """Who wrote it, or says so."""
    mark = stored.document.get("written")
    by = mark.get("by") if isinstance(mark, dict) else None
    return HcpId(by) if isinstance(by, str) else None
