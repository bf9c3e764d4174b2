"""A new content key for a record, and the entries that somebody who has access lacks.

Owns what a revoking write, re-keying and access repair do to a document of suite `sealed-1` (FORMAT.md, Writing). The
new body comes in: what is in it is the business of `merge.registers`. Pure: knows no stores, and no way to make the Hcp
keys that the caller has not made; who cannot be reached by one gets no entry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.access import MAPS, Statement, Subject, granted_by, parties, revocation, union, with_entries
from icure_sync.crypto.chain import Chain, Entry, Wrapper, unwrap_chain
from icure_sync.crypto.envelope import KEY_BYTES, SALT_BYTES, kid
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.primitives import Entropy, SymmetricKey
from icure_sync.crypto.sealing import Sealed, checked_clear, seal_body, signed
from icure_sync.errors import InvalidEntity, NoAccess
from icure_sync.ids import HcpId, Kid

Maps = Mapping[str, Mapping[str, Sequence[Entry]]]  # the three access maps, or more members

_UNKEYED = ("delegations", "cryptedForeignKeys")  # their entries do not say what they wrap


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """What a re-keyed revision says. `access`: all its statements; `secret_id`: a new one, which `body` holds too."""

    body: Mapping[str, Any]
    access: Sequence[Statement]
    clear: Mapping[str, Any] | None = None
    secret_id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Rekeyed:
    """`outs`: who held entries before it, and has no access by what it states: they must be told."""

    sealed: Sealed
    outs: frozenset[HcpId]


def revoked(
    sealed: Sealed, delegate: HcpId, identity: Identity, entropy: Entropy, *, known: Iterable[Statement] = ()
) -> list[Statement]:
    """The statements of the revision that puts `delegate` out. `known`: as for `sealing.share`.

    Raises NoAccess; InvalidEntity if there is nothing to revoke, or this Hcp's word does not put him out.
    """
    subject, me = Subject.of(sealed.id, sealed.document), identity.hcp_id
    statements = union(sealed.document["access"], known)
    inside = parties(subject, statements)
    attempted = f"revoke the access of {delegate} to {subject.id}"
    if me not in inside:
        raise NoAccess(attempted, f"{me} has no access to it", f"ask {subject.by}, who made it")
    if delegate == subject.by:
        raise InvalidEntity(attempted, f"{delegate} made it, and nobody can put its creator out", "name somebody else")
    if delegate == me:
        raise InvalidEntity(attempted, "nobody puts himself out", f"ask {subject.by}, who made it")
    if delegate not in inside:
        raise InvalidEntity(attempted, f"{delegate} has no access to it", "nothing need be done")
    after = union(statements, [revocation(subject, delegate, identity, entropy)])
    others = [party for party in sorted(inside) if delegate in granted_by(subject, after, party)]
    if others:
        named = ", ".join(others)
        raise InvalidEntity(attempted, f"{named} granted it too", f"ask {named}, or {subject.by}, who made it")
    return after


def rekey(sealed: Sealed, change: Change, keyring: Keyring, entropy: Entropy) -> Rekeyed:
    """The next revision under a new content key, with entries for everyone who has access and can be reached.

    Entries of those who have none are left out; old entries of the others stay, for old revisions, files and links.
    Raises NoAccess, Tampered.
    """
    document, me = sealed.document, keyring.identity.hcp_id
    subject = Subject.of(sealed.id, document)
    chain = unwrap_chain(subject, document, keyring)
    inside = parties(subject, change.access)
    if me not in inside:
        raise NoAccess(f"write {subject.id}", f"{me} has no access to it", f"ask {subject.by}, who made it")
    new_key = SymmetricKey(entropy(KEY_BYTES))
    name = kid(new_key)
    added = [] if change.secret_id is None else [change.secret_id]
    given: list[Maps] = []
    for delegate, wrapper in _wrappers(subject, inside, keyring, entropy):
        is_served = _lacks(document, delegate, chain, keyring)
        secret_ids = [*added, *chain.secret_ids] if is_served else added
        given.append(wrapper.access_maps({name: new_key}, secret_ids, chain.foreign_keys if is_served else ()))
    left = {each: {hcp: document[each][hcp] for hcp in document[each] if hcp in inside} for each in MAPS}
    changed = {
        **document,
        **checked_clear(change.clear),
        **_with(left, given),
        "parents": sealed.parents,
        "access": change.access,
        "sealedWith": [name],
        "encryptedSelf": seal_body(subject, [(name, new_key)], change.body, entropy(SALT_BYTES)),
    }
    return Rekeyed(signed(subject, changed, keyring), _holders(document) - inside)


def is_sound(sealed: Sealed, keyring: Keyring) -> bool:
    """Whether the next write may stay under the key of this one: it is no joint key, nobody holds it who is out, and no
    Hcp key that wraps it is known to somebody who should not know it."""
    document = sealed.document
    names = document["sealedWith"]
    if len(names) > 1:
        return False
    keyed = [entry for entries in document["encryptionKeys"].values() for entry in entries if entry["of"] in names]
    if any(keyring.is_exposed(entry["owner"], entry["kid"]) for entry in keyed):
        return False
    holders = {each for entry in keyed for each in (entry["owner"], entry["delegatedTo"])}
    return holders <= parties(Subject.of(sealed.id, document), document["access"])


def lacking(sealed: Sealed, keyring: Keyring) -> frozenset[HcpId]:
    """Who has access, lacks entries that this Hcp can write, and is his to serve.

    The creator serves everybody, a granter those whom he granted access; and the creator, whom nobody granted it, is
    served by all. Costs look-ups alone if nothing is lacking. Raises NoAccess, Tampered.
    """
    document, me = sealed.document, keyring.identity.hcp_id
    by = document["creator"]["by"]
    named = {by, *(each["grant"] for each in document["access"] if "grant" in each and me in (by, each["by"]))}
    suspects = {delegate for delegate in named - {me} if _may_lack(document, delegate, keyring)}
    if not suspects:
        return frozenset()
    subject = Subject.of(sealed.id, document)
    serving = parties(subject, document["access"]) if me == by else granted_by(subject, document["access"], me) | {by}
    suspects &= serving
    if not suspects:
        return frozenset()
    chain = unwrap_chain(subject, document, keyring)
    return frozenset(delegate for delegate in suspects if _lacks(document, delegate, chain, keyring))


def repair(sealed: Sealed, delegates: Collection[HcpId], keyring: Keyring, entropy: Entropy) -> Sealed:
    """The next revision, with the entries that these parties lack: some of `lacking`. The body stays.

    Raises NoAccess, Tampered.
    """
    document = sealed.document
    subject = Subject.of(sealed.id, document)
    chain = unwrap_chain(subject, document, keyring)
    given: list[Maps] = []
    for delegate, wrapper in _wrappers(subject, delegates, keyring, entropy):
        keys = {name: chain.content_keys[name] for name in _unheld(document, delegate, keyring)}
        given.append(wrapper.access_maps(keys, chain.secret_ids, chain.foreign_keys))
    maps = _with(document, given)
    return signed(subject, {**document, **maps, "parents": sealed.parents}, keyring)


def _wrappers(
    subject: Subject, delegates: Iterable[HcpId], keyring: Keyring, entropy: Entropy
) -> Iterator[tuple[HcpId, Wrapper]]:
    """For those towards whom this Hcp has a key."""
    for delegate in sorted(delegates):
        hcp_key = keyring.pair(keyring.identity.hcp_id, delegate)
        if hcp_key is not None:
            yield delegate, Wrapper(subject, hcp_key, entropy)


def _with(maps: Maps, added: Iterable[Maps]) -> dict[str, Any]:
    """The three access maps with all these entries."""
    result: dict[str, Any] = {}
    for name in MAPS:
        new = [entry for each in added for entries in each[name].values() for entry in entries]
        result[name] = with_entries(maps[name], new)
    return result


def _unheld(document: Mapping[str, Any], delegate: HcpId, keyring: Keyring) -> set[Kid]:
    """The keys of the body for which this party has no entry.

    An own entry under an Hcp key that is not here is none: nobody can have that key but who made it, and it is lost.
    """
    me = keyring.identity.hcp_id
    held = {
        entry["of"]
        for entry in document["encryptionKeys"].get(delegate, ())
        if entry["owner"] != me or keyring.get(me, delegate, entry["kid"]) is not None
    }
    return {Kid(name) for name in document["sealedWith"] if name not in held}


def _may_lack(document: Mapping[str, Any], delegate: HcpId, keyring: Keyring) -> bool:
    """Without unwrapping anything: has he no key of the body, or fewer entries than this Hcp itself?"""
    me = keyring.identity.hcp_id
    return bool(_unheld(document, delegate, keyring)) or any(
        len(document[name].get(delegate, ())) < len(document[name].get(me, ())) for name in _UNKEYED
    )


def _lacks(document: Mapping[str, Any], delegate: HcpId, chain: Chain, keyring: Keyring) -> bool:
    """Has he no key of the body, or fewer entries than there are values?

    Entries are given all together, so somebody who lacks an older value nearly always lacks the newest key as well.
    """
    counts = zip(_UNKEYED, (chain.secret_ids, chain.foreign_keys), strict=True)
    return bool(_unheld(document, delegate, keyring)) or any(
        len(document[name].get(delegate, ())) < len(values) for name, values in counts
    )


def _holders(document: Mapping[str, Any]) -> frozenset[HcpId]:
    """Everyone who holds an entry."""
    return frozenset(HcpId(hcp) for name in MAPS for hcp, entries in document[name].items() if entries)
