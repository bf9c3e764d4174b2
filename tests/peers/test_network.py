"""Noticing that the network changed, on a real one: loopback gets another address."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import sys

import pytest

from icure_sync.peers import network
from icure_sync.peers.network import network_change

SIOCSIFADDR = 0x8916
ALIAS = b"lo:77"


def set_address(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sHH4s8x", ALIAS, socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(any_socket, SIOCSIFADDR, request)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may give loopback an address")
async def test_a_new_address_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "NETWORK_SETTLES", 0.0)
    noticed = asyncio.create_task(network_change())
    await asyncio.sleep(0.05)
    assert not noticed.done()
    set_address("127.77.0.1")
    try:
        await asyncio.wait_for(noticed, 10)
    finally:
        set_address("0.0.0.0")  # which takes the alias away


async def test_waiting_for_it_can_be_cancelled():
    noticed = asyncio.create_task(network_change())
    await asyncio.sleep(0.05)
    noticed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await noticed


class Unable:
    """A kernel that gives no netlink socket, or one that fails."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, *_: object) -> socket.socket:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is asked")
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EACCES])
async def test_a_system_that_may_not_be_asked_tells_nothing_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr(network.socket, "socket", Unable(number))
    noticed = asyncio.create_task(network_change())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not noticed.done()
    noticed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await noticed


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is asked")
async def test_more_changes_than_the_kernel_keeps_are_a_change(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "NETWORK_SETTLES", 0.0)
    monkeypatch.setattr(network.socket, "socket", Unable(errno.ENOBUFS))
    await asyncio.wait_for(network_change(), 10)
