"""The statements of the conformance suite show what they compared when they fail."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("icure_sync.testing.conformance")
