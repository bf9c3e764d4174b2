"""Memory that holds keys is not dumped, and no other process of this user may read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOK = """
import ctypes, resource
print(*resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""  # 3: PR_GET_DUMPABLE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


def said_by(script: str, **variables: str) -> str:
    run = [sys.executable, "-c", script]
    environment = os.environ | variables
    return subprocess.run(run, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_an_application_asks_for_it():
    assert said_by(f"from icure_sync import keep_memory_private as keep; keep()\n{LOOK}") == "0 0 0\n"


def test_every_command_leaves_no_core_and_one_that_knows_a_passphrase_is_shown_to_nobody(tmp_path: Path):
    script = f"from icure_sync.app.cli import main; main(['--home', {str(tmp_path)!r}, %s])\n{LOOK}"
    assert said_by(script % "'status'").split()[:2] == ["0", "0"]
    init = "'init', '--hcp-id', 'a b', '--name', 'A'"  # ends at once: that is no id
    assert said_by(script % init, ICURE_SYNC_PASSPHRASE="mellow fruitfulness") == "0 0 0\n"
