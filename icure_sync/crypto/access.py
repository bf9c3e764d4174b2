"""Who may read a record: signed statements, and the entries that carry keys to those who may.

A *statement* is a signed grant or revocation; statements make access. An *entry* is one item of an access map; entries
only carry keys. Pure values: knows no stores, no Hcp documents; what is known of signing keys comes in as a lookup.

    grant      {"grant": delegate, "by", "from": digest of the grant that gives `by` access ("" for the creator),
                "after": [digests of revocations that it overrides], "signature"}
    revocation {"revoke": delegate, "by", "nonce": 16 random bytes as hex, "signature"}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical, canonical_set, pack
from icure_sync.crypto.identity import Identity, signed_bytes
from icure_sync.crypto.primitives import Entropy, sha256
from icure_sync.crypto.signers import Judgement, Signer, SigningKeys
from icure_sync.errors import NoAccess, Tampered
from icure_sync.ids import DocId, HcpId, is_hcp_id

SUITE = "sealed-1"
NONCE_BYTES = 16
MAPS = ("delegations", "cryptedForeignKeys", "encryptionKeys")

Statement = Mapping[str, Any]

_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_NONCE = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is, for good: part of everything that is signed or sealed in it."""

    type: str
    id: DocId
    by: HcpId
    nonce: str
    signature: str

    @property
    def creator(self) -> dict[str, str]:
        """As it stands in the document."""
        return {"by": self.by, "nonce": self.nonce, "signature": self.signature}

    @classmethod
    def create(cls, type_: str, identity: Identity, entropy: Entropy) -> Subject:
        """A new record of this Hcp. Its id is bound to its creator: nobody else can make a document of that id."""
        nonce = entropy(NONCE_BYTES).hex()
        doc_id = document_id(type_, identity.hcp_id, nonce)
        signature = identity.sign("creator", SUITE, type_, doc_id, identity.hcp_id, nonce)
        return cls(type_, doc_id, identity.hcp_id, nonce, signature)

    @classmethod
    def of(cls, doc_id: str, document: Mapping[str, Any]) -> Subject:
        """Of a document, its shape checked and its id recomputed, its signature not yet. Raises Tampered."""
        creator, type_ = document.get("creator"), document.get("type")
        if (
            not isinstance(type_, str)
            or not isinstance(creator, dict)
            or creator.keys() != {"by", "nonce", "signature"}
            or not is_hcp_id(creator["by"])
            or not isinstance(creator["nonce"], str)
            or not _NONCE.match(creator["nonce"])
            or not isinstance(creator["signature"], str)
        ):
            raise _tampered(doc_id, "its creator is not stated as it must be")
        if document_id(type_, creator["by"], creator["nonce"]) != doc_id:
            raise _tampered(doc_id, "its id is not the one that its creator made")
        return cls(type_, DocId(doc_id), HcpId(creator["by"]), creator["nonce"], creator["signature"])

    @property
    def message(self) -> bytes:
        """What its creator signed."""
        return signed_bytes("creator", (SUITE, self.type, self.id, self.by, self.nonce))

    def check_signature(self, signer: Signer) -> bool:
        """True if the creator made it, False if that cannot be said yet (*pending*). Raises Tampered."""
        found = signer.check(self.signature, "creator", SUITE, self.type, self.id, self.by, self.nonce)
        if found is Judgement.FORGED:
            raise _tampered(self.id, "its creator's signature does not hold")
        return found is Judgement.HOLDS


def document_id(type_: str, by: str, nonce: str) -> DocId:
    """The first 32 hex digits of SHA-256 of `C["icure-sync/id/1", type, creator.by, creator.nonce]`."""
    return DocId(sha256(pack(["icure-sync/id/1", type_, by, nonce])).hex()[:32])


def grant(subject: Subject, delegate: HcpId, known: Sequence[Statement], identity: Identity) -> Statement:
    """A grant by this Hcp, on top of the known statements. Raises NoAccess if it has none itself."""
    fields = {
        "grant": delegate,
        "by": identity.hcp_id,
        "from": "" if identity.hcp_id == subject.by else _source(subject, known, identity.hcp_id),
        "after": sorted(digest(statement) for statement in known if statement.get("revoke") == delegate),
    }
    return {**fields, "signature": identity.sign("grant", *_statement_fields(subject, fields))}


