"""The address of a peer."""

from __future__ import annotations

import pytest

from icure_sync.errors import InvalidEntity
from icure_sync.peers.couch_address import Credentials, parse_address


@pytest.mark.parametrize(
    ("url", "server", "database", "credentials"),
    [
        ("http://host:5984/clinic", "http://host:5984", "clinic", None),
        ("https://host/clinic/", "https://host", "clinic", None),
        ("http://u:p%40%3A@h/a%2Fb", "http://h", "a/b", Credentials("u", "p@:")),
        ("http://u@h/db", "http://h", "db", Credentials("u", "")),
        ("http://[::1]:5984/db", "http://[::1]:5984", "db", None),
        ("https://h/couch/db", "https://h/couch", "db", None),
    ],
)
def test_an_address_is_taken_apart(url, server, database, credentials):
    address = parse_address(url)
    assert (address.server, address.database, address.credentials) == (server, database, credentials)


def test_an_address_shows_without_its_credentials():
    address = parse_address("http://nurse:hunter2@h:1/a%2Fb")
    assert str(address) == "http://h:1/a%2Fb"
    assert "hunter2" not in repr(address) + repr(address.credentials)
    assert "nurse" not in repr(address) + repr(address.credentials)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clinic",
        "ftp://h/db",
        "http:///db",
        "http://a..b/db",
        "http://h",
        "http://h/",
        "http://h/db?x=1",
        "http://h:x/db",
        "http://h/db#x",
    ],
)
def test_what_is_no_address_of_a_database_is_refused(url: str):
    with pytest.raises(InvalidEntity):
        parse_address(url)


def test_an_address_with_a_folder_gets_the_advice_to_encode_a_slash():
    assert "%2F" in parse_address("http://h/a/b").advice
    assert "%2F" not in parse_address("http://h/a%2Fb").advice
