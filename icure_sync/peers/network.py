"""Noticing that this device's network changed: an interface came up, an address was given. Decides nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

from icure_sync.peers.limits import NETWORK_SETTLES

# The groups of rtnetlink(7) that tell of links, addresses and routes.
_GROUPS = 0x001 | 0x010 | 0x040 | 0x100 | 0x400
_MESSAGE = 64 * 1024  # bytes: as much as the kernel sends at once; what it says is not read


async def network_change() -> None:
    """Wait for the next change, and until it has settled. Where the system does not tell, or not us, for ever."""
    if sys.platform != "linux" or not await _linux_change():
        await asyncio.Event().wait()
    await asyncio.sleep(NETWORK_SETTLES)


async def _linux_change() -> bool:
    """Wait for the kernel's word; False where it gives none: sandboxes and services often may not ask."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as news:
            news.bind((0, _GROUPS))
            await asyncio.get_running_loop().sock_recv(news, _MESSAGE)
    except OSError as error:
        return error.errno == errno.ENOBUFS  # more happened at once than it keeps
    return True
