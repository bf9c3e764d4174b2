"""Faults 18, 19, 20: redirects, cookies that expire, wrong passwords and locked accounts.

18 bad TLS (its certificates: tests/peers/test_couch_route.py), https→http redirect: refused, credentials not sent; 19 a
cookie that expires in the middle: one new login; 20 a wrong password stops, is not tried again, a lock is waited out.
The rows of the error policy: 401 for the request; 403, "temporarily locked" and else.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest

from icure_sync.errors import BadAnswer, Forbidden, Throttled, Unauthorized
from icure_sync.peers.couch import CouchPeer
from icure_sync.replication.limits import LOCKED_SECONDS
from icure_sync.testing import Fault, FaultProxy, ScriptedServer, redirect, refusal, to, within
from tests.faults.lines import Line, documents, give, leaves

LOGIN = to("POST", "/_session")
EXPIRED = refusal(401, "unauthorized", "You are not authorized to access this db.")
LOCKED = refusal(403, "forbidden", "Account is temporarily locked due to multiple authentication failures")


async def furnish(line: Line) -> set[tuple[str, str]]:
    await give(line.device, documents("ours", 4))
    await give(line.direct, documents("theirs", 4))
    return await leaves(line.device) | await leaves(line.direct)


def logins(proxy: FaultProxy) -> int:
    return sum(LOGIN(exchange.method, exchange.path) for exchange in proxy.exchanges)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_carries_no_credentials_away(line: Line, status: int):
    held = await furnish(line)
    async with ScriptedServer() as elsewhere:
        for picks in (LOGIN, to("GET", "/_changes"), to("POST", "/_bulk_get")):
            line.proxy.inject(Fault(answer=redirect(elsewhere.url + "/clinic", status)), picks)
            error = await line.failed(line.pull())
            assert type(error) is BadAnswer
            assert "redirect" in str(error)
            line.proxy.heal()
        assert not elsewhere.seen
    await line.agree(held)


@pytest.mark.parametrize("picks", [to("GET", "/_changes"), to("POST", "/_bulk_get"), within("PUT", "/_local/")])
async def test_a_cookie_that_expires_in_the_middle_costs_one_new_login(line: Line, picks):
    held = await furnish(line)
    line.proxy.inject(Fault(answer=EXPIRED), picks, times=1)
    outcome = await line.pull()
    assert (outcome.documents, outcome.refused) == (4, ())
    assert logins(line.proxy) == 2
    await line.agree(held)


async def test_who_is_shut_out_after_a_new_login_is_told_so_at_once(line: Line):
    held = await furnish(line)
    line.proxy.inject(Fault(answer=EXPIRED), to("POST", "/_bulk_docs"))
    assert isinstance(await line.failed(line.push()), Unauthorized)
    assert logins(line.proxy) == 2
    await line.agree(held)


async def test_a_wrong_password_is_sent_once_however_often_one_syncs(line: Line):
    held = await furnish(line)
    parts = urlsplit(line.proxy.url)
    stranger = f"nobody-{os.urandom(4).hex()}:wrong"  # never a real name: five wrong passwords lock it
    url = parts._replace(netloc=f"{stranger}@{parts.hostname}:{parts.port}").geturl()
    async with CouchPeer(url) as peer:
        for _ in range(6):
            error = await line.failed(line.pull(peer))
            assert isinstance(error, Unauthorized)
            assert "password" in error.next_step
    assert logins(line.proxy) == 1
    await line.agree(held)


async def test_a_locked_account_is_left_alone_until_the_lock_ends(line: Line):
    held = await furnish(line)
    line.proxy.inject(Fault(answer=LOCKED), LOGIN)
    error = await line.failed(line.pull())
    assert isinstance(error, Throttled)
    assert error.retry_after == LOCKED_SECONDS
    assert logins(line.proxy) == 1
    await line.agree(held)


@pytest.mark.parametrize("server", ["hub"], indirect=True)  # a CouchDB shared by others is not to be locked
async def test_an_account_that_others_have_locked_is_recognised_with_the_right_password(line: Line):
    await furnish(line)
    parts = urlsplit(line.url)
    for _ in range(5):
        async with CouchPeer(parts._replace(netloc=f"admin:wrong@{parts.hostname}:{parts.port}").geturl()) as guesser:
            await line.tried(guesser.info())
    error = await line.failed(line.pull())
    assert isinstance(error, Throttled)
    assert error.retry_after == LOCKED_SECONDS
    assert logins(line.proxy) == 1


@pytest.mark.parametrize("picks", [to("GET", "/_changes"), to("POST", "/_bulk_get"), within("GET", "/_local/")])
async def test_what_an_account_may_not_do_ends_the_attempt(line: Line, picks):
    held = await furnish(line)
    rule = line.proxy.inject(Fault(answer=refusal(403, "forbidden", "You are not allowed to access this db.")), picks)
    error = await line.failed(line.pull())
    assert type(error) is Forbidden
    assert rule.applied == 1
    await line.agree(held)
