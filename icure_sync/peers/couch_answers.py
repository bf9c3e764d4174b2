"""What a CouchDB answers, as the values that travel. Pure: bytes in, values out.

Owns the decoding of the replication path. Nothing builds a document here: its members stay raw JSON, and a body is put
together from them again without those that begin with `_`. What is wrong with one document is a Refusal of that one;
what is wrong with a whole answer raises: Undecodable if it breaks off, BatchRefused if parts of it may be readable,
BadAnswer if it is something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from icure_sync.errors import IcureSyncError
from icure_sync.ids import MAX_REV_HASH, DocId, Rev, Seq
from icure_sync.peers.couch_refusals import error_in_feed, not_a_couchdb
from icure_sync.replication.trouble import BatchRefused, Undecodable
from icure_sync.replication.wire import Attachment, Change, Changes, Missing, PeerInfo, Refusal, Revision
from icure_sync.strict_json import is_too_deep

T = TypeVar("T")

MALFORMED = "malformed_document"  # the `error` of a Refusal of a document that does not parse

_HASH = re.compile(rf"[0-9a-f]{{1,{MAX_REV_HASH}}}\Z", re.ASCII)


_NULL = Raw(b"null")
_NO_REV = (None, "undefined")  # a CouchDB that was asked for all leaves of a document says the latter


class _Info(Struct):
    db_name: str
    update_seq: Raw
    instance_start_time: str | int = "0"
    doc_count: int | None = None


class _Leaf(Struct):
    rev: str


class _Row(Struct):
    id: str
    changes: list[_Leaf]
    seq: Raw = _NULL  # `Raw | None` would take null alone
    deleted: bool = False


class _Changes(Struct):
    results: list[_Row]
    last_seq: Raw
    pending: int | None = None


class _Line(Struct):
    id: str | UnsetType = UNSET
    changes: list[_Leaf] | UnsetType = UNSET
    seq: Raw = _NULL
    deleted: bool = False
    last_seq: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET


class _Entry(Struct):
    id: str


class _Listing(Struct):
    rows: list[_Entry]
    update_seq: Raw = _NULL


class _Missing(Struct):
    missing: list[str]
    possible_ancestors: list[str] = []


class _Done(Struct):
    ok: bool = False
    rev: str = ""


class _Failure(Struct):
    id: str | None = None
    rev: str | None = None
    error: str | None = None
    reason: str | None = None


class _Got(Struct):
    ok: Raw | UnsetType = UNSET
    error: _Failure | UnsetType = UNSET


class _Result(Struct):
    id: str
    docs: list[_Got]


class _BulkGet(Struct):
    results: list[_Result]


class _Path(Struct):
    start: int
    ids: list[str]


class _Stub(Struct):
    content_type: str = "application/octet-stream"
    length: int = 0
    digest: str = ""
    revpos: int = 0
    encoding: str = ""
    encoded_length: int = 0


class _Head(Struct, rename=lambda name: "_" + name):
    id: str
    rev: str
    revisions: _Path | None = None
    deleted: bool = False
    attachments: dict[str, _Stub] = {}


class _Named(Struct, rename=lambda name: "_" + name):
    rev: str


_info = msgspec.json.Decoder(_Info)
_changes = msgspec.json.Decoder(_Changes)
_line = msgspec.json.Decoder(_Line)
_listing = msgspec.json.Decoder(_Listing)
_missing = msgspec.json.Decoder(dict[str, _Missing])
_bulk_get = msgspec.json.Decoder(_BulkGet)
_bulk_docs = msgspec.json.Decoder(list[_Failure])
_done = msgspec.json.Decoder(_Done)
_object = msgspec.json.Decoder(dict[str, Any])
_head = msgspec.json.Decoder(_Head)
_named = msgspec.json.Decoder(_Named)
_members = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.Encoder().encode  # raw members come out as they went in


class Answers:
    """Decodes the answers of one peer. `peer`: its address, without credentials, for errors."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def info(self, body: bytes, attempted: str, database: str) -> PeerInfo:
        """`GET /db`."""
        info = self._decode(_info, body, attempted)
        if info.db_name != database:
            raise not_a_couchdb(attempted, self._peer, f"a database of another name, {info.db_name[:64]!r}")
        instance = str(info.instance_start_time)
        return PeerInfo(info.db_name, _seq(info.update_seq), instance, info.doc_count, self._peer)

    def changes(self, body: bytes, attempted: str) -> Changes:
        """`_changes?style=all_docs`. A seq that is no string is kept as its JSON text."""
        page = self._decode(_changes, body, attempted)
        rows = tuple(_change(row.id, row.changes, row.seq, row.deleted) for row in page.results)
        return Changes(rows, _seq(page.last_seq), page.pending)

    def feed(self, lines: Iterable[bytes], attempted: str, since: Seq) -> tuple[Changes, bool]:
        """Lines of `_changes?feed=continuous` as one page, and whether the feed ends with them.

        `since`: the last seq before them. Empty lines are heartbeats. What a CouchDB says at the end (`last_seq`) is
        no place to go on from: a database that was deleted ends its feed with one, too.
        Raises what a refusal with these words raises for an error among the rows.
        """
        rows = []
        ended = False
        for text in lines:
            if not text.strip():
                continue
            line = self._decode(_line, text, attempted)
            if line.error is not UNSET:
                raise error_in_feed(text, line.error, attempted, self._peer)
            if line.last_seq is not UNSET:
                ended = True
                break
            if line.id is UNSET or line.changes is UNSET:
                raise not_a_couchdb(attempted, self._peer, "other JSON than the protocol allows")
            rows.append(_change(line.id, line.changes, line.seq, line.deleted))
            since = rows[-1].seq or since
        return Changes(tuple(rows), since), ended

    def listed(self, body: bytes, attempted: str) -> tuple[tuple[DocId, ...], Seq | None]:
        """The ids in a view's rows, and its `update_seq`, if it was asked for."""
        found = self._decode(_listing, body, attempted)
        seq = None if bytes(found.update_seq) == b"null" else _seq(found.update_seq)
        return tuple([DocId(row.id) for row in found.rows]), seq

    def missing(self, body: bytes, attempted: str) -> Mapping[DocId, Missing]:
        """`_revs_diff`."""
        found = self._decode(_missing, body, attempted)
        return {
            DocId(doc_id): Missing(_revs(entry.missing), _revs(entry.possible_ancestors))
            for doc_id, entry in found.items()
        }

    def documents(self, body: bytes, attempted: str) -> list[Revision | Refusal]:
        """`_bulk_get?revs=true&att_encoding_info=true`."""
        answer = self._decode(_bulk_get, body, attempted)
        return [_got(result.id, got) for result in answer.results for got in result.docs]

    def refusals(self, body: bytes, attempted: str) -> list[Refusal]:
        """`_bulk_docs` with `new_edits=false`: failures only, in any order; other servers list successes too."""
        found = self._decode(_bulk_docs, body, attempted)
        return [_refusal(failure.id or "", failure) for failure in found if failure.error is not None]

    def local(self, body: bytes, attempted: str) -> dict[str, Any]:
        """A `_local` document, with its `_` members."""
        return self._decode(_object, body, attempted)

    def done(self, body: bytes, attempted: str) -> str:
        """What a server says that has done what it was asked: the revision that it wrote, if any.

        Any other JSON comes from somebody else, and then nothing was done.
        """
        said = self._decode(_done, body, attempted)
        if not said.ok:
            raise not_a_couchdb(attempted, self._peer, "other JSON than the protocol allows")
        return said.rev

    def _decode(self, decoder: msgspec.json.Decoder[T], body: bytes, attempted: str) -> T:
        try:
            return decoder.decode(body)
        except RecursionError as error:  # one document of many: asked for in parts, the others come
            raise BatchRefused(attempted, "nested_too_deeply", "more levels than can be read") from error
        except (msgspec.ValidationError, UnicodeDecodeError) as error:
            raise not_a_couchdb(attempted, self._peer, "other JSON than the protocol allows") from error
        except msgspec.DecodeError as error:
            raise self._no_json(body, attempted) from error

    def _no_json(self, body: bytes, attempted: str) -> IcureSyncError:
        if not body:
            return not_a_couchdb(attempted, self._peer, "nothing")
        if body.lstrip()[:1] in (b"{", b"["):
            return Undecodable(attempted, f"the answer of {self._peer} is broken JSON", "sync again")
        return not_a_couchdb(attempted, self._peer, "something that is not JSON")


