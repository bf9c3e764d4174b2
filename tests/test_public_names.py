"""What `icure_sync` offers: every name it lists, and nothing heavy before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import icure_sync


def test_every_public_name_is_there():
    for name in icure_sync.__all__:
        assert getattr(icure_sync, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Replicas"):
        icure_sync.Replicas  # noqa: B018


def test_importing_the_package_imports_no_library():
    loaded = "import sys, icure_sync; print(sorted({'aiohttp', 'apsw', 'Crypto', 'cryptography'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
