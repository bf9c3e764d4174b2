"""What a server sees: the members in clear, and how little a size tells. SECURITY.md has the figures."""

from __future__ import annotations

import base64
import json

import pytest

from icure_sync.crypto.envelope import padded_length
from icure_sync.model import Patient
from tests.keys import A, B
from tests.trust.conftest import Clinic

ENVELOPE = 73  # bytes around a plaintext: version, salt, commitment, tag
NOTES = range(0, 4_001, 40)

IN_CLEAR = {
    *("type", "cryptoSuite", "creator", "parents", "merged", "access"),
    *("delegations", "cryptedForeignKeys", "encryptionKeys", "secretForeignKeys", "sealedWith", "written"),
}


async def test_a_server_sees_these_members_and_no_others(clinic: Clinic):
    for doc_id in (clinic.john.id, clinic.visit.id):
        document = await clinic.server.read(doc_id)
        assert {name for name in document if not name.startswith("_")} == IN_CLEAR | {"encryptedSelf"}
        said = json.dumps(document)
        assert not any(word in said for word in ("John", "Keats", "consumption", "Cough"))


async def test_it_sees_who_works_with_whom_and_what_belongs_together(clinic: Clinic):
    """Not promised, and said so."""
    john, visit = [await clinic.server.read(each.id) for each in (clinic.john, clinic.visit)]
    assert set(john["delegations"]) == {A, B}
    assert (john["creator"]["by"], john["written"]["by"]) == (A, A)
    other = await clinic.a.save(type(clinic.visit)(description="again"), patient=await clinic.john_of(clinic.a))
    await clinic.meet(clinic.a)
    assert (await clinic.server.read(other.id))["secretForeignKeys"] == visit["secretForeignKeys"]


@pytest.mark.parametrize(("lengths", "most_sizes"), [(range(100, 1_000), 45), (range(1_000, 10_000), 55)])
def test_a_size_tells_a_few_bits(lengths: range, most_sizes: int):
    sizes = {padded_length(length) for length in lengths}
    assert len(sizes) <= most_sizes
    assert max((padded_length(length) - length) / length for length in lengths) < 0.12


async def test_records_of_many_lengths_have_few_sizes(clinic: Clinic):
    ids = [(await clinic.a.save(Patient(first_name="P", note="x" * length))).id for length in NOTES]
    await clinic.meet(clinic.a)
    documents = await clinic.server.read_all(ids)
    sizes = {len(base64.b64decode(each["encryptedSelf"])) - ENVELOPE for each in documents}
    assert all(padded_length(size) == size for size in sizes)
    assert len(sizes) < len(NOTES) * 0.6
