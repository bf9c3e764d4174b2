"""Which bodies are sent compressed. Owns what is known of one server: it takes gzip, it does not, or not known yet.

A CouchDB 3 takes it for every JSON text. A server that does not says 415, or trips over what it takes for broken JSON:
then the same text is sent again as it is, and if that is taken, so is everything from then on. Sealed documents shrink
to about half: base64, and the same names again and again.
Source: RFC 9110, section 8.4.
"""

from __future__ import annotations

import asyncio
import zlib
from enum import Enum, auto

from icure_sync.peers.couch_bodies import Body, text_body
from icure_sync.peers.limits import GZIP_BYTES, GZIP_LEVEL

GZIP = "gzip"

_WRAPPED = 16 + zlib.MAX_WBITS  # zlib's way to say: with a gzip header
_NOT_TAKEN = 415
_DOUBTFUL = {400, 415, 500, 501}  # of a server that may have read compressed bytes as JSON


class _Known(Enum):
    NOTHING = auto()
    TAKES = auto()
    REFUSES = auto()


class Compression:
    """`worth_it`: False for a server on this machine, where compressing costs time and saves none."""

    def __init__(self, *, worth_it: bool) -> None:
        self._known = _Known.NOTHING if worth_it else _Known.REFUSES

    async def packed(self, body: Body | None) -> Body | None:
        """The body to send: compressed, if that is known or hoped to be taken, and pays."""
        if body is None or body.text is None or len(body.text) < GZIP_BYTES or self._known is _Known.REFUSES:
            return body
        return text_body(await asyncio.to_thread(_compress, body.text), GZIP)  # 4 MiB would stop the loop for 70 ms

    def taken(self, body: Body | None) -> None:
        """The server has read this body."""
        if body is not None and body.encoding == GZIP:
            self._known = _Known.TAKES

    def is_doubted(self, body: Body | None, status: int) -> bool:
        """Whether a refusal may mean the coding: the same is to be sent again as it is, by `plain`."""
        if body is None or body.encoding != GZIP:
            return False
        return status == _NOT_TAKEN or (status in _DOUBTFUL and self._known is _Known.NOTHING)

    def refused(self) -> None:
        """What it doubted it took when it came as it is."""
        self._known = _Known.REFUSES


def _compress(text: bytes) -> bytes:
    packing = zlib.compressobj(GZIP_LEVEL, wbits=_WRAPPED)
    return packing.compress(text) + packing.flush()
