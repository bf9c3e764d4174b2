"""Revisions and files for tests of the store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment, Revision

KEY = bytes(range(32))
NOBODY = 65534
_NO_FILES: Mapping[str, Attachment] = MappingProxyType({})


def rev(number: int, letter: str) -> Rev:
    return Rev(f"{number}-{letter * 32}")


def revision(
    doc_id: str, *history: str, deleted: bool = False, files: Mapping[str, Attachment] = _NO_FILES, **members: Any
) -> Revision:
    """`history`: newest first, each as "2b" for generation 2 and a hash of 32 b."""
    body = json.dumps(members or {"type": "Patient"}).encode()
    return Revision(DocId(doc_id), tuple(rev(int(each[:-1]), each[-1]) for each in history), body, deleted, files)


def snapshot(path: Path, folder: Path) -> Path:
    """The files of an open store as a crash would leave them, in another folder."""
    folder.mkdir()
    for name in (path.name, path.name + "-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), folder / name)
    return folder / path.name


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions mean nothing to root, so let root be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
