"""Opening and saving records on one device, against the raw cryptography and commits that they cannot do without.

scripts/bench/run records [--records N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rounds import cpu_seconds, medians, wall_seconds

from icure_sync import Identity, Patient
from icure_sync.crypto.envelope import from_text
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.reading import Reading
from icure_sync.store import Store

NONCE = bytes(12)


def patient(number: int) -> Patient:
    return Patient(
        first_name=f"First{number}", last_name=f"Last{number}", date_of_birth=19700101, note="came with a cough"
    )


def keyed(store: Store, identity: Identity) -> Keyed:
    return Keyed(store, identity, suites=["sealed-1"], device="bench", entropy=os.urandom, clock=lambda: 0)


class Silence:
    """In place of a Recorder: records nothing."""

    def did(self, *_: object) -> None:
        """Nobody hears."""


def one_by_one(get: Any, ids: list[str], store: Store) -> Callable[[], None]:
    """Each record by its id; what that leaves for the trail is written at the end."""

    def run() -> None:
        for each in ids:
            get(Patient, each)
        store.trail.flush()

    return run


def open_all(records: Any) -> int:
    count, after = 0, (0, 0)
    while after is not None:
        page, after = records.page(Patient, after, deleted=False)
        count += len(page)
    return count


def raw_opening(store: Store, ids: list[str]) -> Callable[[], None]:
    """The floor: read the row, decode the JSON, and run AES-256-GCM over the two ciphertexts that a reader needs."""
    key = bytes(32)
    rows = [msgspec.json.decode(held.revision.body) for held in store.documents.winners(ids)]
    sealed = [
        [
            AESGCM(key).encrypt(NONCE, bytes(len(from_text(text)) - 73), b"associated")
            for text in (row["encryptionKeys"]["bench-hcp"][0]["key"], row["encryptedSelf"])
        ]
        for row in rows
    ]

    def run() -> None:
        for held, ciphertexts in zip(store.documents.winners(ids), sealed, strict=True):
            msgspec.json.decode(held.revision.body)
            for ciphertext in ciphertexts:
                AESGCM(key).decrypt(NONCE, ciphertext, b"associated")

    return run


def measure(count: int, rounds: int) -> dict[str, float]:
    identity = Identity.create("bench-hcp", "Bench")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "bench.db", bytes(32))
        records = keyed(store, identity).records
        with store.transaction():
            ids = [records.create(patient(number), None).id for number in range(count)]
        reader = keyed(store, identity).records
        opening = medians(
            {
                "open": lambda: cpu_seconds(lambda: open_all(reader)) / count,
                "raw": lambda: cpu_seconds(raw_opening(store, ids)) / count,
            },
            rounds,
        )
        reading = Reading(keyed(store, identity))
        looking = medians(
            {
                "recorded": lambda: cpu_seconds(one_by_one(reading.get, ids, store)) / count,
                "unrecorded": lambda: cpu_seconds(one_by_one(reader.get, ids, store)) / count,
            },
            rounds,
        )
        with store.transaction():
            store._database.run("UPDATE revisions SET state = 0")  # noqa: SLF001  # as if they had just been pulled
        first = cpu_seconds(lambda: open_all(reader)) / count
        bodies = [held.revision for held in store.documents.winners(ids[:200])]
        unrecorded = keyed(store, identity).records
        unrecorded._recorder = Silence()  # noqa: SLF001  # the same writes without their rows
        saving = medians(
            {"save": _saving(records), "unrecorded": _saving(unrecorded), "commit": _commits(Path(folder), bodies)},
            rounds,
        )
        store.close()
    return {
        "records": count,
        "opened_per_second": 1 / opening["open"],
        "opened_us": opening["open"] * 1e6,
        "raw_us": opening["raw"] * 1e6,
        "opening_to_raw": opening["open"] / opening["raw"],
        "first_opened_per_second": 1 / first,
        "saved_per_second": 1 / saving["save"],
        "commits_per_second": 1 / saving["commit"],
        "saving_to_commit": saving["save"] / saving["commit"],
        "saving_to_unrecorded": saving["save"] / saving["unrecorded"],
        "looked_up_per_second": 1 / looking["recorded"],
        "looking_up_to_unrecorded": looking["recorded"] / looking["unrecorded"],
        "rsa_decryptions": identity.party_key.decryptions,
    }


def _saving(records: Any) -> Callable[[], float]:
    def run() -> float:
        return wall_seconds(lambda: [records.create(patient(number), None) for number in range(200)]) / 200

    return run


def _commits(folder: Path, revisions: list[Any]) -> Callable[[], float]:
    """The floor: one durable commit of the same bytes at a time."""

    def run() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as inner:
            store = Store.open(Path(inner) / "plain.db", bytes(32))
            try:
                return wall_seconds(lambda: [store.documents.apply([each]) for each in revisions]) / len(revisions)
            finally:
                store.close()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.records, options.rounds)
    if options.json:
        print(json.dumps(figures))
        return
    print("Small patients, one core (opening: CPU time; saving: on the clock, one durable commit each)")
    print(f"  opened again   {figures['opened_per_second']:9,.0f}/s  {figures['opened_us']:.1f} us each,", end=" ")
    print(f"{figures['opening_to_raw']:.2f} x the raw AEAD, read and decode ({figures['raw_us']:.1f} us)")
    print(f"  opened first   {figures['first_opened_per_second']:9,.0f}/s  signatures and form checked")
    print(f"  saved          {figures['saved_per_second']:9,.0f}/s  {figures['saving_to_commit']:.2f} x", end=" ")
    print(f"the bare durable commit ({figures['commits_per_second']:,.0f}/s),", end=" ")
    print(f"{figures['saving_to_unrecorded']:.2f} x the same without the audit trail")
    print(f"  looked up      {figures['looked_up_per_second']:9,.0f}/s  one by one,", end=" ")
    print(f"{figures['looking_up_to_unrecorded']:.2f} x the same without the audit trail")
    print(f"  RSA decryptions {figures['rsa_decryptions']}")


if __name__ == "__main__":
    main()
