"""A second reading of the format, to check the published vectors: joins, merges, and what ends leaves.

Written from FORMAT.md and MERGE.md alone; imports nothing of the package. Bodies are joined in pairs, one after the
other, where the package joins all at once.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import eddsa

from tests.vectors.second_bytes import SUITE, C, b64, canonical, envelope_seal, joint, merge_salt, padded_length, text
from tests.vectors.second_records import MAPS, digest, open_document, order, parties, revision_id, shown, wrapped_keys

Revision = dict[str, Any]  # {"rev", "document"}
HcpKeys = dict[tuple[str, str, str], bytes]

STAMPS = ("context", "writers", "fields")
KNOWN = {
    *("type", "cryptoSuite", "creator", "parents", "merged", "access", *MAPS, "secretForeignKeys", "sealedWith"),
    *("files", "encryptedSelf", "written", "retired", "erased", "notice"),
}


# Joins


def join(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    return reduce(pair, bodies)


def pair(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The join of two."""
    left, right = ({tuple(path): siblings for path, siblings in body["fields"]} for body in (one, other))
    fields = []
    for path in sorted({*left, *right}):
        here, there = left.get(path, []), right.get(path, [])
        kept = [*lasting(here, there, other["context"]), *lasting(there, here, one["context"])]
        unique = {(n, writer, canonical(value)): [writer, n, value] for writer, n, value in kept}
        if unique:
            fields.append([list(path), [unique[place] for place in sorted(unique)]])
    context = {
        w: max(body["context"].get(w, 0) for body in (one, other)) for w in {**one["context"], **other["context"]}
    }
    lines: dict[str, Any] = {}
    for writer, line in [*one["writers"].items(), *other["writers"].items()]:
        lines[writer] = max(lines.get(writer, line), line, key=lambda each: (each[2], each[0], each[1]))
    return {"context": context, "writers": lines, "fields": fields}


def lasting(siblings: list[Any], others: list[Any], seen: dict[str, int]) -> list[Any]:
    """Those that the other body has too, or has not seen."""
    stamps = [(writer, n) for writer, n, _ in others]
    return [each for each in siblings if (each[0], each[1]) in stamps or seen.get(each[0], 0) < each[1]]


