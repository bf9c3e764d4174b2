"""One line about the real CouchDB: tried, or not."""

from __future__ import annotations

import json
import urllib.request


def test_the_real_couchdb_answers(couchdb_url: str):
    shown = couchdb_url.rpartition("@")[2]
    with urllib.request.urlopen(f"http://{shown}/_up") as answer:
        assert json.load(answer)["status"] == "ok"
