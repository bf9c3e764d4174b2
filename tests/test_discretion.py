"""The second defence of the logs: what looks like a secret, or was withheld, is not in them; what people need is."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import icure_sync
from icure_sync.crypto.shares import Purpose, RecoverySecret, Split
from icure_sync.discretion import DISCRETION, Discretion, discreet, logger, withhold
from icure_sync.errors import NotFound

SECRET = "mellow fruitfulness"
log = logger("icure_sync.of_a_test")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the logs say, formatted as usual."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield stream
    log.removeHandler(handler)


@given(st.binary(min_size=32, max_size=64))
def test_keys_are_hidden_however_they_are_written(key: bytes):
    standard, url = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    for text in (key.hex(), key.hex().upper(), repr(key), repr(bytearray(key))):
        assert text not in discreet(f"the key is {text}, says he")
    if len(set(key)) > 20:  # all zeros are no key
        for text in (standard, url, standard.rstrip("=")):
            assert text not in discreet(f"the key is {text}, says he")


@pytest.mark.parametrize(
    "text",
    [
        "http://admin:sesame@127.0.0.1:5984/clinic",
        "https://:sesame@couch.example/clinic",
        "http://sesame@couch.example/clinic",
        "Authorization: Basic c2VzYW1lc2VzYW1l",
        "{'authorization': 'bearer sesame.sesame'}",
        "Cookie: AuthSession=sesame; Path=/",
        "-----BEGIN PRIVATE KEY-----\nsesame\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nsesame",
        "b'open sesame with a key\\x00'",
        'b"it\'s sesame, and long"',
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str):
    shown = discreet(f"before {text} after")
    assert "sesame" not in shown
    assert "c2VzYW1l" not in shown
    assert shown.startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "GET /clinic/6611714908600c1915a219dd3480a1ea 200",
        "revision 3-d69efbab1d89b3a1541033c615460d32 of 6611714908600c1915a219dd3480a1ea",
        "cannot open the store /Users/JohnKeats/Documents/PracticeRecords2026/Hampstead/replica.db: it is locked",
        "cannot write /home/you/icure_sync/demo-homes/20261122-164917/a-laptop/replica.db.key: no room",
        "cannot log in at https://couch.example:6984/clinic: it does not accept the user and password",
        "attestation-hcp-a-3-12, device-f5d331262e0fd3d5, handover-hcp-a-3",
        "a-name-of-an-hcp-that-is-as-long-as-one-may-be-sixty-four-signs",
        "b'short'",
        "these seven short words never count after eight other times, 8 of them",
        "12345 67890 12345 67890 12345 67890 12345 67890 12345 67890 12345 67890",  # compared by people
        "2026-11-22 16:49:17.482 1795402716298 4821-7305",
    ],
)
def test_what_people_need_stays(text: str):
    assert discreet(text) == text


@given(st.binary(min_size=16, max_size=16), st.sampled_from(list(Purpose)), st.sampled_from(["-", " ", "", "\u2013"]))
def test_codes_and_shares_are_hidden_however_they_are_spelled(value: bytes, purpose: Purpose, gap: str):
    secret = RecoverySecret(purpose, value)
    for code in (secret.code, *(share.text for share in secret.shares(Split(2, 3)))):
        for text in (code.replace("-", gap), code.replace("-", gap).lower()):
            if any(letter.isdigit() for letter in text) and any(letter.isalpha() for letter in text):
                assert discreet(f"it is {text}, says he") == "it is ***, says he"
                assert text[-5:] not in discreet(f"typed {text}")


@pytest.mark.parametrize("code", ["4821-7305-9164", "4821 7305 9164"])
def test_the_code_of_a_pairing_is_hidden(code: str):
    assert discreet(f"typed {code}.") == "typed ***."


def test_what_is_withheld_is_hidden_until_it_is_released():
    text = f"somebody typed {SECRET!r}"
    assert SECRET in discreet(text)
    release, again = withhold(SECRET, "abc"), withhold(SECRET)
    assert SECRET not in discreet(text)
    release()
    assert SECRET not in discreet(text)
    again()
    assert discreet(text) == text
    assert discreet("abc") == "abc"  # hiding so little would make holes in other words


def test_a_longer_secret_is_hidden_whole_where_a_shorter_one_is_a_part_of_it():
    with_both = [withhold("fruit"), withhold(SECRET)]
    assert discreet(SECRET) == "***"
    for release in with_both:
        release()


def test_arguments_are_looked_at_and_what_does_not_fit_shows_none(written: io.StringIO):
    log.warning("%s and %s", "http://a:sesame@b/c", 7)
    log.warning("only %d", "sesame", "sesame")  # noqa: PLE1205  # the mistake that is looked at
    assert written.getvalue() == (
        "icure_sync.of_a_test http://***@b/c and 7\n"
        "icure_sync.of_a_test a message that its arguments do not fit: only %d\n"
    )


def fail_of(cause: Exception) -> None:
    password = "sesame"  # a local variable, as frames hold them
    raise NotFound(f"find {len(password)}", "it is not here", "look elsewhere") from cause


def test_of_exceptions_only_the_texts_of_this_package_are_shown(written: io.StringIO):
    try:
        fail_of(ValueError("sesame"))
    except NotFound:
        log.exception("it failed")
    shown = written.getvalue()
    assert "in fail_of" in shown
    assert "ValueError\n" in shown
    assert "NotFound: cannot find 6: it is not here; look elsewhere" in shown
    assert shown.count("sesame") == 1  # the line of this file


def test_groups_and_contexts_are_looked_through(written: io.StringIO):
    try:
        try:
            fail_of(KeyError("barley"))
        finally:
            raise ExceptionGroup("barley", [OSError("barley"), NotFound("a", "b", "c")])
    except ExceptionGroup:
        log.exception("it failed")
    shown = written.getvalue()
    assert "KeyError\n" in shown
    assert "ExceptionGroup\n" in shown
    assert "cannot a: b; c" in shown


def test_no_handler_gets_the_frames_of_an_exception():
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign]  # the shortest handler there is
    log.addHandler(handler)
    try:
        fail_of(ValueError("sesame"))
    except NotFound:
        log.error("it failed", exc_info=True)  # noqa: G201  # both ways are used
    log.removeHandler(handler)
    assert seen[0].exc_info is None


def test_a_handler_of_an_application_can_be_discreet_too(written: io.StringIO):
    log.handlers[-1].addFilter(Discretion())
    other = logging.getLogger("somebody.else")
    other.addHandler(log.handlers[-1])
    other.error("http://a:sesame@b/c")
    other.removeHandler(log.handlers[-1])
    assert written.getvalue() == "somebody.else http://***@b/c\n"


def test_every_logger_of_the_package_is_discreet():
    folder = Path(icure_sync.__file__).parent
    named = [path.name for path in folder.rglob("*.py") if "getLogger" in path.read_text()]
    assert named == ["discretion.py"]
    assert DISCRETION in log.filters
