"""From a secret and a server to an identity, on a device that has nothing else: recovery, and opening the glass.

Owns what is asked of the server, in which order, and what is believed of its answers. Keeps nothing: whoever calls it
makes a home of what it gives. Each call may be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto import publishing
from icure_sync.crypto.glass import (
    Glass,
    GlassOpened,
    evidence_key,
    glass_id,
    open_glass,
    opened_members,
)
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import Entropy, system_entropy
from icure_sync.crypto.recovery import open_recovery, recovery_id
from icure_sync.crypto.shares import Purpose, RecoverySecret, Share
from icure_sync.crypto.signers import Signer
from icure_sync.errors import Forbidden, InvalidEntity, NoAccess, NotFound, Tampered, UntrustedKey
from icure_sync.ids import DocId
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Revision

OPENED_ID_BYTES = 8


@dataclass(frozen=True, slots=True, repr=False)
class Broken:
    """Glass that was broken: the emergency Hcp, what its owner had prepared, and the evidence that was left."""

    identity: Identity
    glass: Glass
    opened: GlassOpened


async def recover(peer: Peer, secret: RecoverySecret) -> Identity:
    """The identity that a recovery secret stands for.

    Raises InvalidEntity for a secret of another kind; NotFound if the server has nothing for it; NoAccess if it was
    withdrawn, or the identity has been changed since; Tampered; the kinds of PeerError.
    """
    _require(secret, Purpose.RECOVERY, "recover an identity", "icure-sync break-glass open")
    attempted = "recover the identity"
    doc_id = recovery_id(secret)
    leaves = await _leaves(peer, doc_id, attempted)
    document = _live(leaves, attempted)
    identity = open_recovery(secret, doc_id, document)
    _refuse_withdrawn(doc_id, leaves, Signer(identity.signing_key.public), attempted)
    if await _epoch_there(peer, identity.hcp_id) > identity.epoch:
        wrong = "the identity was changed after this code was made, because a device was lost or for another reason"
        raise NoAccess(attempted, wrong, "use a code or shares that were made since")
    return identity


async def break_glass(
    peer: Peer,
    secret: RecoverySecret,
    shares: Sequence[Share],
    *,
    by: str,
    reason: str,
    time: int,
    entropy: Entropy = system_entropy,
) -> Broken:
    """Open an emergency access: the identity is given once the server has taken the evidence, and not before.

    `shares`: those that the secret was combined of. `by`, `reason`: who opens it, and why, in words for its owner;
    `time`: ms since 1970. Raises as `recover`, and Forbidden if the server does not take the evidence.
    """
    _require(secret, Purpose.GLASS, "open an emergency access", "icure-sync recovery restore")
    attempted = "open the emergency access"
    doc_id = glass_id(secret)
    leaves = await _leaves(peer, doc_id, attempted)
    document = _live(leaves, attempted)
    glass, identity = open_glass(secret, doc_id, document)
    _refuse_withdrawn(doc_id, leaves, await _signer_there(peer, glass), attempted)
    opened = GlassOpened(
        DocId(f"glass-opened-{entropy(OPENED_ID_BYTES).hex()}"),
        glass.hcp,
        by.strip(),
        reason.strip(),
        time,
        tuple(sorted(share.index for share in shares)),
    )
    members = opened_members(opened, glass.owner, evidence_key(secret), entropy)
    evidence_rev, evidence = publishing.publish(opened.id, members, identity)
    refused = await peer.write([Revision(opened.id, (evidence_rev,), strict_json.dumps(evidence))], peer)
    if refused:
        raise Forbidden(attempted, "the server does not take the evidence", "ask whoever runs the server")
    await peer.commit()
    return Broken(identity, glass, opened)


def _require(secret: RecoverySecret, purpose: Purpose, attempted: str, command: str) -> None:
    if secret.purpose is not purpose:
        raise InvalidEntity(attempted, "these shares are of another kind", f"use them with {command}")


async def _leaves(peer: Peer, doc_id: DocId, attempted: str) -> list[tuple[Revision, dict[str, Any]]]:
    """All leaves of a document that can be read. Raises NotFound if there is none."""
    found = []
    for revision in await peer.leaves([doc_id]):
        if isinstance(revision, Revision) and revision.id == doc_id:
            try:
                document = strict_json.loads(revision.body, f"document {doc_id}")
            except InvalidEntity:
                continue
            if isinstance(document, dict):
                found.append((revision, document))
    if not found:
        raise NotFound(
            attempted,
            "the server has nothing for this secret",
            "check the address of the server, and that the device on which it was made has synced since",
        )
    return found


def _live(leaves: Sequence[tuple[Revision, dict[str, Any]]], attempted: str) -> dict[str, Any]:
    for revision, document in leaves:
        if not revision.deleted:
            return document
    if any(publishing.is_withdrawal(document) for _, document in leaves):
        raise _withdrawn(attempted)
    raise NotFound(attempted, "somebody deleted the document that holds it", "sync another device of that Hcp, if any")


def _refuse_withdrawn(
    doc_id: DocId, leaves: Sequence[tuple[Revision, dict[str, Any]]], signer: Signer, attempted: str
) -> None:
    """By who made it: a tombstone that others wrote beside it says nothing."""
    for revision, document in leaves:
        says_so = revision.deleted and publishing.is_withdrawal(document)
        if says_so and publishing.holds(doc_id, revision.rev, document, signer):
            raise _withdrawn(attempted)


async def _signer_there(peer: Peer, glass: Glass) -> Signer:
    """The owner, by the key that made it, and by all that the server's Hcp document states to have come after that:
    whoever lies there can only refuse what he could as well delete."""
    later: list[bytes] = []
    for document in await _hcp_documents(peer, glass.owner):
        with suppress(UntrustedKey, Tampered):
            party = Party.of(glass.owner, document)
            keys = [*(each.signing_key for each in party.previous), party.signing_key]
            if party.comes_after(glass.owner_key):
                later += keys[keys.index(glass.owner_key) + 1 :]
    return Signer(glass.owner_key, tuple(dict.fromkeys(later)))


def _withdrawn(attempted: str) -> NoAccess:
    return NoAccess(attempted, "it was withdrawn", "use a code or shares that were made since")


async def _epoch_there(peer: Peer, hcp_id: str) -> int:
    """The highest epoch that the server's Hcp document states, unchecked: a liar can only refuse his service."""
    stated = [document.get("identity") for document in await _hcp_documents(peer, hcp_id)]
    epochs = [each.get("epoch") for each in stated if isinstance(each, dict)]
    return max((epoch for epoch in epochs if type(epoch) is int), default=0)


async def _hcp_documents(peer: Peer, hcp_id: str) -> list[dict[str, Any]]:
    try:
        return [document for _, document in await _leaves(peer, DocId(hcp_id), "look at the Hcp document")]
    except NotFound:
        return []
