"""Recovery secrets: printed as a code, or split among people, of whom k are enough and fewer are nothing."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.crypto.shares import (
    _MARKS,
    SECRET_BYTES,
    SHARES_MOST,
    Purpose,
    RecoverySecret,
    Share,
    Split,
    is_share,
)
from icure_sync.errors import InvalidEntity, Tampered
from tests.keys import seeded

SECRETS = st.builds(RecoverySecret, st.sampled_from(Purpose), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
SPLITS = st.integers(2, 6).flatmap(lambda count: st.builds(Split, st.integers(2, count), st.just(count)))
SECRET = RecoverySecret.draw(Purpose.RECOVERY, seeded("secret"))
SHARES = SECRET.shares(Split(3, 5))


def wrong(*shares: Share) -> str:
    with pytest.raises(InvalidEntity) as caught:
        RecoverySecret.combined(shares)
    return caught.value.wrong


@given(SECRETS)
def test_a_code_says_its_secret(secret: RecoverySecret):
    again = RecoverySecret.of_code(secret.code.lower())
    assert again.value == secret.value
    assert again.purpose is Purpose.RECOVERY


@settings(max_examples=30)
@given(SECRETS, SPLITS, st.data())
def test_any_threshold_of_the_shares_give_the_secret(secret: RecoverySecret, split: Split, data: st.DataObject):
    shares = [Share.of_text(share.text) for share in secret.shares(split)]
    some = data.draw(st.permutations(shares))[: data.draw(st.integers(split.threshold, split.count))]
    assert RecoverySecret.combined(some) == secret


@settings(max_examples=30)
@given(SECRETS, SPLITS)
def test_fewer_shares_are_refused(secret: RecoverySecret, split: Split):
    shares = secret.shares(split)[: split.threshold - 1]
    assert wrong(*shares) == f"{len(shares)} of the {split.threshold} that it takes are here"


def test_the_secret_does_not_come_out_of_fewer_shares():
    """Not even if somebody lowers the threshold that they state."""
    for pair in combinations(SHARES, 2):
        lowered = [Share(one.purpose, one.set_id, Split(2, 5), one.index, one.value) for one in pair]
        with pytest.raises(Tampered, match="one of them is not genuine"):
            RecoverySecret.combined(lowered)


def test_a_share_that_was_made_up_is_noticed():
    forged = Share(SHARES[2].purpose, SHARES[2].set_id, SHARES[2].split, 3, bytes(SECRET_BYTES))
    with pytest.raises(Tampered):
        RecoverySecret.combined([*SHARES[:2], forged])


def test_shares_of_different_sets_are_told_apart():
    other = RecoverySecret.draw(Purpose.RECOVERY, seeded("other")).shares(Split(3, 5))
    assert wrong(SHARES[0], SHARES[1], other[2]) == (
        f"they are of different sets: {', '.join(sorted([SECRET.set_id, other[0].set_id]))}"
    )
    glass = RecoverySecret(Purpose.GLASS, SECRET.value).shares(Split(3, 5))
    assert "different sets" in wrong(*SHARES[:2], glass[2])
    assert "different sets" in wrong(*SHARES[:2], SECRET.shares(Split(2, 5))[2])


def test_a_share_that_is_given_twice_counts_as_a_mistake():
    assert wrong(SHARES[0], SHARES[1], SHARES[1]) == "share 2 is given more than once"
    assert wrong() == "there is none"


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (4, 3), (2, SHARES_MOST + 1), (0, 0), (-1, 2)])
def test_a_secret_is_split_in_sensible_ways_only(threshold: int, count: int):
    with pytest.raises(InvalidEntity, match="choose other numbers"):
        Split(threshold, count)


def test_the_most_shares_have_texts_of_their_own():
    shares = SECRET.shares(Split(SHARES_MOST, SHARES_MOST))
    assert [Share.of_text(share.text) for share in shares] == list(shares)
    assert len({share.text for share in shares}) == SHARES_MOST


def test_a_share_is_no_code_and_a_code_no_share():
    assert is_share(SHARES[0].text)
    assert not is_share(SECRET.code)
    with pytest.raises(InvalidEntity, match="it is a share of a secret"):
        RecoverySecret.of_code(SHARES[0].text)
    with pytest.raises(InvalidEntity, match="it is a whole recovery code"):
        Share.of_text(SECRET.code)


@given(st.integers(0, len(SHARES[0].text) - 1), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_a_typing_error_in_a_share_is_named_by_its_group(place: int, letter: str):
    text = SHARES[0].text
    if text[place] not in ("-", letter):
        with pytest.raises(InvalidEntity, match=f"group {place // 6 + 1} is mistyped"):
            Share.of_text(text[:place] + letter + text[place + 1 :])


def test_a_share_of_a_kind_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(_MARKS, Purpose.RECOVERY, 5)
    unknown = SHARES[0].text
    monkeypatch.undo()
    with pytest.raises(InvalidEntity, match="use a newer version"):
        Share.of_text(unknown)
    beyond = Share(Purpose.RECOVERY, SECRET.set_id, Split(3, 5), 6, bytes(SECRET_BYTES))
    with pytest.raises(InvalidEntity, match="use a newer version"):
        Share.of_text(beyond.text)


def test_keys_names_and_purposes_have_labels_of_their_own():
    glass = RecoverySecret(Purpose.GLASS, SECRET.value)
    derived = [SECRET.key("key"), SECRET.key("evidence"), glass.key("key"), glass.key("evidence")]
    assert len(set(derived)) == len(derived)
    assert SECRET.name != glass.name
    assert SECRET.name.startswith(SECRET.set_id)


def test_nothing_shows_a_secret_by_accident():
    assert repr(SECRET) == "RecoverySecret(purpose='recovery')"
    assert repr(SHARES[0]) == f"Share(set_id={SECRET.set_id!r}, split=Split(threshold=3, count=5), index=1)"
