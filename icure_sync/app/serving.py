"""`hub`: runs the embedded server, and what keeps it in sync with servers behind it, until it is told to stop.

Knows no databases and no protocol.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import Sequence
from pathlib import Path

from icure_sync import Hub, Relay, Upstream
from icure_sync.app.output import Answer, show
from icure_sync.app.passphrases import given_passphrase
from icure_sync.app.upstreams import Given, given_upstreams, told
from icure_sync.errors import InvalidEntity

ADMIN_VARIABLE = "ICURE_SYNC_HUB_ADMIN"


def hub(args: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished."""
    host, port = args.listen
    server = Hub(
        Path(args.data),
        host=host,
        port=port,
        admin=_admin(os.environ.get(ADMIN_VARIABLE)),
        passphrase=given_passphrase(args),
        tls=_tls(args),
        expose=args.expose,
    )
    asyncio.run(_serve(server, given_upstreams(args), as_json=getattr(args, "json", False)))


async def _serve(server: Hub, upstreams: Sequence[Given], *, as_json: bool) -> None:
    def tell(upstream: Upstream) -> None:
        show(told(upstream), as_json=as_json)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, stop.set)
    async with server, contextlib.AsyncExitStack() as relays:
        show(_started(server), as_json=as_json)
        for each in upstreams:
            relay = Relay(server, each.name, each.url, ca=each.ca, report=tell)
            await relays.enter_async_context(relay)
        await stop.wait()


def _started(server: Hub) -> Answer:
    """Where it listens, and the administrator that was made up, if one was: it is shown this once."""
    if server.new_admin is None:
        return Answer({"url": server.url}, f"The hub listens on {server.url}. Ctrl-C stops it.")
    user, password = server.new_admin
    return Answer(
        {"url": server.url, "admin": {"user": user, "password": password}},
        f"The hub listens on {server.url}. Ctrl-C stops it.\n"
        f"Its administrator is {user}, with the password {password} (shown this once).",
    )


def _admin(login: str | None) -> tuple[str, str] | None:
    if not login:
        return None
    user, separator, password = login.partition(":")
    if not (user and separator and password):
        raise InvalidEntity(f"read {ADMIN_VARIABLE}", "it is not user:password", "write it so, or leave it unset")
    return user, password


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.tls_certificate is None:
        if args.tls_key is not None:
            args.usage_error("--tls-key needs --tls-certificate: without it nothing would be encrypted")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(args.tls_certificate, args.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidEntity(
            f"read the certificate {args.tls_certificate}", "it cannot be used", "give PEM files: certificate and key"
        ) from error
    return context
