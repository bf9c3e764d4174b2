"""The long figures of trust: what an adversary tried, and how often he won, which must be never. See scripts/trust.

    scripts/trust [--envelopes N] [--swaps N] [--junk ROUNDS] [--minutes M] [--seed S] [--processes P]

Each part is cut into pieces with seeds of their own, for a few processes. A piece that fails says its seed, and
`scripts/trust --seed S` with a count of one piece repeats it; nothing new begins after so many minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from icure_sync.engine.replica import replica_over
from icure_sync.peers.memory import MemoryPeer
from icure_sync.store import Store
from tests.keys import A, B, identity
from tests.trust.junk import junk_round
from tests.trust.mutations import mutate
from tests.trust.swaps import Target

MEMORY = Path("/dev/shm")  # a file system without a disk, where there is one
ENVELOPES_EACH, SWAPS_EACH, JUNK_EACH = 20_000, 200, 60  # in one piece


@dataclass
class Found:
    """What a piece came to. `wins`: what the adversary got by; `reported`: of what he tried, what was listed."""

    tried: Counter[str] = field(default_factory=Counter)
    wins: list[str] = field(default_factory=list)
    reported: int = 0
    seconds: float = 0.0


def envelopes(seed: int, count: int) -> Found:
    """Mutated envelopes that open."""
    tried = mutate(count, seed)
    return Found(tried.by_kind, ["an envelope"] * tried.accepted)


def swaps(seed: int, count: int) -> Found:
    """Swaps of keys, on a device of A that knows B."""
    with folder() as place:
        return asyncio.run(_swaps(place, seed, count))


async def _swaps(place: Path, seed: int, count: int) -> Found:
    server, stores = MemoryPeer("clinic"), [Store.open(place / f"{hcp_id}.db", bytes(32)) for hcp_id in (A, B)]
    try:
        a, b = [
            await store.run(replica_over, store, identity(hcp_id)) for store, hcp_id in zip(stores, (A, B), strict=True)
        ]
        for replica in (a, b, a):
            await replica.sync(server)
        target = await stores[0].run(Target, stores[0], seed)
        await stores[0].run(target.attack, count)
        return Found(target.tally.swaps, target.tally.wins, target.tally.reported)
    finally:
        for store in stores:
            store.close()


def junk(seed: int, count: int) -> Found:
    """Rounds of documents that nobody would write; what is lost by one leaves as an error."""
    with folder() as place:
        asyncio.run(junk_round(place, seed, count))
    return Found(Counter({"documents": count}))


@contextmanager
def folder() -> Iterator[Path]:
    """A new one, which goes afterwards."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


def piece(work: Callable[[int, int], Found], seed: int, count: int) -> Found | str:
    """One piece in this process; the traceback if it failed, whatever it failed with."""
    begun = time.monotonic()
    try:
        found = work(seed, count)
    except BaseException:  # noqa: BLE001  # an error of another kind than ours is a finding, like a win
        return traceback.format_exc(limit=-8)
    found.seconds = time.monotonic() - begun
    return found


def pieces(
    options: argparse.Namespace, work: Callable[[int, int], Found], counts: list[int]
) -> Iterator[tuple[int, Found | str]]:
    """As they end, in a few processes."""
    begun, waiting = time.monotonic(), dict[Future[Found | str], int]()
    todo = iter(enumerate(counts, options.seed))
    with ProcessPoolExecutor(options.processes) as pool:
        while True:
            while len(waiting) < options.processes and time.monotonic() - begun < options.minutes * 60:
                seed, count = next(todo, (None, 0))
                if seed is None:
                    break
                waiting[pool.submit(piece, work, seed, count)] = seed
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


def report(options: argparse.Namespace, name: str, work: Callable[[int, int], Found], counts: list[int]) -> bool:
    """Lets one part run. True if the adversary won nothing, and nothing failed."""
    total, failed, begun = Found(), 0, time.monotonic()
    for seed, found in pieces(options, work, counts):
        if isinstance(found, str):
            failed += 1
            print(f"\nFAILED: {name} --seed {seed}\n{found}")
            continue
        total.tried += found.tried
        total.wins += found.wins
        total.reported += found.reported
        total.seconds += found.seconds
        print(f"\r{name}: {total.tried.total():,} of {sum(counts):,}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    tried = total.tried.total()
    rate = tried / total.seconds if total.seconds else 0.0
    print(f"{name:<10} {tried:11,} tried, {len(total.wins)} won, {failed} failed", end="")
    print(f"; {rate:,.0f}/s in one process, {time.monotonic() - begun:,.0f} s in all")
    for kind, count in sorted(total.tried.items()) if len(total.tried) > 1 else ():
        print(f"           {count:11,} {kind}")
    if total.reported:
        print(f"           {total.reported:11,} reported")
    for kind, count in Counter(total.wins).items():
        print(f"  WON      {count:11,} {kind}")
    return not total.wins and not failed


def cut(count: int, each: int) -> list[int]:
    return [min(each, count - start) for start in range(0, count, each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envelopes", type=int, default=1_000_000, help="mutated, and tried to open")
    parser.add_argument("--swaps", type=int, default=10_000, help="of keys, through a whole device")
    parser.add_argument("--junk", type=int, default=2_000, help=f"rounds of {JUNK_EACH} documents")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing new of a part after these")
    parser.add_argument("--seed", type=int, default=1_000, help="of the first piece of each part; the others follow")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    sound = [
        report(options, "envelopes", envelopes, cut(options.envelopes, ENVELOPES_EACH)),
        report(options, "swaps", swaps, cut(options.swaps, SWAPS_EACH)),
        report(options, "junk", junk, [JUNK_EACH] * options.junk),
    ]
    sys.exit(0 if all(sound) else 1)


if __name__ == "__main__":
    main()
