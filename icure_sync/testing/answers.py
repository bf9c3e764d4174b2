"""HTTP answers as values: what a scripted server says, and what a proxy says in a server's stead. No I/O.

Owns the usual ones: JSON, CouchDB's refusals, and what captive portals and broken intermediaries answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import responses
from typing import Any

import msgspec

_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})  # said by whoever sends the answer


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. The headers say nothing of its length: whoever sends it does."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self) -> bytes:
        """The status line and the headers, with the length of the body, up to the empty line."""
        phrase = responses.get(self.status, "?")
        said = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in _FRAMING]
        lines = [f"HTTP/1.1 {self.status} {phrase}", *said, f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): text for name, text in headers.items()}


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON value. Headers are named with `_` for `-`: `Retry_After="3"`."""
    return Answer(status, msgspec.json.encode(value), {"Content-Type": "application/json", **_named(headers)})


def raw_answer(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Answer:
    """These bytes, whatever they are."""
    return Answer(status, body, {"Content-Type": content_type, **_named(headers)})


def refusal(status: int, error: str = "refused", reason: str = "as the script says", **headers: str) -> Answer:
    """A CouchDB's no: `refusal(429, Retry_After="3")`."""
    return json_answer({"error": error, "reason": reason}, status, **headers)


def redirect(location: str, status: int = 302) -> Answer:
    """Go elsewhere."""
    return Answer(status, b"", {"Location": location})


CAPTIVE_PORTAL = raw_answer(b"<html><title>Wi-Fi</title><h1>Please log in</h1></html>", content_type="text/html")
EMPTY = raw_answer(b"")
BAD_GZIP = raw_answer(b"\x1f\x8b\x08 this is not gzip", Content_Encoding="gzip")
OTHER_JSON = json_answer({"greeting": "welcome", "results": 7, "docs": None})
