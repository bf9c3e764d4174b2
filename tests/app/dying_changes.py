"""`python -m tests.app.dying_changes FOLDER`: changes of a passphrase, each killed one step later than the last.

Says of each which passphrase opens the home afterwards, and which files are in it then; "done" at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icure_sync.app.cli import main

OLD, NEW = "the old passphrase", "the new passphrase"
_scrypt = hashlib.scrypt


def quick_scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int, dklen: int) -> bytes:
    """As strong as the tests need: working out real keys would take most of the time."""
    assert (n, r, p, maxmem) > (2, 0, 0, 0)
    return _scrypt(password, salt=salt, n=2, r=1, p=1, dklen=dklen)


def command(home: Path, *arguments: str, passphrase: str) -> int:
    os.environ |= {"ICURE_SYNC_PASSPHRASE": passphrase, "ICURE_SYNC_NEW_PASSPHRASE": NEW}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(["--home", str(home), *arguments])


def dies_before(step: int, home: Path) -> None:
    """From here on this process is killed before the step-th thing that it does to a file of the home."""
    steps = itertools.count()

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in {"os.rename", "os.remove"} or (event == "open" and arguments[2] & os.O_CREAT)
        if writes and str(arguments[0]).startswith(f"{home}/"):
            count()

    def count() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            count()
            real(descriptor)

        return fsync

    os.fsync = counted(os.fsync)
    sys.addaudithook(look)


def change_once(home: Path, step: int) -> bool:
    """Whether a change that is killed at this step came to its end before."""
    sys.stdout.flush()  # or the child would have what is still to be written, too
    child = os.fork()
    if child == 0:
        dies_before(step, home)
        os._exit(command(home, "passphrase", "change", passphrase=OLD))
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}
    return status == 0


def tell(folder: Path) -> None:
    hashlib.scrypt = quick_scrypt
    made = folder / "made"
    assert command(made, "init", "--hcp-id", "hcp-a", "--name", "A", "--no-recovery-code", passphrase=OLD) == 0
    for step in itertools.count():
        home = folder / str(step)
        shutil.copytree(made, home)
        is_done = change_once(home, step)
        opened = [word for word, each in (("old", OLD), ("new", NEW)) if command(home, "status", passphrase=each) == 0]
        sys.stdout.write(" ".join([*opened, *sorted(path.name for path in home.iterdir())]) + "\n")
        if is_done:
            break
    sys.stdout.write("done\n")


if __name__ == "__main__":
    tell(Path(sys.argv[1]))
