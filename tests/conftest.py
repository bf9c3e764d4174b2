"""What all tests share: how generated examples are chosen, and the real CouchDB, if there is one."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("icure_sync.testing.conformance")  # its statements show what they compared

# No example is timed: machines are shared. In CI the same examples come in every run; elsewhere new ones are tried.
settings.register_profile("shared", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("shared")


@pytest.fixture(scope="session")
def couchdb_url() -> str:
    """`http://admin:password@host:5984`, from COUCHDB_URL."""
    url = os.environ.get("COUCHDB_URL", "").rstrip("/")
    if not url:
        pytest.skip("COUCHDB_URL is not set: the real CouchDB was not tried")
    return url
