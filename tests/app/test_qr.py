"""QR codes in a terminal."""

from __future__ import annotations

import pytest
import segno

from icure_sync.app.qr import AS_BEFORE, QUIET_ZONE, WHITE_ON_BLACK, qr_lines

BLOCKS = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}


@pytest.mark.parametrize("text", ["482173059164", "FINGERPRINT 0123456789", "Grüße"])
def test_the_lines_show_every_module_of_the_code_in_white_and_black(text: str) -> None:
    lines = qr_lines(text)
    assert all(line.startswith(WHITE_ON_BLACK) and line.endswith(AS_BEFORE) for line in lines)
    drawn = [line.removeprefix(WHITE_ON_BLACK).removesuffix(AS_BEFORE) for line in lines]
    modules = [[BLOCKS[block][half] for block in line] for line in drawn for half in (0, 1)]
    wanted = [list(row) for row in segno.make(text, micro=False).matrix_iter(border=QUIET_ZONE)]
    assert modules[: len(wanted)] == wanted
    assert all(not any(row) for row in modules[len(wanted) :])


def test_a_code_of_digits_fits_any_terminal() -> None:
    lines = qr_lines("482173059164")
    assert len(lines) <= 13
    assert len(lines[0]) - len(WHITE_ON_BLACK + AS_BEFORE) == 25
