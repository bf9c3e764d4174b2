"""Attestations: what an Hcp vouches for of all that a key signed which it lost.

Owns the layout of these documents. `creator.signature` is part of everything that is sealed in a record, so what was
signed cannot be signed again. In its place stands a list of what the lost key really signed, signed with the key that
came after it: of each message the first 16 bytes of its SHA-256. Knows no stores: what was verified comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from icure_sync.crypto.access import SUITE, Subject, statement_message
from icure_sync.crypto.envelope import from_text, to_text
from icure_sync.crypto.identity import FIRST_EPOCH, Identity
from icure_sync.crypto.revision import check_written, writer_of, written, written_message
from icure_sync.crypto.signers import DIGEST_BYTES, Signer
from icure_sync.errors import Tampered
from icure_sync.ids import DocId, HcpId, Rev, is_hcp_id

ATTESTATION = "Attestation"
DIGESTS_MOST = 65_536  # in one document, which is 1.4 MB then: far below what a server takes

_MEMBERS = frozenset({"type", "cryptoSuite", "hcp", "epoch", "signingKey", "number", "parents", "digests", "written"})


def attestation_id(hcp_id: str, epoch: int, number: int) -> DocId:
    """`attestation-<Hcp id>-<epoch>-<number>`."""
    return DocId(f"attestation-{hcp_id}-{epoch}-{number}")


def attest(identity: Identity, digests: Iterable[bytes], first: int = 0) -> Iterator[tuple[DocId, Rev, dict[str, Any]]]:
    """The documents by which this Hcp vouches for what has these digests (`signers.digest_of`), numbered from `first`.

    The same digests make the same documents on every device. They are written once, and never changed. They name the
    key that signs them: who has the one before it cannot take their revision ids beforehand.
    """
    ordered = sorted(set(digests))
    for place in range(0, len(ordered), DIGESTS_MOST):
        number = first + place // DIGESTS_MOST
        doc_id = attestation_id(identity.hcp_id, identity.epoch, number)
        members = {
            "type": ATTESTATION,
            "cryptoSuite": SUITE,
            "hcp": identity.hcp_id,
            "epoch": identity.epoch,
            "signingKey": to_text(identity.signing_key.public),
            "number": number,
            "parents": [],
            "digests": to_text(b"".join(ordered[place : place + DIGESTS_MOST])),
        }
        yield doc_id, *written(doc_id, members, identity)


def attesting(doc_id: str, document: Mapping[str, Any]) -> HcpId:
    """Whose attestation this is; its layout is checked, its signature not. Raises Tampered."""
    stated: list[Any] = [document.get(name) for name in ("hcp", "epoch", "number")]
    hcp_id, epoch, number = stated
    sound = (
        document.keys() == _MEMBERS
        and (document["type"], document["cryptoSuite"], document["parents"]) == (ATTESTATION, SUITE, [])
        and is_hcp_id(hcp_id)
        and type(epoch) is int
        and epoch > FIRST_EPOCH
        and isinstance(document["signingKey"], str)
        and type(number) is int
        and number >= 0
    )
    if not sound or doc_id != attestation_id(hcp_id, epoch, number) or writer_of(doc_id, document) != hcp_id:
        raise _tampered(doc_id, "it is not laid out as an attestation must be")
    return HcpId(hcp_id)


def digests_in(doc_id: str, document: Mapping[str, Any]) -> bytes:
    """The digests in one block, as `signers.Attested` takes it. `document`: one that `attesting` has seen.

    Raises Tampered.
    """
    block = from_text(document["digests"])
    digests = [block[place : place + DIGEST_BYTES] for place in range(0, len(block), DIGEST_BYTES)]
    if not 0 < len(digests) <= DIGESTS_MOST or len(block) % DIGEST_BYTES or digests != sorted(set(digests)):
        raise _tampered(doc_id, "its digests are not laid out as they must be")
    return block


def attested(doc_id: str, rev: Rev, document: Mapping[str, Any], signer: Signer) -> bytes | None:
    """As `digests_in`, once the signature holds; None if nobody can say yet whether it does.

    Raises Tampered; InvalidEntity if the document has no canonical form.
    """
    block = digests_in(doc_id, document)
    return block if check_written(doc_id, rev, document, signer) else None


def signed_messages(doc_id: str, rev: Rev, document: Mapping[str, Any], hcp_id: HcpId) -> Iterator[tuple[bytes, str]]:
    """What this Hcp signed of a revision that verified, and the signatures: of a record its creator, statements and who
    wrote it; of others the last alone."""
    if "creator" in document:
        subject = Subject.of(doc_id, document)
        if subject.by == hcp_id:
            yield subject.message, subject.signature
        for each in document["access"]:
            if each["by"] == hcp_id:
                yield statement_message(subject, each), each["signature"]
    if "written" in document and writer_of(doc_id, document) == hcp_id:
        yield written_message(doc_id, rev, document), document["written"]["signature"]


def _tampered(doc_id: str, wrong: str) -> Tampered:
    return Tampered(f"trust document {doc_id}", wrong, "keep it aside and tell whoever runs the server")
