"""`python -m tests.app.dying_rescues FOLDER URL`: homes made from a code, or by breaking glass, on the hub at URL; each
is killed one step later than the last, and the command is run again.

A step is something done to a file, or asked of the hub. Says of each whether the first run was killed, and what the
second came to: its exit code, the patients that the home shows, and what is left beside it; at the end "done", and how
many openings the owner was told of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icure_sync.app.cli import main
from icure_sync.peers.couch_requests import Requests
from tests.app.dying import ON_FILES, dying
from tests.app.dying_changes import OLD, quick_scrypt

STRIDE = 3  # steps from one kill to the next: each costs half a second


def command(home: Path, *arguments: str) -> tuple[int, str]:
    os.environ["ICURE_SYNC_PASSPHRASE"] = OLD
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["--home", str(home), *arguments])
    return code, said.getvalue()


def answer(home: Path, *arguments: str) -> Any:
    code, said = command(home, *arguments, "--json")
    assert code == 0, said
    return json.loads(said)


def dies_before(step: int, folder: Path) -> None:
    """From here on this process is killed before the step-th thing that it does in the folder, or asks of a server."""
    count = dying(step, folder, ON_FILES | {"os.mkdir"})
    real = Requests.answer

    async def asked(self: Requests, *arguments: Any) -> bytes:
        count()
        return await real(self, *arguments)

    Requests.answer = asked  # type: ignore[method-assign]  # in a process that will be killed


def killed_at(step: int, folder: Path, run: Callable[[], tuple[int, str]]) -> bool:
    """Whether it was; False if it had come to its end before that step."""
    sys.stdout.flush()  # or the child would have what is still to be written, too
    child = os.fork()
    if child == 0:
        dies_before(step, folder)
        os._exit(run()[0])
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}
    return status != 0


def tell(folder: Path, arguments: list[str], first: int) -> None:
    for step in itertools.count(first, STRIDE):
        place = folder / f"{arguments[0]}-{step}"
        place.mkdir()
        home = place / "home"
        is_killed = killed_at(step, place, lambda home=home: command(home, *arguments))  # type: ignore[misc]
        code, said = command(home, *arguments)
        shown = [each["lastName"] for each in answer(home, "patient", "list")["items"]] if code == 0 else said
        left = [path.name for path in place.iterdir()]
        sys.stdout.write(f"{json.dumps([arguments[0], is_killed, code, shown, left])}\n")
        if not is_killed:
            return


def all_of(folder: Path, url: str) -> None:
    hashlib.scrypt = quick_scrypt
    made = folder / "made"
    code = answer(made, "init", "--hcp-id", "hcp-a", "--name", "A", "--server", url)["recoveryCode"]
    patient = answer(made, "patient", "add", "--last-name", "Keats")["id"]
    prepared = answer(made, "break-glass", "prepare", "--patient", patient, "--shares", "2", "--threshold", "2")
    answer(made, "sync")
    (folder / "code").write_text(code)
    (folder / "shares").write_text("\n".join(prepared["shares"]))
    tell(folder, ["recovery", "restore", "--server", url, "--code-file", str(folder / "code")], 0)
    opening = ["break-glass", "open", "--server", url, "--reason", "unconscious"]
    tell(folder, [*opening, "--code-file", str(folder / "shares")], 1)
    answer(made, "sync")
    openings = answer(made, "break-glass", "list")["openings"]
    sys.stdout.write(f"{json.dumps(['done', len(openings)])}\n")


if __name__ == "__main__":
    all_of(Path(sys.argv[1]), sys.argv[2])
