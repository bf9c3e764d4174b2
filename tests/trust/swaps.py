"""What a server can put in the place of keys that it wants to have, and whether anybody falls for it.

One swap is one or two revisions of an Hcp document, made without any private key but the attacker's own. `Target` is
the replica of A, who knows B: for each swap, in a transaction that is taken back, A reads what came, and tries to make
a key towards B. The attacker has won if a key was wrapped for his party key, or if A trusts a key that he made up.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto import hcp_keys
from icure_sync.crypto.hcp_keys import wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, PLANNED, Birth, Former, Identity
from icure_sync.crypto.party import Party, identity_members
from icure_sync.crypto.primitives import SigningKey, SymmetricKey, system_entropy
from icure_sync.crypto.revision import revision_id
from icure_sync.engine import hcp_document
from icure_sync.engine.alarms import Bell
from icure_sync.engine.parties import Parties
from icure_sync.engine.suite import Stored
from icure_sync.engine.trail import Recorder
from icure_sync.errors import CryptoError, NotFound
from icure_sync.ids import HcpId, Kid
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.keys import A, B, C, identity

THIEF = identity(C).party_key  # the attacker's RSA key pair; what he signs with is new each time


@dataclass(frozen=True)
class Genuine:
    """An Hcp document as it is."""

    stored: Stored
    history: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        return dict(self.stored.document)


@dataclass(frozen=True)
class Swap:
    """`made_up`: the kid of an Hcp key that the attacker made, if he made one."""

    name: str
    revisions: Sequence[Revision]
    made_up: Kid | None = None


def rogue(hcp_id: HcpId, chance: random.Random, former: tuple[Former, ...] = (), endorsement: str = "") -> Identity:
    """An identity of that name with keys of the attacker."""
    self_key = SymmetricKey(chance.randbytes(32))
    return replace(
        identity(hcp_id),
        party_key=THIEF,
        signing_key=SigningKey(chance.randbytes(32)),
        self_key=self_key,
        birth=Birth(BORN, chance.randbytes(8).hex()),
        epoch=1 + len(former),
        former=former,
        endorsement=endorsement,
    )


BORN = THIEF.public.encrypt(bytes(32), system_entropy)  # nobody opens it


def _unsigned(genuine: Genuine, members: dict[str, Any]) -> Revision:
    """Other members under the signature that was there, with the revision id that fits."""
    document = {**genuine.document, **members, "parents": [genuine.stored.rev]}
    rev = revision_id(genuine.stored.id, document, genuine.stored.id)
    return Revision(genuine.stored.id, (rev, *genuine.history), strict_json.dumps(document))


def _over(genuine: Genuine, one: Identity, keys: Sequence[hcp_keys.Wrapped] = ()) -> Revision:
    """Signed by the attacker, all that was there carried on."""
    made = hcp_document.with_keys(one, genuine.stored, keys)
    return Revision(made.id, (made.rev, *genuine.history), strict_json.dumps(made.document))


def _root(one: Identity) -> Revision:
    made = hcp_document.first(one)
    return Revision(made.id, (made.rev,), strict_json.dumps(made.document))


def members_swapped(genuine: Genuine, chance: random.Random) -> Swap:
    stolen = identity_members(rogue(genuine.stored.id, chance))
    names = chance.choice([["publicKey"], ["signingKey"], ["publicKey", "signingKey"], list(stolen)])
    return Swap("members swapped", [_unsigned(genuine, {name: stolen[name] for name in names})])


def keys_of_another(genuine: Genuine, chance: random.Random) -> Swap:
    """A sound identity, of an Hcp that the attacker made."""
    other = replace(rogue(B, chance), hcp_id=HcpId(f"hcp-{chance.randrange(10**9)}"))
    return Swap("identity of another Hcp", [_unsigned(genuine, identity_members(other))])


def begun_anew(genuine: Genuine, chance: random.Random) -> Swap:
    return Swap("a document begun anew", [_root(rogue(genuine.stored.id, chance))])


def written_over(genuine: Genuine, chance: random.Random) -> Swap:
    return Swap("written over", [_over(genuine, rogue(genuine.stored.id, chance))])


def _ended(genuine: Genuine, ended: str) -> tuple[Former, ...]:
    true = identity(genuine.stored.id)
    return (Former(THIEF, true.signing_key.public, SymmetricKey(bytes(32)), ended),)


def next_epoch(genuine: Genuine, chance: random.Random) -> Swap:
    """As if the key had been lost."""
    return Swap("a next epoch", [_over(genuine, rogue(genuine.stored.id, chance, _ended(genuine, COMPROMISED)))])


def endorsed(genuine: Genuine, chance: random.Random) -> Swap:
    """As if it had been planned: by a signature of his own, by one that says something else, by none that is any."""
    one = rogue(genuine.stored.id, chance, _ended(genuine, PLANNED))
    endorsement = chance.choice(
        [
            one.sign("endorsement", *one.stated()),
            genuine.document["identity"]["signature"],
            genuine.document["written"]["signature"],
            chance.choice(["", "AAAA", "A" * 88]),
        ]
    )
    return Swap("an endorsement", [_over(genuine, replace(one, endorsement=endorsement))])


def made_up_key(genuine: Genuine, chance: random.Random) -> Swap:
    """A key towards A that B never made, for A to open and to trust."""
    one = rogue(genuine.stored.id, chance)
    key = hcp_keys.mint(one, A, chance.randbytes)
    wrapped = hcp_keys.wrap(one, Party.of_identity(identity(A)), key, chance.randbytes)
    if chance.random() < 0.5:
        return Swap("a key made up, signed by him", [_over(genuine, one, [wrapped])], key.kid)
    members = hcp_keys.key_members([*wrapped_keys(genuine.stored.id, genuine.document), wrapped])
    return Swap("a key made up, unsigned", [_unsigned(genuine, members)], key.kid)


def deleted_and_begun_anew(genuine: Genuine, chance: random.Random) -> Swap:
    number = int(genuine.stored.rev.split("-")[0]) + 1
    ended = Revision(genuine.stored.id, (f"{number}-{chance.randbytes(16).hex()}", *genuine.history), b"{}", True)
    return Swap("deleted, then begun anew", [ended, _root(rogue(genuine.stored.id, chance))])


OF_B: Sequence[Callable[[Genuine, random.Random], Swap]] = (
    members_swapped,
    keys_of_another,
    begun_anew,
    written_over,
    next_epoch,
    endorsed,
    made_up_key,
    deleted_and_begun_anew,
)


def of_a(genuine: Genuine, chance: random.Random) -> Swap:
    """In A's own document: {AB} replaced by a key of the attacker, or {AA}."""
    delegate = chance.choice([A, B])
    one = rogue(A, chance)
    key = hcp_keys.mint(one, delegate, chance.randbytes)
    party = Party.of_identity(one if delegate == A else rogue(B, chance))
    wrapped = hcp_keys.born(one) if delegate == A else hcp_keys.wrap(one, party, key, chance.randbytes)
    if chance.random() < 0.5:
        return Swap(f"a key of A's towards {delegate}, signed by him", [_over(genuine, one, [wrapped])], wrapped.kid)
    members = hcp_keys.key_members([wrapped])
    return Swap(f"a key of A's towards {delegate}, unsigned", [_unsigned(genuine, members)], wrapped.kid)


