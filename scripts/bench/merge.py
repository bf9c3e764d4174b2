"""Merging conflicted records on one device, against reading, verifying, opening and saving each revision that it takes.

scripts/bench/run merge [--records N] [--leaves N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rounds import cpu_seconds

from icure_sync import Identity, Patient
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.opening import Opened
from icure_sync.ids import DocId
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

FIELDS = ("last_name", "note", "first_name")


def keyed(store: Store, identity: Identity) -> Keyed:
    return Keyed(store, identity, suites=["sealed-1"], device="bench", entropy=os.urandom, clock=lambda: 0)


def conflicted(folder: Path, identity: Identity, count: int, leaves: int) -> list[Revision]:
    """Leaves of so many records, as several devices of the Hcp wrote them without seeing each other."""
    stores = [Store.open(folder / f"device-{number}.db", bytes(32)) for number in range(leaves)]
    first, *others = [keyed(store, identity).records for store in stores]
    with stores[0].transaction():
        made = [first.create(Patient(first_name=f"John{number}"), None) for number in range(count)]
    held = [each.revision for each in stores[0].documents.winners([DocId(each.id) for each in made])]
    written: list[Revision] = []
    for number, (store, records) in enumerate(zip(stores, [first, *others], strict=True)):
        with store.transaction():
            store.documents.apply(held)
            for entity in made:
                edited = records.edit(entity.replace(**{FIELDS[number % len(FIELDS)]: f"device {number}"}))
                written += store.documents.leaves(DocId(edited.id))
        store.close()
    return written


def merge_all(store: Store, identity: Identity) -> int:
    """What a pull does once it has everything. Returns how many merges were written."""
    return sum(step.merged for step in keyed(store, identity).learn())


def open_and_save_each(store: Store, identity: Identity, ids: Sequence[DocId]) -> None:
    """The floor: each leaf read, verified and opened once; and for each record one revision sealed, signed and saved,
    with a tombstone for every leaf beyond the first."""
    one = keyed(store, identity)
    with store.transaction():
        for doc_id in ids:
            opened = [one.opener.open_held(held) for held in store.documents.held_leaves(doc_id)]
            edit(one, opened[0])
            for leaf in opened[1:]:
                edit(one, leaf)


def edit(one: Keyed, opened: Opened) -> None:
    written = opened.suite.edit(opened.stored, opened.entity.replace(gender="other"))
    assert written is not None
    one.records.keep(written, opened.suite)


def one_round(folder: Path, identity: Identity, revisions: Sequence[Revision], count: int) -> tuple[float, float]:
    """CPU seconds for each record: merging, and the floor."""
    ids = [*dict.fromkeys(each.id for each in revisions)]
    taken = []
    for name in ("merging", "floor"):
        store = Store.open(folder / f"{name}.db", bytes(32))
        keyed(store, identity)
        store.documents.apply(revisions)
        if name == "merging":
            taken.append(cpu_seconds(lambda store=store: merge_all(store, identity)))
            assert not store.documents.conflicted_ids()
        else:
            taken.append(cpu_seconds(lambda store=store: open_and_save_each(store, identity, ids)))
        store.close()
        for file in folder.glob(f"{name}.db*"):
            file.unlink()
    return taken[0] / count, taken[1] / count


def measure(count: int, leaves: int, rounds: int) -> dict[str, float]:
    identity = Identity.create("bench-hcp", "Bench")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        revisions = conflicted(folder, identity, count, leaves)
        measured = [one_round(folder, identity, revisions, count) for _ in range(rounds)]
    merging, floor = (statistics.median(each) for each in zip(*measured, strict=True))
    return {
        "records": count,
        "leaves": leaves,
        "merged_per_second": 1 / merging,
        "merged_us": merging * 1e6,
        "floor_us": floor * 1e6,
        "merging_to_floor": merging / floor,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--leaves", type=int, default=2, help="of each record")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.records, options.leaves, options.rounds)
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{options.records:,} records of {options.leaves} leaves each, one core, CPU time")
    print(f"  merged   {figures['merged_per_second']:9,.0f}/s  {figures['merged_us']:,.0f} us each,", end=" ")
    print(f"{figures['merging_to_floor']:.2f} x reading, verifying, opening and editing every leaf once", end=" ")
    print(f"({figures['floor_us']:,.0f} us)")


if __name__ == "__main__":
    main()
