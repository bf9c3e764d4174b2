"""The query of a request: strings read as the flags, numbers and JSON values that CouchDB takes. Knows no endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from icure_sync import strict_json
from icure_sync.errors import InvalidEntity
from icure_sync.hub.errors import bad_request, query_parse_error


class Query:
    """The parameters of one request, the last of each name; unknown ones are ignored, as CouchDB does."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    @classmethod
    def of(cls, target: str) -> Query:
        """From a request target. Raises bad_request for what is not UTF-8."""
        try:
            return cls(dict(parse_qsl(target.partition("?")[2], keep_blank_values=True, errors="strict")))
        except ValueError as error:
            raise bad_request("the query is not UTF-8") from error

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, name: str, default: str = "") -> str:
        return self._values.get(name, default)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True for `true`, False for `false`; anything else counts as not given."""
        return {"true": True, "false": False}.get(self._values.get(name, ""), default)

    def count(self, name: str, default: int | None) -> int | None:
        """A number from 0 on. Raises query_parse_error."""
        text = self._values.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise query_parse_error(f"Invalid value for {name}: a number from 0 on is wanted")
        return int(text)

    def json(self, *names: str) -> Any:
        """The JSON value of the first of `names` that is given, None if none is. Raises bad_request."""
        for name in names:
            if name in self._values:
                try:
                    return strict_json.loads(self._values[name].encode(), f"the parameter {name}")
                except InvalidEntity as error:
                    raise bad_request("invalid UTF-8 JSON") from error
        return None