class _TakenBack(Exception):
    """The end of a transaction that is not to last."""


@dataclass
class Tally:
    """`wins` must stay empty: names of swaps. `reported`: how many were listed as trouble."""

    swaps: Counter[str]
    wins: list[str]
    reported: int = 0

    @property
    def count(self) -> int:
        return self.swaps.total()


class Target:
    """The replica of A over this store. Runs in the store's thread."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._chance = random.Random(seed)
        self._genuine = {hcp_id: self._read(hcp_id) for hcp_id in (A, B)}
        self.tally = Tally(Counter(), [])

    def _read(self, hcp_id: HcpId) -> Genuine:
        revision = self._store.documents.get(hcp_id)
        assert revision is not None
        return Genuine(Stored(hcp_id, revision.rev, strict_json.loads(revision.body, hcp_id)), revision.history)

    def attack(self, times: int) -> None:
        for _ in range(times):
            if self._chance.random() < 0.2:
                self._one(of_a(self._genuine[A], self._chance), A)
            else:
                self._one(self._chance.choice(OF_B)(self._genuine[B], self._chance), B)

    def _one(self, swap: Swap, attacked: HcpId) -> None:
        self.tally.swaps[swap.name] += 1
        try:
            with self._store.transaction():
                self._store.documents.apply(swap.revisions)
                recorder, bell = Recorder(self._store, A, "", lambda: 0), Bell(self._store, lambda: 0)
                parties = Parties(self._store, identity(A), system_entropy, recorder, bell)
                parties.refresh()
                with suppress(CryptoError, NotFound):
                    parties.key_towards(B)
                if self._has_won(parties, swap):
                    self.tally.wins.append(swap.name)
                standing = parties.standing(attacked)
                if attacked in parties.troubles or (standing is not None and standing.claims):
                    self.tally.reported += 1
                raise _TakenBack  # noqa: TRY301  # so that the next swap meets the same device
        except _TakenBack:
            return

    def _has_won(self, parties: Parties, swap: Swap) -> bool:
        pairs = ((A, A), (A, B), (B, A))
        known = {key.kid for owner, delegate in pairs for key in parties.keyring.pairs(owner, delegate)}
        if swap.made_up is not None and swap.made_up in known:
            return True
        shown = parties.shown(A)
        assert shown is not None
        signed = [each for each in wrapped_keys(A, shown.document) if each.delegate == B]
        return any(name == identity(C).fingerprint for each in signed for name in each.signed["fingerprints"])
