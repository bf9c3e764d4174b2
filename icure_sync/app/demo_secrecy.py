"""The demo's search for clear words: in what the server holds, in the files, and in the opened records.

What the server holds is read as its administrator reads it, files as they lie on the disk. In the opened records the
same search must find every word: so it is known to see.
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
LINE_LETTERS = 84  # of a member of a document that is shown
INDEX = "_design/"  # the index that a server is provisioned with: a program, the same for everybody


async def show_a_document(stage: Stage, report: Report, entity: Entity) -> None:
    """One record as the server has it."""
    document = await asyncio.to_thread(CuriousAdministrator(stage.database_url).document, entity.id)
    report.tell(f"All that the server has of {type(entity).TYPE} {entity.id}:")
    for name, value in document.items():
        text = dumps(value).decode()
        report.tell(f"    {name}: {text if len(text) <= LINE_LETTERS else text[:LINE_LETTERS] + '…'}")


async def search_the_server(stage: Stage, report: Report, words: ClearWords) -> None:
    """Everything that a curious administrator gets to see, over HTTP."""
    leaks, pieces, size = await asyncio.to_thread(_search_pieces, stage.database_url, words)
    report.counts |= {"words searched for": len(words.words)}
    report.counts |= {"server pieces searched": pieces, "server bytes searched": size}
    report.check(
        "nothing that was typed can be read on the server",
        ok=not leaks and pieces > 0,
        detail=_found(leaks, len(words.words), f"{pieces} revisions and other pieces, {size / MEGABYTE:.1f} MB"),
    )


async def search_the_files(stage: Stage, report: Report, words: ClearWords) -> None:
    """The files of the devices and of the hub, as they lie on the disk while they are in use."""
    paths = [path for path in sorted(stage.folder.rglob("*")) if path.is_file()]
    leaks, size = await asyncio.to_thread(_search_files, paths, words)
    report.counts |= {"files searched": len(paths), "file bytes searched": size}
    report.check(
        "nothing that was typed can be read on the disks",
        ok=not leaks and size > 0,
        detail=_found(leaks, len(words.long_words), f"{len(paths)} files, {size / MEGABYTE:.1f} MB"),
    )


def search_the_records(report: Report, words: ClearWords, records: Iterable[Entity]) -> None:
    """The counter-check, over records that were opened on a device that has them all."""
    opened = [to_record(entity) for entity in records]
    seen = set().union(*(words.in_json(record) for record in opened))
    in_bytes = set().union(*(words.in_bytes(dumps(record)) for record in opened))
    missed = (words.words - seen) | (words.long_words - in_bytes)
    report.check(
        "the search for clear words sees",
        ok=not missed,
        detail=f"{len(words.words) - len(missed)} of {len(words.words)} words found in the opened records",
    )


def _search_pieces(database_url: str, words: ClearWords) -> tuple[list[str], int, int]:
    leaks, pieces, size = [], 0, 0
    for piece in CuriousAdministrator(database_url).pieces():
        if piece.name.startswith(INDEX):
            continue
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


def _found(leaks: list[str], words: int, where: str) -> str:
    if not leaks:
        return f"0 of {words} words found in {where}"
    return f"found {len(leaks)} times in {where}: {'; '.join(leaks[:SHOWN_MOST])}"
