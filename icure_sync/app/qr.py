"""A QR code as lines of text, for a terminal. Knows nothing of what it says.

Two rows of modules make one line, by half blocks. White and black are set as such: most scanners refuse a code whose
colours are swapped, as on a terminal with a light background they would be. Where no terminal is, the lines mean
nothing: leave them out.
"""

from __future__ import annotations

from collections.abc import Sequence

import segno

QUIET_ZONE = 2  # modules of white around it: half of what the standard asks for; scanners of screens need no more
WHITE_ON_BLACK, AS_BEFORE = "\x1b[97;40m", "\x1b[0m"
# Of two modules one above the other, whether each is dark; what is drawn is white.
_BLOCKS = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}


def qr_lines(text: str) -> list[str]:
    """The code of `text`: in the least of sizes, with the most of error correction that this size has room for.

    Digits alone, or capitals and digits, take the least room.
    """
    rows = [list(map(bool, row)) for row in segno.make(text, micro=False).matrix_iter(border=QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    return [_line(upper, lower) for upper, lower in zip(rows[::2], rows[1::2], strict=True)]


def _line(upper: Sequence[bool], lower: Sequence[bool]) -> str:
    drawn = "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
    return f"{WHITE_ON_BLACK}{drawn}{AS_BEFORE}"
