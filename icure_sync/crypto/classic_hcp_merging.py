"""The merge of concurrent revisions of an Hcp document in `icure-classic`: no Hcp key of any of them is lost.

Released SDKs read one key of a pair in `hcPartyKeys`, and one under each owner's key in `aesExchangeKeys`. Where two
revisions hold different ones, the one with the lowest ciphertext for the owner stays in both places, and the other goes
under a fake owner's key that begins with `x`. The ciphertexts are carried as they are: nothing is drawn and nothing is
decrypted, so everybody who merges the same revisions comes to the same. Knows no stores. FORMAT.md says it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from icure_sync.canonical import pack
from icure_sync.crypto.classic_keys import FAKE_OWNER, FINGERPRINT_DIGITS, ClassicParty, key_map
from icure_sync.crypto.primitives import sha256
from icure_sync.errors import InvalidEntity

LEGACY, EXCHANGE = "hcPartyKeys", "aesExchangeKeys"
TRANSFER, OAEP_SHA256 = "transferKeys", "publicKeysForOaepWithSha256"

_PLACE = "icure-sync/classic-key-place/1"
_PLACE_DIGITS = 32  # of a fake owner's key, after the `x`
_DELETED = "deleted"  # when somebody hid the Hcp; nobody else's revision hides the winner

_Wrapped = Mapping[str, str]  # the ciphertexts of one key, by the fingerprint of the public key


def merge_hcp_documents(
    hcp_id: str, documents: Sequence[Mapping[str, Any]], fingerprint_of: Callable[[str], str]
) -> dict[str, Any]:
    """One document for several. `documents`: the winner first, then as CouchDB orders leaves.

    `fingerprint_of`: of the public key of another Hcp; asked only where older software named no public key beside the
    keys that must move. All keys are kept; of any other member, the winner's, or else the first one's that has it, for
    there are no stamps. Raises InvalidEntity if a map of keys is malformed, and what `fingerprint_of` raises.
    """
    merged: dict[str, Any] = {}
    for document in reversed(documents):
        merged |= document
    if _DELETED not in documents[0]:
        merged.pop(_DELETED, None)
    legacy, exchange = _merged_keys(hcp_id, documents, merged, fingerprint_of)
    if transfers := _merged_transfers(hcp_id, documents):
        merged[TRANSFER] = transfers
    if listed := _merged_list(hcp_id, documents):
        merged[OAEP_SHA256] = listed
    merged |= {name: each for name, each in ((LEGACY, legacy), (EXCHANGE, exchange)) if each or name in merged}
    return dict(sorted(merged.items()))


def _merged_keys(
    hcp_id: str,
    documents: Sequence[Mapping[str, Any]],
    merged: Mapping[str, Any],
    fingerprint_of: Callable[[str], str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    pairs = _pairs(hcp_id, documents)
    exchange: dict[str, dict[str, _Wrapped]] = {}
    displaced: list[tuple[str, _Wrapped]] = []
    for place, delegates in _exchanged(hcp_id, documents).items():
        for delegate, found in delegates.items():
            kept, others = _kept(place, found)
            exchange.setdefault(place, {})[delegate] = kept
            displaced += [(delegate, each) for each in others]
    for delegate, wrapped in displaced:
        _add(exchange, delegate, wrapped)
    for delegate, found_pairs in pairs.items():
        for pair in found_pairs[1:]:
            if pair and not _is_in(exchange, delegate, pair[:2]):
                owner = ClassicParty.of(hcp_id, merged).fingerprint
                named = owner if delegate == hcp_id else fingerprint_of(delegate)
                _add(exchange, delegate, dict(zip((owner, named), pair, strict=False)))
    legacy = {delegate: found_pairs[0] for delegate, found_pairs in pairs.items()}
    return legacy, {place: dict(sorted(exchange[place].items())) for place in sorted(exchange)}


def _pairs(hcp_id: str, documents: Iterable[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    """The different [for the owner, for the delegate] of each delegate: whole ones first, then the lowest."""
    found: dict[str, list[list[str]]] = {}
    for document in documents:
        for delegate, pair in key_map(hcp_id, document, LEGACY).items():
            if not isinstance(pair, list) or not all(isinstance(text, str) for text in pair):
                raise _invalid(hcp_id, f"its {LEGACY} are not laid out as they must be")
            if pair not in found.setdefault(delegate, []):
                found[delegate].append(pair)
    return {delegate: sorted(found[delegate], key=lambda pair: (len(pair) < 2, pair)) for delegate in sorted(found)}


def _exchanged(hcp_id: str, documents: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[_Wrapped]]]:
    """What the documents hold for each owner's key and delegate."""
    found: dict[str, dict[str, list[_Wrapped]]] = {}
    for document in documents:
        for place, delegates in key_map(hcp_id, document, EXCHANGE).items():
            for delegate, wrapped in key_map(hcp_id, {EXCHANGE: delegates}, EXCHANGE).items():
                if not isinstance(wrapped, dict) or not all(isinstance(text, str) for text in wrapped.values()):
                    raise _invalid(hcp_id, f"its {EXCHANGE} are not laid out as they must be")
                found.setdefault(place, {}).setdefault(delegate, []).append(wrapped)
    return {place: dict(sorted(found[place].items())) for place in sorted(found)}