def as_much(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(canonical(one[name]) == canonical(other[name]) for name in ("context", "fields"))


# Records


class Me(NamedTuple):
    hcp_id: str
    hcp_keys: HcpKeys
    signing_key: EccKey


def merge(doc_id: str, leaves: list[Revision], known: list[Any], me: Me) -> dict[str, Any]:
    """What this Hcp makes of these leaves."""
    creator = leaves[0]["document"]["creator"]["by"]
    access = united([known, *(leaf["document"]["access"] for leaf in leaves)])
    inside = parties(creator, access)
    leaves = [leaf for leaf in leaves if leaf["document"]["written"]["by"] in inside]
    documents = [leaf["document"] for leaf in leaves]
    above = highest([leaf["rev"] for leaf in leaves])
    base = next(leaf["document"] for leaf in leaves if leaf["rev"] == above)
    opened = [open_document(doc_id, document, me.hcp_id, me.hcp_keys) for document in documents]
    body = join([each["body"] for each in opened])
    links = shown(body)["links"]
    document = {
        **{name: base[name] for name in ("type", "cryptoSuite", "creator", "files") if name in base},
        **clear_fields(documents, [each["body"] for each in opened], body),
        "parents": united([[leaf["rev"] for leaf in leaves]]),
        "merged": newest(
            [*(leaf["rev"] for leaf in leaves), *(rev for each in documents for rev in each["merged"])], above
        ),
        "access": access,
        **{name: entries([each[name] for each in documents], inside) for name in MAPS},
        "secretForeignKeys": united([list(links)]),
    }
    found = {name: bytes.fromhex(key) for each in opened for name, key in each["contentKeys"].items()}
    chosen = choice(documents, sorted(found), inside)
    around = [canonical([clear_of(each), each["sealedWith"], each["encryptedSelf"]]) for each in documents]
    kept = [clear_of(document), base["sealedWith"], base["encryptedSelf"]]
    if {*around} == {canonical(kept)} and is_safe(documents, base["sealedWith"], inside):
        document |= {"sealedWith": base["sealedWith"], "encryptedSelf": base["encryptedSelf"]}
    else:
        document |= {"sealedWith": chosen}
        document["encryptedSelf"] = sealed(doc_id, document, body, [found[name] for name in chosen])
    same = [
        leaf["rev"]
        for leaf, each in zip(leaves, opened, strict=True)
        if as_much(each["body"], body)
        and state(leaf["document"]) == state(document)
        and is_safe(documents, leaf["document"]["sealedWith"], inside)
    ]
    named = {hcp for each in documents for name in MAPS for hcp, held in each[name].items() if held}
    return {
        **written(doc_id, document, me.hcp_id, me.signing_key),
        "body": canonical(body).hex(),
        "isSafe": is_safe(documents, document["sealedWith"], inside),
        "outs": sorted(named - {*inside}),
        "same": highest(same) if same else None,
    }


def written(doc_id: str, document: dict[str, Any], me: str, signing_key: EccKey) -> Revision:
    unsigned = {name: value for name, value in document.items() if name != "written"}
    rev = revision_id(doc_id, {**unsigned, "written": {"by": me}})
    message = C("icure-sync/written/1", SUITE, document["type"], doc_id, rev)
    signature = b64(eddsa.new(signing_key, "rfc8032").sign(message))
    return {"rev": rev, "document": {**unsigned, "written": {"by": me, "signature": signature}}}


def again(doc_id: str, hidden: Revision, me: str, signing_key: EccKey) -> Revision:
    return written(doc_id, {**hidden["document"], "parents": [hidden["rev"]]}, me, signing_key)


def united(groups: list[list[Any]]) -> list[Any]:
    by_bytes = {canonical(item): item for group in groups for item in group}
    return [by_bytes[each] for each in sorted(by_bytes)]


def highest(revs: list[str]) -> str:
    return max(revs, key=order)


def newest(revs: list[str], above: str) -> list[str]:
    return united([sorted({*revs} - {above}, key=order)[-64:]])


def entries(maps: list[dict[str, list[Any]]], inside: list[str]) -> dict[str, list[Any]]:
    names = {name for each in maps for name in each if name in inside}
    return {name: united([each.get(name, []) for each in maps]) for name in names}


def clear_of(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in KNOWN}


def clear_fields(documents: list[Any], bodies: list[Any], body: dict[str, Any]) -> dict[str, Any]:
    """Fields that stand in clear in a leaf, and in none are shown otherwise; as the joined body shows them."""
    clear = {name for document in documents for name in clear_of(document)}
    for document, each in zip(documents, bodies, strict=True):
        clear -= shown(each)["record"].keys() - document.keys()
    return {name: value for name, value in shown(body)["record"].items() if name in clear}


def sealed(
    doc_id: str, document: dict[str, Any], body: dict[str, Any], keys: list[bytes], salt: bytes | None = None
) -> str:
    data = C("icure-sync/body/1", SUITE, document["type"], doc_id, document["creator"], document["sealedWith"])
    plain = canonical(body)
    padded = plain + bytes(padded_length(len(plain)) - len(plain))
    salt = salt or merge_salt(joint(keys), document["parents"], data, padded)
    return b64(envelope_seal(joint(keys), padded, data, salt))


def resealed(doc_id: str, document: dict[str, Any], body: dict[str, Any], keys: list[bytes]) -> str:
    """The body once more, with the salt that it has."""
    return sealed(doc_id, document, body, keys, text(document["encryptedSelf"])[1:25])


def state(document: dict[str, Any]) -> bytes:
    of_a_write = ("parents", "merged", "written", "sealedWith", "encryptedSelf")
    return canonical({name: value for name, value in document.items() if name not in of_a_write})


# Keys


def granted(document: dict[str, Any]) -> set[str]:
    return {statement["grant"] for statement in document["access"] if "grant" in statement}


def holders(documents: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Who knows each key."""
    found: dict[str, set[str]] = {}
    for document in documents:
        held = [entry for each in document["encryptionKeys"].values() for entry in each]
        for name in document["sealedWith"]:
            found.setdefault(name, set()).add(document["written"]["by"])
        for entry in held:
            found.setdefault(entry["of"], set()).update({entry["owner"], entry["delegatedTo"]})
            if entry["of"] not in document["sealedWith"]:
                found[entry["of"]] |= granted(document)
    before = None
    while before != found:
        before = {name: set(each) for name, each in found.items()}
        for document in documents:
            names = document["sealedWith"]
            some = granted(document) & {hcp for name in names for hcp in found[name]}
            for name in names if len(names) > 1 else []:
                found[name] |= some
    return found


def is_safe(documents: list[dict[str, Any]], names: list[str], inside: list[str]) -> bool:
    """Nobody who is out knows all of these keys."""
    know = {name: set(each) for name, each in holders(documents).items()}
    for document in documents:
        together = document["sealedWith"]
        if len(together) > 1 and not {*together} <= {*names}:
            for name in together:
                know[name] |= granted(document)
    return not set.intersection(*(know[name] for name in names)) - {*inside}


def choice(documents: list[dict[str, Any]], names: list[str], inside: list[str]) -> list[str]:
    return next(([name] for name in names if is_safe(documents, [name], inside)), names)


# Tombstones


def retirement(doc_id: str, leaf: Revision) -> Revision:
    kept = {name: leaf["document"][name] for name in ("type", "creator", "access", "delegations")}
    return unsigned(doc_id, {"retired": True, **kept, "parents": [leaf["rev"]]})


def notice(doc_id: str, extended: Revision, access: list[Any], outs: list[str]) -> Revision:
    kept = {name: extended["document"][name] for name in ("type", "creator")}
    named: dict[str, list[Any]] = {name: [] for name in outs}
    return unsigned(
        doc_id, {"notice": True, **kept, "access": access, "delegations": named, "parents": [extended["rev"]]}
    )


def unsigned(doc_id: str, members: dict[str, Any]) -> Revision:
    document = {**members, "cryptoSuite": SUITE}
    return {"rev": revision_id(doc_id, {**document, "written": {"by": ""}}), "document": document}


def ends(doc_id: str, leaf: Revision, ended: Revision, me: Me) -> bool:
    """Whether a leaf that verifies has all that this one states of access, and lists it or makes up for it."""
    document = leaf["document"]
    carried, stated = ({digest(each) for each in one["access"]} for one in (document, ended["document"]))
    if ended["rev"] in (*document["parents"], *document["merged"]) and stated <= carried:
        return True
    both = merge(doc_id, [leaf, ended], [], me)
    return both["same"] == leaf["rev"] and ended["rev"] in both["document"]["parents"]


# Hcp documents


def merge_hcp(doc_id: str, leaves: list[Revision], signing_key: EccKey) -> dict[str, Any]:
    """The merge, and the revision that is in its state already."""
    leaves = sorted(leaves, key=lambda each: order(each["rev"]))
    body = join([{name: leaf["document"][name] for name in STAMPS} for leaf in leaves])
    stamped = {path[0] for path, _ in body["fields"]}
    document: dict[str, Any] = {}
    for leaf in leaves:
        document |= {name: value for name, value in leaf["document"].items() if name not in stamped}
    revs = [leaf["rev"] for leaf in leaves]
    document |= {**shown(body)["record"], **body, **key_maps(doc_id, leaves)}
    document["retiredKeys"] = united([leaf["document"]["retiredKeys"] for leaf in leaves])
    document["parents"] = united([revs])
    document["merged"] = newest([*revs, *(rev for leaf in leaves for rev in leaf["document"]["merged"])], revs[-1])
    same = [leaf["rev"] for leaf in leaves if hcp_state(leaf["document"]) == hcp_state(document)]
    return {**written(doc_id, document, doc_id, signing_key), "same": same[-1] if same else None}


def key_maps(doc_id: str, leaves: list[Revision]) -> dict[str, Any]:
    """Of one kid with several ciphertexts: the highest epochs, then the lowest bytes."""
    chosen: dict[tuple[str, str], Any] = {}
    for leaf in leaves:
        for _, delegate, name, ciphertexts, mark in wrapped_keys(doc_id, leaf["document"]):
            rank = ([-epoch for epoch in mark["epochs"]], [text(each) for each in ciphertexts])
            if (delegate, name) not in chosen or rank < chosen[delegate, name][0]:
                chosen[delegate, name] = (rank, ciphertexts, mark)
    maps: dict[str, Any] = {"hcPartyKeys": {}, "hcPartyKeyIds": {}, "hcPartyKeySignatures": {}}
    for delegate, name in sorted(chosen):
        _, ciphertexts, mark = chosen[delegate, name]
        maps["hcPartyKeys"].setdefault(delegate, []).extend(ciphertexts)
        maps["hcPartyKeyIds"].setdefault(delegate, []).append(name)
        maps["hcPartyKeySignatures"].setdefault(delegate, []).append(mark)
    return maps


def hcp_state(document: dict[str, Any]) -> bytes:
    return canonical({name: value for name, value in document.items() if name not in ("parents", "merged", "written")})


def retirement_of_hcp_document(doc_id: str, rev: str) -> Revision:
    return unsigned(doc_id, {"retired": True, "type": "HealthcareParty", "parents": [rev]})
