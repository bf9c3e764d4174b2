"""Whether a revision verifies: it says who made it, in which place, with whose access, and every signature holds.

Owns the order of the checks. Knows no stores: what the caller has seen before, and the signing keys of other Hcps, come
in. Checked lazily and once, before a revision is first shown or extended; the caller remembers the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.access import Statement, Subject, check_statement, parties, union
from icure_sync.crypto.hcp_keys import wrapped_keys
from icure_sync.crypto.layout import check_ancestry, check_layout
from icure_sync.crypto.party import Party
from icure_sync.crypto.retirements import check_retired
from icure_sync.crypto.revision import check_place, check_revision_id, check_written, writer_of
from icure_sync.crypto.signers import Signer, SigningKeys
from icure_sync.errors import Tampered, WriterOut
from icure_sync.ids import Rev


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a document beside the revision in question.

    `tree_parents`: what stands above it in the tree, if known. `statements`: verified ones, remembered for the record.
    `displaced`: statements that the revisions which it lists as parents carry, as far as their bodies are here.
    `creators`: the creator as verified revisions state it. What was verified once holds, whatever key signed it.
    """

    tree_parents: tuple[Rev, ...] = ()
    statements: tuple[Statement, ...] = ()
    displaced: tuple[Statement, ...] = ()
    creators: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A revision that is not tampered with. `pending`: Hcps whose signatures nobody can judge yet; empty: it verifies.

    Their signing keys are not here, or they lost the key, and have not attested (yet) what it signed.
    """

    statements: tuple[Statement, ...]
    pending: frozenset[str]


def verify_record(doc_id: str, rev: Rev, document: Mapping[str, Any], signing_keys: SigningKeys, seen: Seen) -> Verdict:
    """Of a record in suite `sealed-1`.

    Raises Tampered if it does not verify and never will, InvalidEntity if it has no canonical form; WriterOut if its
    writer has no access by the statements known now (one that comes later may change that).
    """
    subject = Subject.of(doc_id, document)
    by = writer_of(doc_id, document)
    check_layout(doc_id, document)
    pending = _check_subject(subject, signing_keys, seen)
    pending |= {
        statement["by"]
        for statement in document["access"]
        if not check_statement(subject, statement, signing_keys)
        and statement not in seen.statements
        and statement not in seen.displaced
    }
    pending |= _check_writer(doc_id, rev, document, by, signing_keys)
    check_place(doc_id, document, seen.tree_parents)
    if pending:
        return Verdict((), frozenset(pending))
    _check_access(doc_id, subject, by, document["access"], seen)
    return Verdict(tuple(union(document["access"], seen.statements)), frozenset())


def verify_hcp_document(doc_id: str, rev: Rev, document: Mapping[str, Any], tree_parents: Collection[Rev]) -> Party:
    """Of an Hcp document: signed by the key that it states, all of it. Whether that key is the right one is for pins.

    Raises Tampered, UntrustedKey; InvalidEntity if it has no canonical form.
    """
    party = Party.of(doc_id, document)
    check_ancestry(doc_id, document)
    if writer_of(doc_id, document) != doc_id:
        raise _tampered(doc_id, "another Hcp wrote it")
    check_written(doc_id, rev, document, Signer(party.signing_key))
    check_place(doc_id, document, tree_parents)
    for wrapped in wrapped_keys(doc_id, document):
        wrapped.check_signature(party)
    check_retired(doc_id, document, party)
    return party


def _check_subject(subject: Subject, signing_keys: SigningKeys, seen: Seen) -> set[str]:
    signer = signing_keys(subject.by)
    if (signer is not None and subject.check_signature(signer)) or subject.creator in seen.creators:
        return set()
    return {subject.by}


def _check_writer(doc_id: str, rev: Rev, document: Mapping[str, Any], by: str, signing_keys: SigningKeys) -> set[str]:
    signer = signing_keys(by)
    if signer is None:
        check_revision_id(doc_id, rev, document)
        return {by}
    return set() if check_written(doc_id, rev, document, signer) else {by}


def _check_access(doc_id: str, subject: Subject, by: str, carried: Iterable[Statement], seen: Seen) -> None:
    if len(union(carried)) < len(union(carried, seen.displaced)):
        raise _tampered(doc_id, "it leaves out statements of access that it displaces")
    statements = union(carried, seen.statements)
    if by not in parties(subject, statements):
        raise WriterOut(
            f"trust document {doc_id}", f"{by}, who wrote this revision, has no access to it", "adopt it, or leave it"
        )


def _tampered(doc_id: str, wrong: str) -> Tampered:
    return Tampered(f"trust document {doc_id}", wrong, "keep it aside and tell whoever runs the server")
