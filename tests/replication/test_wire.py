"""What travels."""

from __future__ import annotations

from tests.replicas import rev, revision


def test_a_revision_is_the_newest_of_its_history():
    assert revision("a", rev(2, 7), rev(1, 7)).rev == rev(2, 7)
