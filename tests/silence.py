"""Looking for words, and for bytes, where there must be none of them, in every form that they may have."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def forms(secret: str | bytes) -> Iterator[bytes]:
    """How it may stand in bytes: as it is, in UTF-16 if it is text, in hex, and in base64 at each alignment."""
    raw = secret.encode() if isinstance(secret, str) else secret
    if isinstance(secret, str):
        yield secret.encode("utf-16-le")
        yield repr(secret)[1:-1].encode()  # as a repr escapes it
    else:
        yield repr(secret)[2:-1].encode()
    yield from (raw, raw.hex().encode(), raw.hex().upper().encode())
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        yield encoded[4:-4]
        yield encoded[4:-4].replace(b"+", b"-").replace(b"/", b"_")


def unpacked(data: bytes) -> bytes:
    """The bytes, and behind them what every gzip stream in them holds."""
    found = [data]
    start = data.find(b"\x1f\x8b\x08")
    while start >= 0:
        found.append(zlib.decompressobj(wbits=31).decompress(data[start:]))
        start = data.find(b"\x1f\x8b\x08", start + 1)
    return b"".join(found)


def assert_silent(data: bytes | str, where: str, secrets: Iterable[str | bytes]) -> None:
    """None of the secrets is in there, in any form."""
    text = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    for number, secret in enumerate(secrets):
        for form in forms(secret):
            place = text.find(form)
            assert place < 0, f"secret {number} in {where}: {text[max(place - 200, 0) : place + 100]!r}"


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files below, and what they hold."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
