"""The published vectors: this package makes them byte for byte, and a second reading of the format agrees with each."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from icure_sync import strict_json
from icure_sync.canonical import authored, canonical, check_canonical, unpack
from icure_sync.crypto.access import Subject
from icure_sync.crypto.chain import unwrap_chain
from icure_sync.crypto.envelope import from_text, open_envelope
from icure_sync.crypto.files import open_file
from icure_sync.crypto.primitives import SymmetricKey, unlock_secret
from icure_sync.crypto.sealing import check_body
from icure_sync.crypto.trust import Seen, verify_hcp_document, verify_record
from icure_sync.errors import CryptoError, InvalidEntity, NoAccess, StoreError, Tampered, UntrustedKey
from icure_sync.ids import Rev
from icure_sync.merge import registers
from tests.keys import keyring, signer
from tests.vectors import make, second_bytes, second_records
from tests.vectors.second_bytes import Refused

VECTORS = json.loads(make.FILE.read_text())
DOCUMENTS = VECTORS["documents"]
REFUSED = VECTORS["refused"]
SIGNING_KEYS = {hcp_id: bytes.fromhex(party["signingKey"]) for hcp_id, party in VECTORS["parties"].items()}


def test_this_package_makes_the_file_byte_for_byte():
    assert json.dumps(make.vectors(), indent=1, ensure_ascii=True) + "\n" == make.FILE.read_text()


def test_the_second_reading_shares_no_code_with_the_package():
    for module in (second_bytes, second_records):
        assert module.__file__ is not None
        assert "icure_sync" not in Path(module.__file__).read_text()


# Bytes


def named(section: list[Any], key: str) -> Any:
    return pytest.mark.parametrize("vector", section, ids=lambda vector: str(vector.get(key, ""))[:40])


@named(VECTORS["canonical"]["values"], "json")
def test_canonical_bytes(vector: dict[str, str]):
    assert second_bytes.canonical(json.loads(vector["json"])).hex() == vector["bytes"]
    assert canonical(strict_json.loads(vector["json"].encode())).hex() == vector["bytes"]


def test_canonical_bytes_of_long_and_authored_values():
    for vector in VECTORS["canonical"]["hashed"]:
        assert second_bytes.sha256(second_bytes.canonical(json.loads(vector["json"]))).hex() == vector["sha256"]
    for vector in VECTORS["canonical"]["authored"]:
        value = second_bytes.authored(json.loads(vector["json"]))
        assert second_bytes.canonical(value).hex() == vector["bytes"]


def test_padding_and_kids_and_joint_keys():
    for vector in VECTORS["padding"]:
        assert second_bytes.padded_length(vector["length"]) == vector["padded"]
    for vector in VECTORS["kids"]:
        assert second_bytes.kid(bytes.fromhex(vector["key"])) == vector["kid"]
    for vector in VECTORS["jointKeys"]:
        assert second_bytes.joint([bytes.fromhex(key) for key in vector["keys"]]).hex() == vector["joint"]


@named(VECTORS["envelopes"], "plaintext")
def test_an_envelope_opens_and_is_sealed_again(vector: dict[str, str]):
    key, salt, data, plaintext, envelope = (bytes.fromhex(vector[name]) for name in vector)
    assert second_bytes.envelope_open(key, envelope, data) == plaintext
    assert second_bytes.envelope_seal(key, plaintext, data, salt) == envelope


def test_merge_salts():
    for vector in VECTORS["mergeSalts"]:
        key, data, padded = (bytes.fromhex(vector[name]) for name in ("key", "associated", "padded"))
        assert second_bytes.merge_salt(key, vector["leaves"], data, padded).hex() == vector["salt"]


# Signatures and statements


@named(VECTORS["signatures"], "kind")
def test_what_a_signature_covers(vector: dict[str, Any]):
    assert second_bytes.C(f"icure-sync/{vector['kind']}/1", *vector["fields"]).hex() == vector["bytes"]
    second_records.signed(SIGNING_KEYS[vector["by"]], vector["signature"], vector["kind"], *vector["fields"])


def test_statements_and_who_has_access_by_them():
    access = VECTORS["access"]
    subject = access["subject"]
    creator = subject["creator"]
    assert second_records.document_id(subject["type"], creator["by"], creator["nonce"]) == subject["id"]
    for vector in access["statements"]:
        head = ["sealed-1", subject["type"], subject["id"], creator["by"]]
        second_records.check_statement(head, vector["statement"], SIGNING_KEYS)
        assert second_records.digest(vector["statement"]) == vector["digest"]
    for case in access["cases"]:
        statements = [access["statements"][number]["statement"] for number in case["statements"]]
        assert second_records.parties(creator["by"], statements) == case["parties"], case["why"]


def test_associated_data_and_entry_digests():
    given = VECTORS["associated"]
    for vector in given["wrap"]:
        data = second_records.wrap_data(given, given["id"], vector["map"], vector["entry"])
        assert data.hex() == vector["bytes"]
        entry = vector["entry"]
        fields = [vector["map"], *(entry[name] for name in ("owner", "delegatedTo", "kid", "of", "key"))]
        assert second_bytes.sha256(second_bytes.C(*fields)).hex() == vector["entryDigest"]
    for vector in given["body"]:
        head = ["icure-sync/body/1", "sealed-1", given["type"], given["id"], given["creator"]]
        assert second_bytes.C(*head, vector["sealedWith"]).hex() == vector["bytes"]
    for vector in given["chunk"]:
        head = ["icure-sync/chunk/1", "sealed-1", given["id"], given["creator"]]
        assert second_bytes.C(*head, vector["index"], vector["last"]).hex() == vector["bytes"]


# Records


@pytest.mark.parametrize("number", range(len(VECTORS["bodies"])))
def test_stamped_bodies(number: int):
    vector = VECTORS["bodies"][number]
    second_records.check_body(vector["body"])
    assert second_bytes.canonical(vector["body"]).hex() == vector["bytes"]
    assert second_records.shown(vector["body"]) == vector["shown"]


@pytest.mark.parametrize("number", range(1, 5))
def test_a_write_changes_what_it_says_and_nothing_else(number: int):
    before, after = (VECTORS["bodies"][place] for place in (number - 1, number))
    author, stamp = after["author"], 1 + max(before["body"]["context"].values())
    assert after["body"]["context"] == {**before["body"]["context"], author["writer"]: stamp}
    assert after["body"]["writers"][author["writer"]] == [author["hcp"], author["device"], author["time"]]
    expected = {json.dumps(path): siblings for path, siblings in before["body"]["fields"]}
    expected |= {json.dumps(path): [[author["writer"], stamp, value]] for path, value in after["changes"]}
    assert {json.dumps(path): siblings for path, siblings in after["body"]["fields"]} == expected


@cache
def hcp_keys_of(me: str) -> dict[tuple[str, str, str], bytes]:
    """From the Hcp documents, with the private key alone."""
    private = bytes.fromhex(VECTORS["parties"][me]["partyKey"])
    found = {}
    for given in VECTORS["hcpDocuments"].values():
        for owner, delegate, name, ciphertexts, _ in second_records.wrapped_keys(given["id"], given["document"]):
            if me in (owner, delegate):
                key = second_records.unwrap(private, ciphertexts[0 if me == owner else -1])
                assert second_bytes.kid(key) == name
                found[owner, delegate, name] = key
    return found


def test_hcp_documents_hold_together_and_their_keys_are_the_ones_listed():
    for given in VECTORS["hcpDocuments"].values():
        key = second_records.hcp_document(given["id"], given["rev"], given["document"])
        assert key == SIGNING_KEYS[given["id"]]
    listed = {(key["owner"], key["delegate"], key["kid"]): key["key"] for key in VECTORS["hcpKeys"]}
    for me, party in VECTORS["parties"].items():
        own = {(me, me, party["selfKid"]): party["selfKey"]}
        found = {place: key.hex() for place, key in hcp_keys_of(me).items()}
        assert found.items() >= {**own, **{place: key for place, key in listed.items() if me in place[:2]}}.items()
    assert len(hcp_keys_of("hcp-a")) == 6  # {AA}, {AB} twice, {AC}, {BA}, {CA}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_record_verifies_and_opens_from_the_hcp_documents_on(name: str):
    vector = DOCUMENTS[name]
    second_records.verify(vector["id"], vector["rev"], vector["document"], SIGNING_KEYS)
    for me in vector["parties"]:
        opened = second_records.open_document(vector["id"], vector["document"], me, hcp_keys_of(me))
        for found in ("body", "contentKeys", "secretIds", "foreignKeys"):
            assert opened[found] == vector[found]
        assert second_records.shown(opened["body"])["record"] == vector["record"]
    with pytest.raises(Refused, match="no access"):
        second_records.open_document(vector["id"], vector["document"], "hcp-c", hcp_keys_of("hcp-c"))


def test_each_revision_extends_the_one_before_it():
    names = ["created", "edited", "shared", "editedByB"]
    for before, after in pairwise(names):
        assert DOCUMENTS[after]["document"]["parents"] == [DOCUMENTS[before]["rev"]]
        assert DOCUMENTS[after]["id"] == DOCUMENTS[before]["id"]


def test_files():
    subject = VECTORS["access"]["subject"]
    for vector in VECTORS["files"]:
        if "sealed" in vector:
            sealed = bytes.fromhex(vector["sealed"])
            content = second_bytes.open_file(subject["id"], subject["creator"], bytes.fromhex(vector["key"]), sealed)
            assert content == bytes(range(vector["length"]))
            assert second_bytes.sha256(sealed).hex() == vector["sha256"]
        content = (bytes(range(251)) * (vector["length"] // 251 + 1))[: vector["length"]]
        sealed = second_bytes.seal_file(subject["id"], subject["creator"], bytes.fromhex(vector["key"]), content)
        assert (len(sealed), second_bytes.sha256(sealed).hex()) == (vector["sealedLength"], vector["sha256"])


def test_a_locked_secret():
    vector = VECTORS["locked"]
    secret = bytes.fromhex(vector["secret"])
    assert second_bytes.unlock(vector["file"], vector["passphrases"][0], vector["label"]) == secret
    assert unlock_secret(vector["file"].encode(), vector["passphrases"][1], vector["label"]) == secret


# What must be refused: by the second reading, and by this package


def test_texts_and_bytes_in_another_form_are_refused():
    for text in REFUSED["base64"]:
        with pytest.raises(Refused):
            second_bytes.text(text)
        with pytest.raises(Tampered):
            from_text(text)
    for text in REFUSED["json"]:
        with pytest.raises(Refused):
            second_bytes.strict_json(text)
        with pytest.raises(InvalidEntity):
            strict_json.loads(text.encode())
    for text in VECTORS["canonical"]["refused"]:
        with pytest.raises(Refused):
            second_bytes.canonical(json.loads(text))
        with pytest.raises(InvalidEntity):
            canonical(json.loads(text))
    for text in VECTORS["canonical"]["refusedWhenAuthored"]:
        with pytest.raises(Refused):
            second_bytes.authored(json.loads(text))
        with pytest.raises(InvalidEntity):
            authored(json.loads(text))


def test_values_in_another_form_are_refused():
    for text in REFUSED["bodyBytes"]:
        value, length = unpack(bytes.fromhex(text))
        with pytest.raises(InvalidEntity):
            check_canonical(bytes.fromhex(text), length, value)
        with pytest.raises(Refused):
            second_bytes.need(second_bytes.canonical(value).hex() == text, "canonical")


@named(REFUSED["envelopes"], "why")
def test_envelopes_that_do_not_open(vector: dict[str, str]):
    key, data, envelope = (bytes.fromhex(vector[name]) for name in ("key", "associated", "envelope"))
    with pytest.raises(Refused):
        second_bytes.envelope_open(key, envelope, data)
    with pytest.raises(Tampered):
        open_envelope(key, envelope, data)


@named(REFUSED["files"], "why")
def test_files_that_do_not_open(vector: dict[str, str]):
    subject = VECTORS["access"]["subject"]
    key, sealed = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"])
    with pytest.raises(Refused):
        second_bytes.open_file(subject["id"], subject["creator"], key, sealed)
    with pytest.raises(Tampered):
        list(open_file(Subject.of(subject["id"], subject), SymmetricKey(key), [sealed]))


@named(REFUSED["locked"], "why")
def test_locked_secrets_that_do_not_open(vector: dict[str, str]):
    with pytest.raises(Refused, match=vector["as"]):
        second_bytes.unlock(vector["file"], vector["passphrase"], "identity")
    with pytest.raises((StoreError, CryptoError)) as caught:
        unlock_secret(vector["file"].encode(), vector["passphrase"], "identity")
    assert type(caught.value).__name__ == vector["as"]


@named(REFUSED["bodies"], "why")
def test_bodies_that_are_not_well_laid_out(vector: dict[str, Any]):
    with pytest.raises(Refused):
        second_records.check_body(vector["body"])
    with pytest.raises(InvalidEntity):
        registers.check_body(vector["body"])


def document_of(vector: dict[str, Any]) -> dict[str, Any]:
    document = {**DOCUMENTS[vector["of"]]["document"], **vector["set"]}
    return {name: value for name, value in document.items() if name not in vector["remove"]}


def verified_twice(vector: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """Which readings accept the revision."""
    accepted = []
    known = {name: vector[name] for name in ("statements", "displaced") if name in vector}
    place = vector.get("treeParent")
    try:
        second_records.verify(vector["id"], vector["rev"], document, SIGNING_KEYS, tree_parent=place, **known)
        accepted.append("second")
    except Refused:
        pass
    seen = Seen((Rev(place),) if place else (), **{name: tuple(value) for name, value in known.items()})
    try:
        verify_record(vector["id"], Rev(vector["rev"]), document, signer, seen)
        accepted.append("package")
    except (Tampered, InvalidEntity):
        pass
    return accepted


@named(REFUSED["documents"], "why")
def test_documents_that_do_not_verify_or_do_not_open(vector: dict[str, Any]):
    document = document_of(vector)
    if vector["step"] == "verify":
        assert verified_twice(vector, document) == []
        return
    assert verified_twice(vector, document) == ["second", "package"]
    with pytest.raises(Refused):
        second_records.open_document(vector["id"], document, "hcp-a", hcp_keys_of("hcp-a"))
    subject = Subject.of(vector["id"], document)
    with pytest.raises((Tampered, NoAccess, InvalidEntity)):
        read_whole(subject, document)


def read_whole(subject: Subject, document: dict[str, Any]) -> None:
    """As the creator."""
    unwrap_chain(subject, document, keyring(subject.by))
    check_body(subject, document, keyring(subject.by))


@pytest.mark.parametrize("vector", REFUSED["hcpDocuments"], ids=lambda vector: " ".join(vector["members"]))
def test_hcp_documents_with_members_of_another(vector: dict[str, Any]):
    of, other = (VECTORS["hcpDocuments"][vector[name]] for name in ("of", "with"))
    document = {**of["document"], **{name: other["document"][name] for name in vector["members"]}}
    with pytest.raises(Refused):
        second_records.hcp_document(of["id"], of["rev"], document)
    with pytest.raises((Tampered, UntrustedKey)):
        verify_hcp_document(of["id"], of["rev"], document, ())