def revocation(subject: Subject, delegate: HcpId, identity: Identity, entropy: Entropy) -> Statement:
    """A revocation by this Hcp: ends its own grants to `delegate`, or anybody's if it is the creator."""
    fields = {"revoke": delegate, "by": identity.hcp_id, "nonce": entropy(NONCE_BYTES).hex()}
    return {**fields, "signature": identity.sign("revocation", *_statement_fields(subject, fields))}


def carried(doc_id: str, document: Mapping[str, Any]) -> list[Statement]:
    """The statements in a document, their shape checked, their signatures not. Raises Tampered."""
    access = document.get("access")
    if not isinstance(access, list) or not all(map(_well_formed, access)) or canonical_set(access) != access:
        raise _tampered(doc_id, "its statements of access are malformed")
    return access


def digest(statement: Statement) -> str:
    """SHA-256 of the canonical bytes without the signature, as hex."""
    return sha256(canonical({name: value for name, value in statement.items() if name != "signature"})).hex()


def check_statement(subject: Subject, statement: Statement, signing_keys: SigningKeys) -> bool:
    """True if the signature holds, False if nobody can say yet (*pending*): of an Hcp that is not known here, or by a
    key that it lost, and not attested. Raises Tampered.

    `statement`: one of `carried`.
    """
    signer = signing_keys(statement["by"])
    if signer is None:
        return False
    kind = "grant" if "grant" in statement else "revocation"
    found = signer.check(statement["signature"], kind, *_statement_fields(subject, statement))
    if found is Judgement.FORGED:
        raise _tampered(subject.id, f"a {kind} in the name of {statement['by']} is not signed by that Hcp")
    return found is Judgement.HOLDS


def statement_message(subject: Subject, statement: Statement) -> bytes:
    """What its author signed. `statement`: one of `carried`."""
    return signed_bytes("grant" if "grant" in statement else "revocation", _statement_fields(subject, statement))


def parties(subject: Subject, statements: Iterable[Statement]) -> frozenset[HcpId]:
    """Who has access, from verified statements alone: the creator, and whom a grant that counts names.

    A grant counts if its `from` counts and names its `by` (or `by` is the creator) and no revocation ends it. A
    revocation by P of X ends X's grants by P (anybody's, if P is the creator) except those whose `after` lists it.
    """
    grants, revocations = _split(statements)
    counting = _counting_grants(subject, grants, revocations)
    return frozenset({subject.by, *(HcpId(grants[name]["grant"]) for name in counting)})


def counting(subject: Subject, statements: Iterable[Statement]) -> dict[str, Statement]:
    """The grants that count, from verified statements, by their digests."""
    grants, revocations = _split(statements)
    return {name: grants[name] for name in sorted(_counting_grants(subject, grants, revocations))}


def endings(subject: Subject, granted: Statement, statements: Iterable[Statement]) -> list[Statement]:
    """The revocations that end this grant, by its author or the creator."""
    return [
        each
        for each in statements
        if each.get("revoke") == granted["grant"]
        and each["by"] in (granted["by"], subject.by)
        and digest(each) not in granted["after"]
    ]


def granted_by(subject: Subject, statements: Iterable[Statement], by: str) -> frozenset[HcpId]:
    """Whom this Hcp gives access, from verified statements: those whom its grants name that count."""
    grants, revocations = _split(statements)
    counting = _counting_grants(subject, grants, revocations)
    return frozenset(HcpId(grants[name]["grant"]) for name in counting if grants[name]["by"] == by)


def union(*groups: Iterable[Statement]) -> list[Statement]:
    """All statements of all groups, in canonical order."""
    return canonical_set(statement for group in groups for statement in group)


def entry_digest(map_name: str, entry: Mapping[str, str]) -> str:
    """SHA-256 of `C[map, owner, delegate, kid, of, key]`, as hex."""
    fields = [map_name, *(entry[name] for name in ("owner", "delegatedTo", "kid", "of", "key"))]
    return sha256(canonical(fields)).hex()


