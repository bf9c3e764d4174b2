"""Less than what is promised: another suite, a cheaper lock, a weaker key. The local minimum decides, not what came.

Every parameter of a locked file: tests/crypto/test_primitives.py; of a replica's key: tests/store/test_keyfile.py.
"""

from __future__ import annotations

import base64
import random
from functools import partial
from unittest import mock

import pytest

from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.hcp_keys import mint, wrap
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import RSA_BITS_LEAST, RsaPrivateKey, system_entropy
from icure_sync.errors import UnsupportedSuite, UntrustedKey, WeakKey
from icure_sync.model import Patient
from tests.keys import A, B, identity
from tests.trust.conftest import Clinic, Open
from tests.trust.evil import Document, below

CLASSIC = "icure-classic"
JAVA = "org.taktik.icure.entities.Patient"
FAKE = {"java_type": JAVA, "firstName": "Fake", "delegations": {A: [], B: []}}
BOTH = ("sealed-1", CLASSIC)


async def test_a_document_without_a_suite_is_refused_and_stops_nothing(clinic: Clinic):
    new = {**FAKE, "_id": "evil", "_rev": "1-" + "f" * 32, "_revisions": {"start": 1, "ids": ["f" * 32]}}
    await clinic.server.plant([new, below(await clinic.server.read(clinic.john.id), FAKE)])
    await clinic.meet(clinic.a, clinic.b)
    assert {each.first_name async for each in clinic.a.find(Patient)} == {"John", "Fanny"}
    with pytest.raises(UnsupportedSuite):
        await clinic.a.get(Patient, "evil")


async def test_a_record_that_was_sealed_is_never_shown_unsealed(clinic: Clinic, open_replica: Open):
    """Not even by a replica that takes both suites."""
    phone = await open_replica(A, "phone", suites=BOTH)
    await clinic.meet(phone)
    for members in (FAKE, {**FAKE, "cryptoSuite": CLASSIC}, {"cryptoSuite": "none"}, {}):
        await clinic.server.plant([below(await clinic.server.read(clinic.john.id), members)])
        await clinic.meet(phone)
        john = await clinic.john_of(phone)
        assert (john.first_name, john.authenticated) == ("John", True)


async def test_another_name_of_a_suite_opens_nothing(clinic: Clinic, open_replica: Open):
    for number, suite in enumerate([CLASSIC, "sealed-0", "none", "", None, ["sealed-1"], {"sealed-1": 1}]):
        clinic.server.rewrites.clear()
        clinic.server.rewrite_documents(partial(_named, clinic.john.id, suite))
        phone = await open_replica(A, f"phone-{number}", suites=BOTH)
        await clinic.meet(phone)
        assert [each.first_name async for each in phone.find(Patient)] == ["Fanny"]


def _named(doc_id: str, suite: object, document: Document) -> Document:
    return {**document, "cryptoSuite": suite} if document["_id"] == doc_id else document


def test_an_identity_that_was_locked_with_less_work_is_refused():
    with mock.patch("icure_sync.crypto.primitives.SCRYPT_N", 2**10):
        cheap = identity(A).lock("mellow fruitfulness")
    with pytest.raises(WeakKey):
        Identity.unlock(cheap, "mellow fruitfulness")


def test_no_key_is_wrapped_for_a_party_key_that_is_too_weak():
    weak = RsaPrivateKey.generate(system_entropy, RSA_BITS_LEAST)
    party = Party(B, weak.public.spki, identity(B).signing_key.public, 1)
    with pytest.raises(WeakKey):
        wrap(identity(A), party, mint(identity(A), B, system_entropy), system_entropy)
    for size in (64, 128, 255):
        short = base64.b64encode(random.Random(1).randbytes(size)).decode()
        with pytest.raises((WeakKey, UntrustedKey)):
            Party.of(B, {"type": "HealthcareParty", "publicKey": short, "identity": {"epoch": 1}})
    assert to_text(weak.public.spki)
