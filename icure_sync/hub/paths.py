"""The path of a request, taken apart as CouchDB does; and put together again for `Location`. Knows no store.

Segments are decoded one by one, so that `%2F` inside an id is a part of the id. A plus sign in a path is a space, as
in CouchDB (write `%2B` for a plus sign).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus

from icure_sync.hub.errors import HttpRefusal, bad_request, illegal_docid
from icure_sync.hub.limits import MAX_DATABASE_NAME
from icure_sync.ids import DocId

_DATABASE_NAME = re.compile(r"[a-z][a-z0-9_$()+/-]*\Z", re.ASCII)
SYSTEM_DATABASES = frozenset({"_users"})
DESIGN = "_design/"
LOCAL = "_local/"


@dataclass(frozen=True, slots=True)
class Path:
    """`/db/a/b`: segments ("db", "a", "b"), decoded. The root has none; a trailing slash adds none."""

    segments: tuple[str, ...]

    @property
    def first(self) -> str:
        """The database, or a name of the server such as `_session`; "" for the root."""
        return self.segments[0] if self.segments else ""


def parse_path(raw: str) -> Path:
    """The path of a request target (up to its `?`). Raises bad_request for what is not UTF-8."""
    path = raw.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):  # an absolute target, as a proxy sends it
        path = "/" + path.partition("://")[2].partition("/")[2]
    try:
        segments = tuple(unquote_plus(segment, errors="strict") for segment in path[1:].split("/"))
    except UnicodeDecodeError as error:
        raise bad_request("the path is not UTF-8") from error
    while segments and not segments[-1]:
        segments = segments[:-1]
    return Path(segments)


def document_of(segments: tuple[str, ...]) -> tuple[DocId, str]:
    """The document id and the attachment name ("": none) that follow the database in a path."""
    if segments[0] in {"_design", "_local"} and len(segments) > 1:
        return DocId(f"{segments[0]}/{segments[1]}"), "/".join(segments[2:])
    return DocId(segments[0]), "/".join(segments[1:])


def check_database_name(name: str) -> str:
    """`name`, if CouchDB would take it. Raises illegal_database_name, database_name_too_long."""
    if name not in SYSTEM_DATABASES and not _DATABASE_NAME.match(name):
        reason = (
            "Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, and / "
            "are allowed. Must begin with a letter."
        )
        raise HttpRefusal(400, "illegal_database_name", f"Name: {name!r}. {reason}")
    if len(name) > MAX_DATABASE_NAME:
        raise HttpRefusal(400, "database_name_too_long", f"At least one path segment of `{name}` is too long.")
    return name


def check_doc_id(doc_id: object) -> DocId:
    """`doc_id`, if a document may be called so. Raises illegal_docid."""
    if not isinstance(doc_id, str):
        raise illegal_docid("Document id must be a string")
    if not doc_id:
        raise illegal_docid("Document id must not be empty")
    if doc_id.startswith("_") and not _is_special(doc_id):
        raise illegal_docid("Only reserved document ids may start with underscore.")
    return DocId(doc_id)


def location(base: str, database: str, doc_id: str, attachment: str = "") -> str:
    """The URL of a document; `base` is `scheme://host`."""
    head, slash, rest = doc_id.partition("/")
    is_special = slash and head in {"_design", "_local"}
    path = f"{head}/{quote(rest, safe='')}" if is_special else quote(doc_id, safe="")
    tail = "/" + quote(attachment, safe="/") if attachment else ""
    return f"{base}/{quote(database, safe='')}/{path}{tail}"


def _is_special(doc_id: str) -> bool:
    return any(doc_id.startswith(prefix) and len(doc_id) > len(prefix) for prefix in (DESIGN, LOCAL))
