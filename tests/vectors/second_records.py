"""A second reading of the format, to check the published vectors: statements, documents, bodies, Hcp documents.

Written from FORMAT.md and MERGE.md alone; imports nothing of the package, and does with pycryptodome what the package
does with OpenSSL, and RSA the other way round.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgpack
from Crypto.Signature import eddsa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from tests.vectors.second_bytes import (
    SUITE,
    C,
    Refused,
    canonical,
    envelope_open,
    is_set,
    joint,
    kid,
    need,
    padded_length,
    sha256,
    text,
)

MAPS = ("delegations", "cryptedForeignKeys", "encryptionKeys")
ENTRY = {"owner", "delegatedTo", "kid", "of", "key"}
HEX32, HEX64 = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{64}")
REV, HCP = re.compile("[1-9][0-9]{0,15}-[0-9a-f]{1,64}"), re.compile("[A-Za-z0-9-][A-Za-z0-9_-]{0,63}")


# Signatures and statements


def signed(public: bytes, signature: Any, kind: str, *fields: Any) -> None:
    message = C(f"icure-sync/{kind}/1", *fields)
    try:
        eddsa.new(eddsa.import_public_key(public), "rfc8032").verify(message, text(signature))
    except ValueError as error:
        raise Refused(f"signature of {kind}") from error


def document_id(type_: str, by: str, nonce: str) -> str:
    return sha256(C("icure-sync/id/1", type_, by, nonce)).hex()[:32]


def digest(statement: dict[str, Any]) -> str:
    return sha256(canonical({k: v for k, v in statement.items() if k != "signature"})).hex()


def check_statement(head: list[Any], statement: Any, keys: dict[str, bytes]) -> None:
    need(isinstance(statement, dict), "statement")
    if set(statement) == {"grant", "by", "from", "after", "signature"}:
        kind, names = "grant", ("grant", "by", "from", "after")
        need(is_set(statement["after"]) and all(HEX64.fullmatch(d) for d in statement["after"]), "after")
        need(statement["from"] == "" or HEX64.fullmatch(statement["from"]), "from")
    else:
        need(set(statement) == {"revoke", "by", "nonce", "signature"}, "statement")
        kind, names = "revocation", ("revoke", "by", "nonce")
        need(HEX32.fullmatch(statement["nonce"]), "nonce")
    need(HCP.fullmatch(statement[names[0]]) and HCP.fullmatch(statement["by"]), "party")
    signed(keys[statement["by"]], statement["signature"], kind, *head, *(statement[name] for name in names))


def parties(creator: str, statements: list[dict[str, Any]]) -> list[str]:
    grants = {digest(s): s for s in statements if "grant" in s}
    revocations = {digest(s): s for s in statements if "revoke" in s}

    def counts(name: str) -> bool:
        given = grants[name]
        for other, ending in revocations.items():
            touches = ending["revoke"] == given["grant"] and ending["by"] in (given["by"], creator)
            if touches and other not in given["after"]:
                return False
        if given["by"] == creator:
            return True
        source = given["from"]
        return source in grants and grants[source]["grant"] == given["by"] and counts(source)

    return sorted({creator, *(grants[name]["grant"] for name in grants if counts(name))})


# Documents


def order(rev: str) -> tuple[int, str]:
    number, _, digits = rev.partition("-")
    return int(number), digits


def revision_id(doc_id: str, document: dict[str, Any]) -> str:
    body = {k: v for k, v in document.items() if k != "written" and not k.startswith("_")}
    parents = document["parents"]
    above = max(map(order, parents))[0] if parents else 0
    hashed = C("icure-sync/revision-id/1", document["type"], doc_id, parents, document["written"]["by"], body)
    return f"{above + 1}-{sha256(hashed).hex()[:32]}"


def check_written(doc_id: str, rev: str, document: dict[str, Any], key: bytes) -> None:
    need(is_set(document["parents"]) and all(REV.fullmatch(p) for p in document["parents"]), "parents")
    need(is_set(document["merged"]) and all(REV.fullmatch(m) for m in document["merged"]), "merged")
    need(len(document["merged"]) <= 64, "merged")
    need(document.get("cryptoSuite") == SUITE, "suite")
    need(revision_id(doc_id, document) == rev, "revision id")
    signed(key, document["written"]["signature"], "written", SUITE, document["type"], doc_id, rev)


def verify(
    doc_id: str,
    rev: str,
    document: dict[str, Any],
    keys: dict[str, bytes],
    *,
    tree_parent: str | None = None,
    statements: list[Any] | None = None,
    displaced: list[Any] | None = None,
) -> None:
    """A record, as a party without any key can judge it."""
    creator, access = document["creator"], document["access"]
    need(document_id(document["type"], creator["by"], creator["nonce"]) == doc_id, "id")
    signed(
        keys[creator["by"]],
        creator["signature"],
        "creator",
        SUITE,
        document["type"],
        doc_id,
        creator["by"],
        creator["nonce"],
    )
    need(is_set(access), "access")
    for statement in access:
        check_statement([SUITE, document["type"], doc_id, creator["by"]], statement, keys)
    need("written" in document, "written")
    by = document["written"]["by"]
    check_written(doc_id, rev, document, keys[by])
    for name in MAPS:
        for delegate, entries in document[name].items():
            need(is_set(entries), name)
            for entry in entries:
                need(set(entry) == ENTRY and entry["delegatedTo"] == delegate, name)
    need(is_set(document["secretForeignKeys"]), "secretForeignKeys")
    need(document["sealedWith"] and is_set(document["sealedWith"]), "sealedWith")
    if tree_parent is not None:
        need(document["parents"] and max(document["parents"], key=order) == tree_parent, "place")
    for statement in displaced or []:
        need(statement in access, "hidden statement")
    need(by in parties(creator["by"], [*access, *(statements or [])]), "access of the writer")


def wrap_data(document: dict[str, Any], doc_id: str, name: str, entry: dict[str, str]) -> bytes:
    place = (name, entry["owner"], entry["delegatedTo"], entry["kid"], entry["of"])
    return C("icure-sync/wrap/1", SUITE, document["type"], doc_id, document["creator"], *place)


def open_document(
    doc_id: str, document: dict[str, Any], me: str, hcp_keys: dict[tuple[str, str, str], bytes]
) -> dict[str, Any]:
    """What `me` finds in a record."""
    found: dict[str, list[tuple[str, bytes]]] = {name: [] for name in MAPS}
    for name in MAPS:
        for entry in document[name].get(me, []):
            key = hcp_keys.get((entry["owner"], entry["delegatedTo"], entry["kid"]))
            with suppress(Refused):  # what holds nothing is passed over
                need(key is not None, "not here")
                value = envelope_open(key, text(entry["key"]), wrap_data(document, doc_id, name, entry))
                need(name != "encryptionKeys" or (len(value) == 32 and kid(value) == entry["of"]), "kid")
                found[name].append((entry["of"], value))
    content_keys = dict(found["encryptionKeys"])
    need(all(name in content_keys for name in document["sealedWith"]), "no access")
    data = C("icure-sync/body/1", SUITE, document["type"], doc_id, document["creator"], document["sealedWith"])
    key = joint([content_keys[name] for name in document["sealedWith"]])
    return {
        "contentKeys": {name: content_keys[name].hex() for name in document["sealedWith"]},
        "secretIds": sorted({value.hex() for _, value in found["delegations"]}),
        "foreignKeys": sorted({value.decode() for _, value in found["cryptedForeignKeys"]}),
        "body": open_body(envelope_open(key, text(document["encryptedSelf"]), data)),
    }


def open_body(padded: bytes) -> Any:
    unpacker = msgpack.Unpacker()
    unpacker.feed(padded)
    try:
        value = unpacker.unpack()
    except (ValueError, msgpack.UnpackException) as error:
        raise Refused("msgpack") from error
    length = unpacker.tell()
    need(isinstance(value, dict), "map")
    need(padded == padded[:length] + bytes(padded_length(length) - length), "padding")
    need(canonical(value) == padded[:length], "canonical")
    return value


# Stamped bodies


def check_body(body: dict[str, Any]) -> None:
    context = body["context"]
    paths = [path for path, _ in body["fields"]]
    need(all(one < other for one, other in pairwise(paths)), "order of paths")
    for path, siblings in body["fields"]:
        need(len(path) in (1, 2) and siblings, "register")
        need(path[0] not in ("links", "order") or len(path) == 2, "path")
        need(path[0] not in ("secretId", "deleted") or len(path) == 1, "path")
        keys = [(n, writer, canonical(value)) for writer, n, value in siblings]
        need(all(one < other for one, other in pairwise(keys)), "order of siblings")
        for writer, n, value in siblings:
            need(0 < n <= context.get(writer, 0), "stamp")
            need(path != ["secretId"] or isinstance(value, str), "secret id")
            need(path != ["deleted"] or value is None or isinstance(value, dict), "deletion")
    need(set(body["writers"]) <= set(context), "writers")


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """What a body shows."""
    winners: dict[tuple[str, ...], Any] = {}
    alternatives: list[Any] = []
    deletions: list[Any] = []
    content = [siblings for path, siblings in body["fields"] if path[0] not in ("deleted", "secretId")]
    stamps = [(w, n) for siblings in content for w, n, _ in siblings]
    for path, siblings in body["fields"]:
        latest = sorted(siblings, key=lambda s: (s[1], s[0], canonical(s[2])), reverse=True)
        values = [value for _, _, value in latest]
        if path == ["deleted"]:
            deletions = values
            continue
        winners[tuple(path)] = values[0]
        others: list[Any] = []
        for value in values[1:]:
            if canonical(value) not in [canonical(v) for v in [values[0], *others]]:
                others.append(value)
        if others and path[0] not in ("secretId", "order"):
            alternatives.append([path, others])
    gone = [value for value in deletions if value is not None]
    deleted = bool(gone) and len(gone) == len(deletions)
    deleted = deleted and any(all(seen.get(w, 0) >= n for w, n in stamps) for seen in gone)
    if gone and not deleted:
        alternatives.append([["deleted"], gone[:1]])
    return {
        "record": record_of({path: value for path, value in winners.items() if value is not None}),
        "links": {path[1]: value for path, value in winners.items() if path[0] == "links" and value is not None},
        "deleted": deleted,
        "alternatives": alternatives,
    }


def record_of(values: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    lists: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        if len(path) == 1 and path != ("secretId",):
            record[path[0]] = value
        elif len(path) == 2 and path[0] not in ("links", "order"):
            lists.setdefault(path[0], {})[path[1]] = value
    for name, items in lists.items():
        wanted = [each for each in values.get(("order", name), []) if each in items]
        record[name] = [items[each] for each in [*wanted, *sorted(items.keys() - set(wanted))]]
    return record


# Hcp documents


def hcp_document(doc_id: str, rev: str, document: dict[str, Any]) -> bytes:
    """The signing key of an Hcp document that holds together."""
    one = document["identity"]
    key = text(document["signingKey"])
    before = one["previous"]
    need(document["type"] == "HealthcareParty" and one["epoch"] == 1 + len(before), "identity")
    stated = (doc_id, document["publicKey"], document["signingKey"], one["epoch"], before)
    signed(key, one["signature"], "identity", *stated)
    need(("endorsement" in one) == (before != [] and before[-1]["ended"] == "planned"), "endorsement")
    if "endorsement" in one:
        signed(text(before[-1]["signingKey"]), one["endorsement"], "endorsement", *stated)
    need(document["written"]["by"] == doc_id, "writer")
    check_written(doc_id, rev, document, key)
    for owner, delegate, name, ciphertexts, mark in wrapped_keys(doc_id, document):
        need(1 <= mark["epochs"][0] <= one["epoch"], "epoch of an Hcp key")
        hashed = [sha256(text(each)).hex() for each in ciphertexts]
        signed(key, mark["signature"], "hcp-key", owner, delegate, name, hashed, mark["epochs"], mark["fingerprints"])
    for item in document["retiredKeys"]:
        signed(key, item["signature"], "retired-key", doc_id, item["kid"], item["ended"])
    return key


def wrapped_keys(doc_id: str, document: dict[str, Any]) -> list[tuple[str, str, str, list[str], dict[str, Any]]]:
    found = []
    for delegate, texts in document["hcPartyKeys"].items():
        each = 1 if delegate == doc_id else 2
        kids, marks = document["hcPartyKeyIds"][delegate], document["hcPartyKeySignatures"][delegate]
        need(kids == sorted(set(kids)) and len(texts) == each * len(kids) == each * len(marks), "Hcp keys")
        for place, name in enumerate(kids):
            found.append((doc_id, delegate, name, texts[each * place : each * place + each], marks[place]))
    return found


def unwrap(private: bytes, ciphertext: str) -> bytes:
    key = load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)  # it takes a second
    assert isinstance(key, RSAPrivateKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return key.decrypt(text(ciphertext), oaep)
