"""The filters of a changes feed: `_doc_ids`, `_selector`, `_design`. Knows the store's rows, no HTTP.

Each leaf is filtered by its own body, as CouchDB does: a row passes if any of the leaves looked at passes, and shows
those that did. Server-side JavaScript is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from icure_sync.hub.answers import encode
from icure_sync.hub.errors import HttpRefusal, bad_request, not_found, not_offered
from icure_sync.hub.limits import QUICK_SELECTOR
from icure_sync.hub.mango import Predicate, compile_selector
from icure_sync.hub.paths import DESIGN
from icure_sync.hub.queries import Query
from icure_sync.ids import DocId
from icure_sync.merge.revtree import Leaf
from icure_sync.replication.wire import Revision
from icure_sync.store import DocumentChange, Store

Document = Mapping[str, Any]
_SLOW = (b'"$regex"', b'"$elemMatch"', b'"$allMatch"', b'"$keyMapMatch"')  # may look at every part of a document
_DELEGATE = re.compile(r"delegations\.([^.\\]+)\Z")
DesignReader = Callable[[DocId], Awaitable[Revision | None]]


@dataclass(frozen=True, slots=True)
class DeviceForm:
    """A selector of the form `{"$or": [{"delegations.<delegate>": {"$exists": true}}, …]}`, taken apart.

    That of a replica, which many feeds at once have, alike but for the delegate. `rest` judges by what else stands in
    the `$or`; `rest_text` is equal where that is.
    """

    delegate: str
    rest: Predicate
    rest_text: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Either by id alone (`ids`), or by the document of each leaf (`document`). `all_leaves`: `style=all_docs`.

    `is_slow`: it may take so long that it is asked in the store's thread only, where others get their turn.
    """

    ids: Callable[[str], bool] | None = None
    document: Predicate | None = None
    all_leaves: bool = True
    device: DeviceForm | None = None
    is_slow: bool = False


async def parse_filter(
    design_of: DesignReader, query: Query, body: Mapping[str, Any], *, all_leaves: bool
) -> tuple[Filter | None, tuple[str, ...] | None]:
    """The filter that a request names, and the fields of included documents that `_selector` may choose.

    Raises bad_request; not_found for a function that no design document has; not_implemented for one that it has.
    """
    name = query.text("filter")
    if not name:
        return None, None
    if name == "_doc_ids":
        ids = body.get("doc_ids", query.json("doc_ids"))
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise bad_request("`doc_ids` filter parameter is not a list of doc ids.")
        return Filter(ids=frozenset(ids).__contains__, all_leaves=all_leaves), None
    if name == "_design":
        return Filter(ids=_is_design, all_leaves=all_leaves), None
    if name == "_selector":
        return _selector_filter(body, all_leaves=all_leaves)
    if name == "_view":
        if "view" not in query:
            raise bad_request("`view` filter parameter is not provided.")
        await _refuse_function(design_of, query.text("view"), "views")
    if name.startswith("_"):
        raise bad_request("unknown builtin filter name")
    await _refuse_function(design_of, name, "filters")
    return None, None


def _selector_filter(body: Mapping[str, Any], *, all_leaves: bool) -> tuple[Filter, tuple[str, ...] | None]:
    if "selector" not in body:
        raise bad_request("Selector must be specified in POST payload")
    if not isinstance(body["selector"], dict):
        raise bad_request("Selector error: expected a JSON object")
    try:
        predicate = compile_selector(body["selector"])
    except HttpRefusal as refusal:
        raise bad_request(refusal.reason) from refusal
    fields = body.get("fields")
    if fields is not None and not (isinstance(fields, list) and all(isinstance(one, str) for one in fields)):
        raise bad_request("Selector error: fields must be JSON array")
    device = _device_form(body["selector"])
    text = encode(body["selector"])
    is_slow = len(text) > QUICK_SELECTOR or any(name in text for name in _SLOW)
    wanted = Filter(document=predicate, all_leaves=all_leaves, device=device, is_slow=is_slow)
    return wanted, tuple(fields) if fields else None


def _device_form(selector: Mapping[str, Any]) -> DeviceForm | None:
    match selector:
        case {"$or": [{**first}, *rest]} if rest and len(selector) == len(first) == 1:
            ((name, condition),) = first.items()
            match = _DELEGATE.match(str(name))
            if match is not None and condition == {"$exists": True}:
                return DeviceForm(match[1], compile_selector({"$or": rest}), encode(rest))
    return None


async def _refuse_function(design_of: DesignReader, name: str, member: str) -> None:
    """What design documents filter by is JavaScript: say whether it is not there, or not offered."""
    design, slash, function = name.partition("/")
    if not slash:
        raise bad_request("`filter` must be of the form `designname/filtername`")
    found = await design_of(DocId(DESIGN + design))
    if found is None or found.deleted:
        raise not_found()
    functions = msgspec.json.decode(found.body).get(member)
    if not isinstance(functions, dict):
        raise not_found(f"missing json key: {member}")
    if function not in functions:
        raise not_found(f"missing json key: {function[:80]}")
    raise not_offered("a filter written in JavaScript")


def pick_fields(revision: Revision, fields: tuple[str, ...]) -> dict[str, Any]:
    """The members named, as paths with dots, of a document."""
    document = as_document(revision) or {}
    picked: dict[str, Any] = {}
    for field in fields:
        value: Any = document
        names = field.split(".")
        for name in names:
            value = value[name] if isinstance(value, Mapping) and name in value else None
        if value is not None:
            inner = picked
            for name in names[:-1]:
                inner = inner.setdefault(name, {})
            inner[names[-1]] = value
    return picked


def _is_design(doc_id: str) -> bool:
    return doc_id.startswith(DESIGN)


def passing_leaves(
    wanted: Filter, change: DocumentChange, document_of: Callable[[Leaf], Document | None]
) -> tuple[Leaf, ...]:
    """The leaves of a row that pass."""
    leaves = change.leaves if wanted.all_leaves else change.leaves[:1]
    if wanted.ids is not None:
        return leaves if wanted.ids(change.id) else ()
    predicate = wanted.document
    assert predicate is not None
    return tuple(leaf for leaf in leaves if (one := document_of(leaf)) is not None and predicate(one))


def document_reader(store: Store, doc_id: DocId) -> Callable[[Leaf], Document | None]:
    """Reads the leaves of one document as selectors see them."""

    def read(leaf: Leaf) -> Document | None:
        revision = store.documents.get(doc_id, leaf.rev)
        return None if revision is None else as_document(revision)

    return read


def as_document(revision: Revision) -> Document | None:
    """What a selector sees: the body and the `_` members that CouchDB shows it. None: no reader can hold its values."""
    try:
        document: dict[str, Any] = msgspec.json.decode(revision.body)
    except msgspec.DecodeError:
        return None
    document["_id"] = revision.id
    document["_rev"] = revision.rev
    if revision.deleted:
        document["_deleted"] = True
    if revision.attachments:
        document["_attachments"] = {
            name: {"content_type": one.content_type, "length": one.length, "digest": one.digest, "revpos": one.revpos}
            for name, one in revision.attachments.items()
        }
    return document