def with_entries(
    access_map: Mapping[str, Sequence[Mapping[str, str]]], entries: Iterable[Mapping[str, str]]
) -> dict[str, list[Mapping[str, str]]]:
    """The access map with these entries added under their delegates, each list a canonical set."""
    result = {delegate: list(present) for delegate, present in access_map.items()}
    for entry in entries:
        result[entry["delegatedTo"]] = canonical_set([*result.get(entry["delegatedTo"], ()), entry])
    return result


def _split(statements: Iterable[Statement]) -> tuple[dict[str, Statement], dict[str, Statement]]:
    grants: dict[str, Statement] = {}
    revocations: dict[str, Statement] = {}
    for statement in statements:
        (grants if "grant" in statement else revocations)[digest(statement)] = statement
    return grants, revocations


def _counting_grants(
    subject: Subject, grants: Mapping[str, Statement], revocations: Mapping[str, Statement]
) -> set[str]:
    """The fixed point, from below: a `from` is the digest of another grant, so chains cannot run in circles.

    Every revocation counts. One look at each statement: a hostile party may have written thousands.
    """
    endings: dict[tuple[str, str], set[str]] = {}  # (delegate, author) to the digests of revocations
    for name, revoked in revocations.items():
        endings.setdefault((revoked["revoke"], revoked["by"]), set()).add(name)
    derived: dict[str, list[str]] = {}  # a grant to those that name it as their `from`
    reached: list[str] = []
    for name, given in grants.items():
        by, after = given["by"], given["after"]
        ending = [endings.get((given["grant"], author), set()) for author in (by, subject.by)]
        if any(len(each) > len(after) or each.difference(after) for each in ending):
            continue
        if by == subject.by:
            reached.append(name)
        else:
            derived.setdefault(given["from"], []).append(name)
    counting: set[str] = set()
    while reached:
        name = reached.pop()
        counting.add(name)
        reached += (each for each in derived.get(name, ()) if grants[each]["by"] == grants[name]["grant"])
    return counting


def _source(subject: Subject, known: Sequence[Statement], hcp_id: HcpId) -> str:
    grants, revocations = _split(known)
    sources = (name for name in _counting_grants(subject, grants, revocations) if grants[name]["grant"] == hcp_id)
    lasting = min(sources, key=lambda name: (grants[name]["by"] != subject.by, name), default=None)
    if lasting is None:
        raise NoAccess(f"share {subject.id}", f"{hcp_id} has no access to it", "ask its creator for access")
    return lasting  # the creator's, if there is one: nobody else can end that


def _statement_fields(subject: Subject, statement: Statement) -> tuple[Any, ...]:
    head = (SUITE, subject.type, subject.id, subject.by)
    if "grant" in statement:
        return (*head, statement["grant"], statement["by"], statement["from"], statement["after"])
    return (*head, statement["revoke"], statement["by"], statement["nonce"])


def _well_formed(statement: Any) -> bool:
    if not isinstance(statement, dict):
        return False
    if statement.keys() == {"grant", "by", "from", "after", "signature"}:
        digests = statement["after"]
        sound = (
            isinstance(digests, list)
            and all(isinstance(item, str) and _DIGEST.match(item) for item in digests)
            and digests == sorted(set(digests))
            and isinstance(statement["from"], str)
            and (statement["from"] == "" or _DIGEST.match(statement["from"]) is not None)
        )
        delegate = statement["grant"]
    elif statement.keys() == {"revoke", "by", "nonce", "signature"}:
        sound = isinstance(statement["nonce"], str) and _NONCE.match(statement["nonce"]) is not None
        delegate = statement["revoke"]
    else:
        return False
    return sound and is_hcp_id(delegate) and is_hcp_id(statement["by"]) and isinstance(statement["signature"], str)


def _tampered(doc_id: str, wrong: str) -> Tampered:
    return Tampered(f"trust document {doc_id}", wrong, "keep it aside and tell whoever runs the server")
