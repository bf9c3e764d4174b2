"""Everything that a server holds of one database: read over plain HTTP, independently of the sync engine.

All leaves of all documents, their ancestors as far as they are kept, attachments, `_local` documents and the security
object, as a curious administrator would read them. Knows no keys.
"""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from icure_sync.errors import BadAnswer, Unreachable

BATCH = 200  # documents asked for at once
TIMEOUT = 60.0  # seconds for one answer
JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that the server holds: a JSON value, or the bytes of an attachment. `size` in bytes."""

    name: str
    content: Any
    size: int


class CuriousAdministrator:
    """Reads one database of a CouchDB or a hub with the administrator's password in the URL."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
        self._path = parts.path.rstrip("/")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._headers = {**JSON_HEADERS, "Authorization": "Basic " + b64encode(login.encode()).decode()}

    def pieces(self) -> Iterator[Piece]:
        """All that is there. Raises Unreachable, BadAnswer. Blocks: run it in a thread."""
        with self._typed_errors():
            yield self._piece("security object", "/_security")
            yield self._piece("local documents", "/_local_docs?include_docs=true")
            rows = self._json("GET", "/_changes?style=all_docs")["results"]
            ids = [row["id"] for row in rows]
            for start in range(0, len(ids), BATCH):
                yield from self._documents(ids[start : start + BATCH])

    def document(self, doc_id: str) -> dict[str, Any]:
        """One document as it is stored. Raises as `pieces`. Blocks."""
        with self._typed_errors():
            document: dict[str, Any] = self._json("GET", f"/{quote(doc_id, safe='')}")
            return document

    def _documents(self, ids: Sequence[str]) -> Iterator[Piece]:
        ancestors: list[dict[str, str]] = []
        for document in self._fetch([{"id": doc_id} for doc_id in ids]):
            yield from self._with_attachments(document)
            revisions = document.get("_revisions", {"start": 0, "ids": []})
            for age, digest in enumerate(revisions["ids"][1:], start=1):
                ancestors.append({"id": document["_id"], "rev": f"{revisions['start'] - age}-{digest}"})
        for start in range(0, len(ancestors), BATCH):
            for document in self._fetch(ancestors[start : start + BATCH]):
                yield from self._with_attachments(document)

    def _fetch(self, wanted: Sequence[dict[str, str]]) -> Iterator[dict[str, Any]]:
        """The documents among these that are kept; an ancestor whose body is gone comes as an error row."""
        for result in self._json("POST", "/_bulk_get?revs=true", {"docs": wanted})["results"]:
            for row in result["docs"]:
                if "ok" in row:
                    yield row["ok"]

    def _with_attachments(self, document: dict[str, Any]) -> Iterator[Piece]:
        name = f"{document['_id']} at {document['_rev']}"
        yield Piece(name, document, len(json.dumps(document)))
        for attachment in document.get("_attachments", {}):
            where = f"/{quote(document['_id'], safe='')}/{quote(attachment, safe='')}?rev={document['_rev']}"
            content = self._bytes("GET", where)
            yield Piece(f"{name}, attachment", content, len(content))

    def _piece(self, name: str, path: str) -> Piece:
        content = self._bytes("GET", path)
        return Piece(name, json.loads(content), len(content))

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self._bytes(method, path, body))

    def _bytes(self, method: str, path: str, body: Any = None) -> bytes:
        payload = None if body is None else json.dumps(body)
        self._connection.request(method, self._path + path, payload, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise BadAnswer("read what the server holds", f"it answered {answer.status}", "give an administrator's URL")
        return content

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable("read what the server holds", type(error).__name__, "see that it runs") from error
        finally:
            self._connection.close()