def _kept(place: str, found: Iterable[_Wrapped]) -> tuple[_Wrapped, list[_Wrapped]]:
    """The key that stays in its place, with what others say of the same key; and the other keys."""
    kept: dict[str, str] = {}
    others: list[_Wrapped] = []
    for wrapped in sorted(found, key=lambda each: _rank(place, each)):
        if all(kept.get(name, text) == text for name, text in wrapped.items()):
            kept |= wrapped
        else:
            others.append(wrapped)
    return dict(sorted(kept.items())), others


def _rank(place: str, wrapped: _Wrapped) -> tuple[bool, str, list[tuple[str, str]]]:
    """By the ciphertext for the owner, as in `hcPartyKeys`, so that the same key stays in both."""
    owner = place[-FINGERPRINT_DIGITS:]
    own = min((text for name, text in wrapped.items() if name[-FINGERPRINT_DIGITS:] == owner), default="")
    return own == "", own, sorted(wrapped.items())


def _add(exchange: dict[str, dict[str, _Wrapped]], delegate: str, wrapped: _Wrapped) -> None:
    """Under a fake owner's key that follows from the key's ciphertexts, unless it is there already."""
    if not any(wrapped.items() <= held.items() for held in _held(exchange, delegate)):
        place = FAKE_OWNER + sha256(pack([_PLACE, *sorted(map(list, wrapped.items()))])).hex()[:_PLACE_DIGITS]
        exchange.setdefault(place, {})[delegate] = dict(sorted(wrapped.items()))


def _is_in(exchange: Mapping[str, Mapping[str, _Wrapped]], delegate: str, pair: Iterable[str]) -> bool:
    """Whether both ciphertexts stand together in some place."""
    return any(set(pair) <= set(held.values()) for held in _held(exchange, delegate))


def _held(exchange: Mapping[str, Mapping[str, _Wrapped]], delegate: str) -> list[_Wrapped]:
    return [pairs[delegate] for pairs in exchange.values() if delegate in pairs]


def _merged_transfers(hcp_id: str, documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Private keys wrapped for other keys of the same Hcp: {from: {to: hex}}, the winner's where they differ."""
    merged: dict[str, Any] = {}
    for document in documents:
        for source, targets in key_map(hcp_id, document, TRANSFER).items():
            merged[source] = {**key_map(hcp_id, {TRANSFER: targets}, TRANSFER), **merged.get(source, {})}
    return {source: dict(sorted(merged[source].items())) for source in sorted(merged)}


def _merged_list(hcp_id: str, documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """The public keys that want SHA-256, of all."""
    merged: dict[str, None] = {}
    for document in documents:
        listed = document.get(OAEP_SHA256) or []
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise _invalid(hcp_id, f"its {OAEP_SHA256} is not a list of keys")
        merged |= dict.fromkeys(listed)
    return list(merged)


def _invalid(hcp_id: str, wrong: str) -> InvalidEntity:
    return InvalidEntity(f"merge the keys of {hcp_id}", wrong, "have it written again by its own software")