def _change(doc_id: str, leaves: Sequence[_Leaf], seq: Raw, deleted: bool) -> Change:
    revs = tuple([Rev(leaf.rev) for leaf in leaves])
    return Change(DocId(doc_id), revs, None if bytes(seq) == b"null" else _seq(seq), deleted)


def _got(doc_id: str, got: _Got) -> Revision | Refusal:
    if got.ok is UNSET:
        return _refusal(doc_id, _Failure(error=MALFORMED) if got.error is UNSET else got.error)
    data = bytes(got.ok)
    try:
        return _revision(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        wrong = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Refusal(DocId(doc_id), _rev_of(data), MALFORMED, wrong)


def _revision(data: bytes) -> Revision:
    """Raises ValueError, RecursionError or msgspec's errors for a document that is not taken."""
    data.decode()  # msgspec does not look into members that it leaves raw
    if is_too_deep(data):
        raise RecursionError
    head = _head.decode(data)
    members = _members.decode(data)
    body = _encode({name: value for name, value in members.items() if name[:1] != "_"})
    attachments = {name: _attachment(name, stub) for name, stub in head.attachments.items()} if head.attachments else {}
    return Revision(DocId(head.id), _history(head), body, head.deleted, attachments)


def _history(head: _Head) -> tuple[Rev, ...]:
    path = head.revisions
    if path is None:
        return (Rev(head.rev),)
    ids, start = path.ids, path.start
    if not ids or len(ids) > start or head.rev != f"{start}-{ids[0]}":
        raise ValueError("its history does not lead to its revision")
    if not all(map(_HASH.match, ids)):
        raise ValueError("its history holds ids that are no revision ids")
    if len(ids) == 1:  # most documents of a first sync
        return (Rev(head.rev),)
    return tuple([Rev(f"{start - depth}-{digits}") for depth, digits in enumerate(ids)])


def _attachment(name: str, stub: _Stub) -> Attachment:
    if stub.length < 0 or stub.revpos < 0:
        raise ValueError("an attachment has a negative length or revpos")
    is_inside_unknown = stub.encoding == "gzip" and stub.length == stub.encoded_length
    packed = stub.length if is_inside_unknown else None  # else they are given as if they had never been packed
    return Attachment(name, stub.content_type, stub.length, stub.digest, stub.revpos, packed)


def _refusal(doc_id: str, failure: _Failure) -> Refusal:
    rev = None if failure.rev in _NO_REV else Rev(failure.rev)
    return Refusal(DocId(failure.id or doc_id), rev, failure.error or "unknown_error", failure.reason or "")


def _rev_of(data: bytes) -> Rev | None:
    """The revision that a document which does not parse says it is."""
    try:
        return Rev(_named.decode(data).rev)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def _revs(revs: Sequence[str]) -> tuple[Rev, ...]:
    return tuple([Rev(rev) for rev in revs])


def _seq(raw: Raw) -> Seq:
    text = bytes(raw).decode()
    return Seq(msgspec.json.decode(text) if text.startswith('"') else text)
