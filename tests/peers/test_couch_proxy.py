"""Which proxy the environment names for a server, as curl reads it."""

from __future__ import annotations

import pytest

from icure_sync.errors import InvalidEntity
from icure_sync.peers.couch_address import parse_address
from icure_sync.peers.couch_proxy import Proxy, proxy_for

HTTP, HTTPS = "http://hub.example:5984/clinic", "https://hub.example/clinic"


def found(url: str, **environment: str) -> str | None:
    proxy = proxy_for(parse_address(url), environment)
    return None if proxy is None else proxy.server


def test_without_a_variable_there_is_none():
    assert found(HTTP) is None
    assert found(HTTPS, http_proxy="p:1") is None
    assert found(HTTP, https_proxy="p:1") is None


def test_each_scheme_has_its_variable_in_lower_case_before_upper_case_before_all():
    assert found(HTTPS, https_proxy="a:1", HTTPS_PROXY="b:1", all_proxy="c:1", ALL_PROXY="d:1") == "http://a:1"
    assert found(HTTPS, HTTPS_PROXY="b:1", all_proxy="c:1", ALL_PROXY="d:1") == "http://b:1"
    assert found(HTTPS, all_proxy="c:1", ALL_PROXY="d:1") == "http://c:1"
    assert found(HTTPS, ALL_PROXY="d:1") == "http://d:1"
    assert found(HTTP, http_proxy="a:1", all_proxy="c:1") == "http://a:1"


def test_what_a_request_can_set_in_a_cgi_program_is_not_listened_to():
    assert found(HTTP, HTTP_PROXY="evil:1") is None


def test_an_empty_variable_is_none():
    assert found(HTTPS, https_proxy="", HTTPS_PROXY=" ", all_proxy="c:1") == "http://c:1"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/db", "http://127.9.9.9/db", "http://[::1]/db", "http://localhost/db", "http://a.localhost/db"],
)
def test_a_server_on_this_machine_has_none(url: str):
    assert found(url, http_proxy="p:1") is None


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("*", "hub.example"),
        ("hub.example", "hub.example"),
        ("hub.example", "a.hub.example"),
        (".hub.example", "a.hub.example"),
        (".hub.example", "hub.example"),
        ("HUB.Example.", "hub.example"),
        ("other, hub.example", "hub.example"),
        ("other hub.example", "hub.example"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("fd00::/8", "[fd00::1]"),
        ("[fd00::1]", "[fd00::1]"),
    ],
)
def test_what_no_proxy_lists_is_reached_directly(listed: str, host: str):
    assert found(f"http://{host}/db", http_proxy="p:1", no_proxy=listed) is None
    assert found(f"http://{host}/db", http_proxy="p:1", NO_PROXY=listed) is None


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("example", "hub.example.org"),
        ("ub.example", "hub.example"),
        ("hub.example", "example"),
        (".", "hub.example"),
        ("10.0.0.0/8", "11.1.2.3"),
        ("10.0.0.0/8", "10.example"),
        ("fd00::/8", "10.0.0.1"),
    ],
)
def test_what_no_proxy_does_not_list_goes_through(listed: str, host: str):
    assert found(f"http://{host}/db", http_proxy="p:1", no_proxy=listed) == "http://p:1"


@pytest.mark.parametrize(
    ("value", "server"),
    [
        ("proxy", "http://proxy:1080"),
        ("proxy:3128", "http://proxy:3128"),
        ("http://proxy:3128/", "http://proxy:3128"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("user:p%40ss@proxy:3128", "http://proxy:3128"),
    ],
)
def test_an_address_is_written_with_or_without_its_scheme(value: str, server: str):
    assert found(HTTP, http_proxy=value) == server


def test_credentials_are_sent_and_not_shown():
    proxy = proxy_for(parse_address(HTTP), {"http_proxy": "http://user:p%40ss@proxy:3128"})
    assert proxy == Proxy("http://proxy:3128", "Basic dXNlcjpwQHNz")
    assert "dXNlcjpwQHNz" not in repr(proxy) + str(proxy)


@pytest.mark.parametrize(
    "value", ["socks5://u:secret@proxy:1", "https://u:secret@proxy:1", "http://u:secret@:1", "http://u:secret@h:x"]
)
def test_a_proxy_of_another_kind_is_refused_and_not_gone_around(value: str):
    with pytest.raises(InvalidEntity, match="cannot use the proxy that all_proxy names") as raised:
        found(HTTP, all_proxy=value)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
