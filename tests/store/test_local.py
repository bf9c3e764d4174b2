"""`_local` documents, settings, kept Hcp keys and pins: what is put is there, also after opening again."""

from __future__ import annotations

from pathlib import Path

import pytest

from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.identity import PLANNED, Previous
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.errors import InvalidEntity
from icure_sync.ids import HcpId, Kid, Rev
from icure_sync.store import Pin, Store, schema
from tests.store.revisions import KEY

A, B = HcpId("hcp-a"), HcpId("hcp-b")


def test_local_documents_are_replaced_listed_and_removed(store: Store):
    assert store.local.get("log") is None
    store.local.put("log", {"history": [1]})
    store.local.put("log", {"history": [2, 1], "größe": 1.5})
    store.local.put("a", {})
    assert store.local.get("log") == {"history": [2, 1], "größe": 1.5}
    assert store.local.ids() == ["a", "log"]
    store.local.remove("log")
    store.local.remove("log")
    assert store.local.get("log") is None


def test_what_json_cannot_hold_is_refused(store: Store):
    with pytest.raises(InvalidEntity):
        store.local.put("log", {"x": {1, 2}})
    with pytest.raises(InvalidEntity):
        store.settings.put("x", object())


@pytest.mark.parametrize("value", ["text", 5, None, [1, {"a": True}], {"url": "http://x"}])
def test_settings_are_json_values(store: Store, value: object):
    store.settings.put("device", value)
    assert store.settings.get("device") == value
    store.settings.remove("device")
    assert store.settings.get("device") is None


def test_hcp_keys_and_pins_are_kept(store: Store, path: Path):
    keys = [
        HcpKey(A, A, Kid("00"), SymmetricKey(b"0" * 32)),
        HcpKey(A, B, Kid("11"), SymmetricKey(b"1" * 32)),
    ]
    for key in reversed(keys):
        store.hcp_keys.put(key.kid, key.owner, key.delegate, key.key)
    assert store.pins.get(A) is None
    store.pins.put(Pin(A, b"s" * 32, Rev("1-a")))
    store.close()
    again = Store.open(path, KEY)
    assert again.hcp_keys.all() == keys
    assert again.pins.get(A) == Pin(A, b"s" * 32, Rev("1-a"))
    again.close()


def test_the_first_use_pins_a_key_and_later_ones_do_not_move_it(store: Store):
    assert store.pins.pin(A, b"first", Rev("1-a")) == b"first"
    assert store.pins.pin(A, b"other", Rev("2-b")) == b"first"
    assert store.pins.all() == [Pin(A, b"first", Rev("1-a"))]
    later = Pin(A, b"other", Rev("2-b"), 2, (Previous(b"first", PLANNED),), 1_700_000_000_000, (b"evil",))
    store.pins.put(later)
    assert store.pins.get(A) == later
    assert store.pins.pin(A, b"first", Rev("1-a")) == b"other"


def test_what_was_pinned_before_there_were_epochs_is_of_the_first(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[: schema.MIGRATIONS.index(schema._EPOCHS)])
        older = Store.open(path, KEY)
        older._database.run("INSERT INTO pins VALUES (?, ?, ?)", (A, b"s" * 32, "1-a"))
        older.close()
    newer = Store.open(path, KEY)
    assert newer.pins.all() == [Pin(A, b"s" * 32, Rev("1-a"), 1, (), None, ())]
    newer.close()
