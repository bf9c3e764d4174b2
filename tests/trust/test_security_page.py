"""SECURITY.md names, for each promise, tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import icure_sync

TESTS = Path(__file__).parents[1]
PAGE = Path(icure_sync.__file__).parent / "SECURITY.md"


def test_every_test_that_the_page_names_is_there():
    text = PAGE.read_text("utf-8")
    named = set(re.findall(r"`(\w+/test_\w+\.py)`", text))
    assert len(named) > 20
    assert [each for each in sorted(named) if not (TESTS / each).exists()] == []


def test_every_promise_names_a_test():
    table = PAGE.read_text("utf-8").split("## What they cannot do")[1].split("\n\n")[1]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert rows
    assert all("test_" in row.rsplit("|", 2)[1] for row in rows)
