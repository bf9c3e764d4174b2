"""The part of `sealed-1.json` that is about epochs: what an Hcp writes after its keys changed, what people compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icure_sync.crypto.attestations import attest, signed_messages
from icure_sync.crypto.comparison import comparison
from icure_sync.crypto.identity import ENDINGS
from icure_sync.crypto.party import Party
from icure_sync.crypto.sealing import Sealed
from icure_sync.crypto.signers import digest_of
from icure_sync.engine import hcp_document
from icure_sync.engine.suite import Stored, Written
from icure_sync.ids import DocId, Rev
from tests.keys import A, B, identity, successor

LEAVES = ["named", "renamed"]  # of `hcpMerges`


def epochs(merges: Mapping[str, Any], documents: Mapping[str, Sealed]) -> dict[str, Any]:
    """A in its second epoch, for each way in which the first one may end."""
    leaves = [
        Stored(DocId(A), Rev(each["rev"]), each["document"]) for each in (merges["documents"][name] for name in LEAVES)
    ]
    return {
        "id": A,
        "leaves": LEAVES,
        "cases": [_case(ended, leaves, documents) for ended in ENDINGS],
        "comparisons": [
            {"with": B, "epoch": one.epoch, "number": comparison(one, Party.of_identity(identity(B)))}
            for one in map(Party.of_identity, (identity(A), *map(successor, ENDINGS)))
        ],
    }


def _case(ended: str, leaves: list[Stored], documents: Mapping[str, Sealed]) -> dict[str, Any]:
    """`attested`: names of the documents of which everything is attested that the key before signed."""
    now = successor(ended)
    joined = hcp_document.join(now, leaves, [leaf.rev for leaf in leaves])
    known = [documents[name] for name in ("created", "shared")]
    digests = [
        digest_of(message) for each in known for message, _ in signed_messages(each.id, each.rev, each.document, A)
    ]
    ((doc_id, rev, attestation),) = attest(now, digests)
    return {
        "ended": ended,
        "signingSeed": now.signing_key.seed().hex(),
        "partyKey": now.party_key.pkcs8().hex(),
        "selfKey": now.self_key.hex(),
        "first": _described(hcp_document.first(now)),
        "over": _described(next(iter(joined.written or ()))),
        "attested": ["created", "shared"],
        "attestation": {"id": doc_id, "rev": rev, "document": attestation},
    }


def _described(written: Written) -> dict[str, Any]:
    return {"rev": written.rev, "document": written.document}
