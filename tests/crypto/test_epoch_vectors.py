"""The published vectors about epochs: a second reading of the format agrees with each."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import eddsa

from tests.crypto.test_vectors import DOCUMENTS, SIGNING_KEYS, VECTORS, named
from tests.vectors import second_bytes, second_epochs, second_records
from tests.vectors.second_bytes import SUITE, text

EPOCHS = VECTORS["epochs"]
A = EPOCHS["id"]


def signer(vector: dict[str, Any]) -> EccKey:
    return eddsa.import_private_key(bytes.fromhex(vector["signingSeed"]))


def public(vector: dict[str, Any]) -> bytes:
    return text(vector["first"]["document"]["signingKey"])


def test_the_second_reading_shares_no_code_with_the_package():
    assert "icure_sync" not in {name.split(".")[0] for name in vars(second_epochs) if not name.startswith("__")}
    assert not any(getattr(each, "__module__", "").startswith("icure_sync") for each in vars(second_epochs).values())


@named(EPOCHS["cases"], "ended")
def test_what_is_written_in_the_next_epoch_verifies_and_opens(vector: dict[str, Any]):
    for name in ("first", "over"):
        given = vector[name]
        assert second_records.hcp_document(A, given["rev"], given["document"]) == public(vector)
        identity = given["document"]["identity"]
        assert (identity["epoch"], [each["ended"] for each in identity["previous"]]) == (2, [vector["ended"]])
        assert text(identity["previous"][0]["signingKey"]) == SIGNING_KEYS[A]
    ((_, _, name, ciphertexts, _),) = second_records.wrapped_keys(A, vector["first"]["document"])
    key = second_records.unwrap(bytes.fromhex(vector["partyKey"]), ciphertexts[0])
    assert (key.hex(), second_bytes.kid(key)) == (vector["selfKey"], name)


@named(EPOCHS["cases"], "ended")
def test_what_was_written_before_is_carried_on_alike_in_any_order(vector: dict[str, Any]):
    leaves = [VECTORS["hcpMerges"]["documents"][name] for name in EPOCHS["leaves"]]
    for each in permutations(leaves):
        assert second_epochs.carried_on(A, list(each), vector["first"], signer(vector)) == vector["over"]


@named(EPOCHS["cases"], "ended")
def test_an_attestation_has_what_the_key_before_signed(vector: dict[str, Any]):
    given = vector["attestation"]
    found = second_epochs.attested(given["id"], given["rev"], given["document"], public(vector))
    expected = set()
    for each in (DOCUMENTS[name] for name in vector["attested"]):
        document = each["document"]
        head = (SUITE, document["type"], each["id"])
        creator = document["creator"]
        expected.add(second_epochs.digest("creator", *head, creator["by"], creator["nonce"]))
        expected.add(second_epochs.digest("written", *head, each["rev"]))
        for grant in document["access"]:
            fields = (grant["grant"], grant["by"], grant["from"], grant["after"])
            expected.add(second_epochs.digest("grant", *head, creator["by"], *fields))
    assert found == sorted(expected)


def test_the_numbers_to_compare():
    texts = ("publicKey", "signingKey")
    documents = {1: VECTORS["hcpDocuments"][A]["document"], 2: EPOCHS["cases"][0]["first"]["document"]}
    for given in EPOCHS["comparisons"]:
        other = VECTORS["hcpDocuments"][given["with"]]["document"]
        one = documents[given["epoch"]]
        parties = ((A, *map(one.get, texts), given["epoch"]), (given["with"], *map(other.get, texts), 1))
        assert second_epochs.number(*parties) == second_epochs.number(*parties[::-1]) == given["number"]
