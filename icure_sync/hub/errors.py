"""Refusals as CouchDB words them: a status, an error code and a reason. Never leaves the hub; knows no documents.

The codes are CouchDB's, since clients switch on them; the reasons are for people, but `missing` and `deleted`, which
clients read.
"""

from __future__ import annotations

from collections.abc import Mapping

from icure_sync.ids import DocId


class HttpRefusal(Exception):
    """Ends a request with `status` and `{"error": error, "reason": reason}`."""

    def __init__(self, status: int, error: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, error, reason)
        self.status = status
        self.error = error
        self.reason = reason
        self.headers = dict(headers or {})


def bad_request(reason: str) -> HttpRefusal:
    return HttpRefusal(400, "bad_request", reason)


def illegal_docid(reason: str) -> HttpRefusal:
    return HttpRefusal(400, "illegal_docid", reason)


def doc_validation(reason: str) -> HttpRefusal:
    """A document whose `_` members are not what they should be."""
    return HttpRefusal(400, "doc_validation", reason)


def query_parse_error(reason: str) -> HttpRefusal:
    return HttpRefusal(400, "query_parse_error", reason)


def unauthorized(reason: str) -> HttpRefusal:
    """Who asks is not known, or must be someone else."""
    return HttpRefusal(401, "unauthorized", reason)


def forbidden(reason: str) -> HttpRefusal:
    """Who asks is known, and may not."""
    return HttpRefusal(403, "forbidden", reason)


def not_found(reason: str = "missing") -> HttpRefusal:
    return HttpRefusal(404, "not_found", reason)


def database_missing() -> HttpRefusal:
    return not_found("Database does not exist.")


def method_not_allowed(allowed: str) -> HttpRefusal:
    """`allowed`: the Allow header, as `GET,HEAD`."""
    return HttpRefusal(405, "method_not_allowed", f"Only {allowed} allowed", {"Allow": allowed})


def request_timeout() -> HttpRefusal:
    """The body comes too slowly."""
    return HttpRefusal(408, "timeout", "The request could not be processed in a reasonable amount of time.")


def conflict() -> HttpRefusal:
    return HttpRefusal(409, "conflict", "Document update conflict.")


def missing_rev() -> HttpRefusal:
    """An attachment is to be put on a revision that was never here."""
    return HttpRefusal(409, "not_found", "missing_rev")


def missing_stub(doc_id: DocId, name: str) -> HttpRefusal:
    """A stub names an attachment that no revision here has."""
    return HttpRefusal(412, "missing_stub", f"Invalid attachment stub in {doc_id} for {name}")


def document_too_large(doc_id: str) -> HttpRefusal:
    return HttpRefusal(413, "document_too_large", doc_id)


def too_large(what: str) -> HttpRefusal:
    return HttpRefusal(413, "too_large", f"the {what} is too large")


def bad_content_type(reason: str) -> HttpRefusal:
    return HttpRefusal(415, "bad_content_type", reason)


def not_offered(what: str) -> HttpRefusal:
    """A part of CouchDB that a hub does not have."""
    return HttpRefusal(501, "not_implemented", f"{what} is not offered by this server")
