"""What all tests share: the real CouchDB, if there is one."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def couchdb_url() -> str:
    """`http://admin:password@host:5984`, from COUCHDB_URL."""
    url = os.environ.get("COUCHDB_URL", "").rstrip("/")
    if not url:
        pytest.skip("COUCHDB_URL is not set: the real CouchDB was not tried")
    return url
