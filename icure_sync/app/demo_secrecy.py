"""The last scene of the demo: is any clear word in what the server holds, or in the devices' files?

Reads what the server holds as its administrator, and every file as it lies on the disk. The same search over the opened
records must find every word: so it is known to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from icure_sync.app.demo_held import CuriousAdministrator
from icure_sync.app.demo_report import Report
from icure_sync.app.demo_stage import Stage
from icure_sync.app.demo_words import ClearWords
from icure_sync.model import Entity, to_record
from icure_sync.strict_json import dumps

MEGABYTE = 1_000_000
SHOWN_MOST = 3  # places named if something is found


async def search_the_server(stage: Stage, report: Report, words: ClearWords) -> None:
    """Everything that a curious administrator gets to see, over HTTP."""
    leaks, pieces, size = await asyncio.to_thread(_search_pieces, stage.database_url, words)
    report.counts |= {"server pieces searched": pieces, "server bytes searched": size}
    report.check(
        "nothing that was typed can be read on the server",
        ok=not leaks and pieces > 0,
        detail=_found(leaks, f"{pieces} revisions and other pieces, {size / MEGABYTE:.1f} MB"),
    )


async def search_the_files(stage: Stage, report: Report, words: ClearWords) -> None:
    """The files of the devices and of the hub, as they lie on the disk while they are in use."""
    paths = [path for path in sorted(stage.folder.rglob("*")) if path.is_file()]
    leaks, size = await asyncio.to_thread(_search_files, paths, words)
    report.counts |= {"files searched": len(paths), "file bytes searched": size}
    report.check(
        "nothing that was typed can be read on the disks",
        ok=not leaks and size > 0,
        detail=_found(leaks, f"{len(paths)} files, {size / MEGABYTE:.1f} MB"),
    )


def search_the_records(report: Report, words: ClearWords, records: Iterable[Entity]) -> None:
    """The counter-check: the same search over records that A's laptop opens."""
    opened = [to_record(entity) for entity in records]
    seen = set().union(*(words.in_json(record) for record in opened))
    in_bytes = set().union(*(words.in_bytes(dumps(record)) for record in opened))
    missed = (words.words - seen) | (words.long_words - in_bytes)
    report.counts["words searched for"] = len(words.words)
    report.check(
        "the same search finds every word in the opened records",
        ok=not missed,
        detail=f"{len(words.words) - len(missed)} of {len(words.words)} words: the search is not blind",
    )


def _search_pieces(database_url: str, words: ClearWords) -> tuple[list[str], int, int]:
    leaks, pieces, size = [], 0, 0
    for piece in CuriousAdministrator(database_url).pieces():
        pieces += 1
        size += piece.size
        found = words.in_bytes(piece.content) if isinstance(piece.content, bytes) else words.in_json(piece.content)
        leaks += [f"{word!r} in {piece.name}" for word in sorted(found)]
    return leaks, pieces, size


def _search_files(paths: Iterable[Path], words: ClearWords) -> tuple[list[str], int]:
    leaks, size = [], 0
    for path in paths:
        content = path.read_bytes()
        size += len(content)
        leaks += [f"{word!r} in {path}" for word in sorted(words.in_bytes(content))]
    return leaks, size


def _found(leaks: list[str], where: str) -> str:
    if not leaks:
        return f"0 words found in {where}"
    return f"{len(leaks)} found in {where}: {'; '.join(leaks[:SHOWN_MOST])}"
