"""The long profile: many worlds, until so many steps are done or the time is over; then a storm. See scripts/merging.

    scripts/merging [--steps N] [--steps-each N] [--minutes M] [--seed S] [--storm DEVICES] [--processes P]

Reports steps, worlds, merges written, rounds of syncs until quiet, and every world that failed, with its seed:
`scripts/merging --seed S --steps N --steps-each N` repeats that one world.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from tests.simulation.lives import Life, lived
from tests.simulation.storm import storm

MEMORY = Path("/dev/shm")  # a file system without a disk, where there is one: worlds sync their files a lot


def one_life(seed: int, steps: int) -> Life | str:
    """A world in this process; the traceback if it failed, whatever it failed with."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        try:
            return asyncio.run(lived(Path(folder), seed, steps))
        except BaseException:  # noqa: BLE001  # a step that raises what it should not is a finding, like any other
            return traceback.format_exc(limit=-4)


def lives(options: argparse.Namespace) -> Iterator[tuple[int, Life | str]]:
    """Worlds as they end, in a few processes."""
    begun, waiting = time.monotonic(), dict[Future[Life | str], int]()
    seeds = iter(range(options.seed, options.seed + -(-options.steps // options.steps_each)))
    with ProcessPoolExecutor(options.processes) as pool:
        while True:
            while len(waiting) < options.processes and time.monotonic() - begun < options.minutes * 60:
                seed = next(seeds, None)
                if seed is None:
                    break
                waiting[pool.submit(one_life, seed, options.steps_each)] = seed
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


def report(options: argparse.Namespace) -> list[int]:
    """Lets the worlds live. Returns the seeds of those that failed."""
    done: list[Life] = []
    failed: list[int] = []
    begun = time.monotonic()
    for seed, life in lives(options):
        if isinstance(life, str):
            failed.append(seed)
            print(f"\nFAILED: --seed {seed} --steps {options.steps_each} --steps-each {options.steps_each}\n{life}")
        else:
            done.append(life)
        steps = (len(done) + len(failed)) * options.steps_each
        print(
            f"\r{steps:,} of {options.steps:,} steps, {len(failed)} worlds failed", end="", file=sys.stderr, flush=True
        )
    print(file=sys.stderr)
    rounds = sorted(life.rounds for life in done)
    print(f"steps            {sum(life.steps for life in done):9,}  in {time.monotonic() - begun:,.0f} s")
    print(f"worlds           {len(done):9,}  of 6 devices and more, {len(failed)} failed {failed or ''}")
    print(f"merges written   {sum(life.merged for life in done):9,}")
    if rounds:
        print(f"rounds to quiet  {rounds[len(rounds) // 2]:9,}  in the median, {rounds[-1]} at most, of two times")
    return failed


def report_storm(devices: int, seed: int) -> None:
    for early in (0, devices):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            come = asyncio.run(storm(Path(folder), devices, seed, early=early))
        how = "all had pushed before" if early else "one after the other"
        print(f"storm of {devices}, {how}: {come.merges} merges, {come.tombstones} tombstones,", end=" ")
        print(f"{come.rounds} rounds until quiet, {come.kept} edits kept, {come.live} live leaf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="in all worlds together")
    parser.add_argument("--steps-each", type=int, default=250, help="in one world")
    parser.add_argument("--minutes", type=float, default=120, help="begin no world after these")
    parser.add_argument("--seed", type=int, default=1_000, help="of the first world; the others follow")
    parser.add_argument("--storm", type=int, default=50, help="devices of the storm at the end; 0: none")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    failed = report(options)
    if options.storm:
        report_storm(options.storm, options.seed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
