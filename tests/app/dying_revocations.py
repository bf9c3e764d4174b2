"""`python -m tests.app.dying_revocations FOLDER URL`: a home revokes a device, on the hub at URL, and is killed one
step later each time; then any command is run there, and what a person does next.

A step is something done to a file of the home, or asked of the hub, or a transaction of its replica. Says of each, as
JSON: whether it was killed, the epochs of the homes at the desk and on the phone at the end, what the phone shows and
what is left in the folder of the lost device; "done" at the end.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from icure_sync import Identity
from icure_sync.crypto.primitives import RsaPrivateKey
from icure_sync.peers.couch_requests import Requests
from icure_sync.store.database import Database
from tests.app.dying import dying
from tests.app.dying_changes import OLD, quick_scrypt
from tests.app.dying_rescues import answer, command
from tests.keys import PARTY_KEYS

STRIDE = 13  # steps from one kill to the next: each costs seconds


def dies_before(step: int, folder: Path) -> None:
    """From here on this process is killed before the step-th thing that it does."""
    count = dying(step, folder)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            count()
            return real(*given, **named)

        return call

    Requests.answer = counted(Requests.answer)  # type: ignore[method-assign]  # in a process that will be killed
    Database.transaction = counted(Database.transaction)  # type: ignore[method-assign]  # likewise


def killed_at(step: int, home: Path) -> bool:
    """Whether it was; False if it had come to its end before that step."""
    sys.stdout.flush()  # or the child would have what is still to be written, too
    child = os.fork()
    if child == 0:
        dies_before(step, home)
        os._exit(command(home, "device", "revoke", "lost", "--yes")[0])
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}
    return status != 0


def epoch(home: Path) -> int:
    return Identity.unlock((home / "identity.key").read_bytes(), OLD).epoch


def made(folder: Path, url: str) -> None:
    desk, phone, lost = (folder / name for name in ("desk", "phone", "lost"))
    answer(desk, "server", "provision", url)
    answer(desk, "init", "--hcp-id", "hcp-a", "--name", "A", "--server", url)
    answer(desk, "identity", "export", str(folder / "identity"))
    for home in (phone, lost):
        answer(home, "init", "--identity", str(folder / "identity"), "--server", url)
    for home in (desk, phone, lost):
        answer(home, "device", "name", home.name)
    answer(desk, "patient", "add", "--last-name", "Keats")


def lived(folder: Path, url: str, step: int) -> bool:
    """Whether the run was killed at this step."""
    desk, phone, lost = (folder / name for name in ("desk", "phone", "lost"))
    answer(desk, "server", "provision", url)
    for home in (desk, phone, lost, desk):
        answer(home, "sync", "--server", url)
    is_killed = killed_at(step, desk)
    answer(desk, "patient", "add", "--last-name", "Byron")  # any command
    code, said = command(desk, "device", "revoke", "lost", "--yes", "--json")
    if code == 0:
        number = json.loads(said)["number"]
    else:  # it had come to its end, and had shown it
        assert "revoked already" in said, said
        number = None
    for home in (desk, phone):
        answer(home, "sync")
    (offer,) = answer(phone, "device", "adopt")["offers"]
    assert number in (None, offer["number"])
    answer(phone, "device", "adopt", "--number", offer["number"])
    for home in (phone, desk):
        answer(home, "sync")
    code, said = command(lost, "sync")
    assert (code, "was revoked" in said) == (1, True), said
    codes = [each["current"] for each in answer(desk, "recovery", "list")["items"]]
    shown = [sorted(each["lastName"] for each in answer(home, "patient", "list")["items"]) for home in (desk, phone)]
    left = sorted(path.name for path in lost.iterdir())
    told = [is_killed, code == 1 and number is None, epoch(desk), epoch(phone), codes, *shown, left]
    sys.stdout.write(f"{json.dumps(told)}\n")
    return is_killed


def all_of(folder: Path, url: str) -> None:
    hashlib.scrypt = quick_scrypt
    names = itertools.chain(["hcp-a"], itertools.repeat("hcp-a, epoch 2"))
    with patch.object(RsaPrivateKey, "generate", lambda _: RsaPrivateKey(bytes.fromhex(PARTY_KEYS[next(names)]))):
        source = folder / "made"
        source.mkdir()
        made(source, f"{url}-0")
        for step in itertools.count(0, STRIDE):
            place = folder / str(step)
            shutil.copytree(source, place)
            if not lived(place, f"{url}-{step + 1}", step):
                break
    sys.stdout.write("done\n")


if __name__ == "__main__":
    all_of(Path(sys.argv[1]), sys.argv[2])
