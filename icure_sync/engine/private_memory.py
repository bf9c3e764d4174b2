"""What others may see of this process's memory, which holds keys and opened records: nothing, as far as that goes.

Owns the calls to the operating system. Python cannot wipe memory, and the system may write it to a swap file.
"""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_NOT_DUMPABLE = 0


def keep_memory_private() -> None:
    """From here on this process leaves no core dump; on Linux, other processes of this user cannot read its memory.

    Until its end, and for debuggers, too; programs that it starts begin anew with the latter. The command line does
    this when it is told a passphrase; an application decides for itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # where the kernel hands dumps to a program, the limit alone does not hold
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, _NOT_DUMPABLE, 0, 0, 0)
