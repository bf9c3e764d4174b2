"""How a process comes to be killed before one of the things that it does, counted from when this is said."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

ON_FILES = frozenset({"os.rename", "os.remove"})


def dying(step: int, folder: Path, events: Collection[str] = ON_FILES) -> Callable[[], None]:
    """From here on each of these events under the folder, each file that is made there, and each call of what this
    returns is a step; the process is killed before the step-th."""
    steps = itertools.count()

    def count() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in events or (event == "open" and arguments[2] & os.O_CREAT)
        if writes and str(arguments[0]).startswith(str(folder)):
            count()

    sys.addaudithook(look)
    return count
