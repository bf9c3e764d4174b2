"""`server provision`: makes a CouchDB or a hub ready for devices. Owns the order of the steps, and what is shown of
them; how a server is asked is in server_link.py, what is asked in server_steps.py.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from icure_sync import parse_address, proxy_for
from icure_sync.app import server_steps
from icure_sync.app.output import Answer, show
from icure_sync.app.server_link import Link, connected
from icure_sync.app.server_login import administrator, generated_password, passwords_from_input
from icure_sync.app.server_steps import State, settled
from icure_sync.errors import ConflictError, Forbidden, InvalidEntity, Throttled, Unauthorized

_DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z", re.ASCII)  # needs no quoting in an address


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be there besides the database. `passwords`: one for each of `devices`, used for new ones; None: make
    some."""

    devices: tuple[str, ...] = ()
    passwords: tuple[str, ...] | None = field(default=None, repr=False)
    reset_passwords: bool = False
    validate: bool = False
    require_valid_user: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """`password`: the new one, None if it was left as it is."""

    name: str
    state: State
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What became of each part. `settings`: the server's own, if they were to be changed."""

    database: State
    security: State
    index: State
    devices: tuple[Device, ...]
    settings: State
    warnings: tuple[str, ...]


def provision(args: argparse.Namespace) -> Answer:
    """Make everything ready that lacks at `args.url`; what is there already stays as it is."""
    devices = _device_names(args)
    wish = Wish(
        devices,
        tuple(passwords_from_input(devices)) if args.password_stdin else None,
        args.reset_passwords,
        args.validate,
        args.require_valid_user,
    )
    address = parse_address(args.url)
    told: list[Device] = []
    done: Provisioned | None = None
    try:
        done = provision_database(args.url, wish, ca=args.ca, told=told.append)
    finally:
        if done is None and told:  # these passwords are known nowhere else
            show(_half_done(str(address), address.server, told), as_json=getattr(args, "json", False))
    return _answer(str(address), address.server, done)


def provision_database(
    url: str, wish: Wish, *, ca: str | None = None, told: Callable[[Device], None] | None = None
) -> Provisioned:
    """Make the database of `url` ready. Blocks.

    `told` hears of each device that gets a new password, at once: whatever fails after that, the password is set.
    A proxy is used where the environment names one. Raises the kinds of PeerError, ConflictError, InvalidEntity for
    names that the server does not allow, and for a proxy that cannot be used.
    """
    address = parse_address(url)
    shown, name = str(address), address.database
    if name.startswith("_"):
        raise InvalidEntity(f"provision {shown}", "it is one of the server's own", "name a database for records")
    with connected(address.server, proxy_for(address, os.environ), f"provision {shown}", ca) as link:
        answers_strangers = server_steps.first_look(link, address.server)
        login = administrator(address.server, address.credentials)
        if login.user in wish.devices:
            raise InvalidEntity(
                f"make {login.user} a device", "it is the administrator", "give each device an account of its own"
            )
        is_hub = server_steps.enter(link, address.server, login)
        made = settled(lambda: server_steps.database(link, name))
        secured = settled(lambda: server_steps.security(link, name))
        indexed = settled(lambda: server_steps.index(link, name, validate=wish.validate))
        if indexed is not State.UNCHANGED and not is_hub:
            server_steps.begin_index(link, name)
        settings = State.UNCHANGED
        if wish.require_valid_user and not is_hub:
            settings = server_steps.close(link)
        devices = tuple(_devices(link, name, wish, told))
        too_strong = server_steps.administrators(link, name, wish.devices)
    warnings = _warnings(address.server, wish, is_hub=is_hub, is_open=answers_strangers)
    warnings += (
        f"{one} may write design documents there: take it out of the admins of _security" for one in too_strong
    )
    return Provisioned(made, secured, indexed, devices, settings, tuple(warnings))


def _device_names(args: argparse.Namespace) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(args.device))
    for name in names:
        if not _DEVICE_NAME.match(name):
            args.usage_error(f"--device {name}: use letters, digits, '.', '_' and '-', at most 64, the first no sign")
    if not names and (args.password_stdin or args.reset_passwords):
        args.usage_error("--password-stdin and --reset-passwords need --device: whose passwords?")
    return names


def _devices(link: Link, name: str, wish: Wish, told: Callable[[Device], None] | None) -> Iterator[Device]:
    for number, device in enumerate(wish.devices):
        given = None if wish.passwords is None else wish.passwords[number]
        yield settled(partial(_device, link, device, name, given, reset=wish.reset_passwords, told=told))


def _device(
    link: Link, device: str, name: str, given: str | None, *, reset: bool, told: Callable[[Device], None] | None
) -> Device:
    role = server_steps.device_role(name)
    is_there = server_steps.user_is_there(link, device)
    password = None if is_there and not reset else given or generated_password()
    state = State.UNCERTAIN
    try:
        if is_there or password is None:
            state = server_steps.user(link, device, role, password)
        else:
            state = server_steps.new_user(link, device, role, password)
    except (Unauthorized, Forbidden, Throttled, InvalidEntity, ConflictError):
        password = None  # refused: it is not set
        raise
    finally:
        if told is not None and password is not None:
            told(Device(device, state, password))
    return Device(device, state, password)


def _warnings(address: str, wish: Wish, *, is_hub: bool, is_open: bool) -> list[str]:
    found = []
    if is_open and not (is_hub or wish.require_valid_user):
        found.append(
            "this server answers strangers, who can read every database without members: close it with "
            "--require-valid-user, or set require_valid_user in [chttpd]"
        )
    if is_hub and wish.validate:
        found.append("a hub runs no JavaScript: the validation function is kept there, and does nothing")
    if urlsplit(address).scheme == "http" and not _is_loopback(urlsplit(address).hostname or ""):
        found.append("the address is http: passwords travel in clear; use https between machines")
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answer(database: str, server: str, done: Provisioned) -> Answer:
    value = {
        "database": database,
        "created": done.database is State.CREATED,
        "security": done.security,
        "index": done.index,
        "devices": _listed(done.devices),
        "settings": done.settings,
        "warnings": list(done.warnings),
    }
    lines = [_headline(database, done), *_lines(database, server, done.devices)]
    return Answer(value, "\n".join([*lines, *(f"Warning: {warning}." for warning in done.warnings)]))


def _half_done(database: str, server: str, devices: Sequence[Device]) -> Answer:
    """What is known of a run that failed, the passwords above all."""
    value = {"database": database, "devices": _listed(devices)}
    return Answer(value, "\n".join(["Not everything was done; this was:", *_lines(database, server, devices)]))


def _listed(devices: Sequence[Device]) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "state": one.state, **({} if one.password is None else {"password": one.password})}
        for one in devices
    ]


def _headline(database: str, done: Provisioned) -> str:
    if done.database is State.CREATED:
        return f"{database} is created."
    parts = (
        (done.security, "its members"),
        (done.index, "its index"),
        (done.settings, "the server's settings"),
        *((one.state, "its devices") for one in done.devices),
    )
    changed = dict.fromkeys(text for state, text in parts if state is not State.UNCHANGED)
    what = f"brought up to date: {', '.join(changed)}" if changed else "nothing had to be changed"
    return f"{database} was there already; {what}."


def _lines(database: str, server: str, devices: Sequence[Device]) -> list[str]:
    lines = []
    for device in devices:
        if device.password is None:
            gained = "may use it now, too, and " if device.state is State.UPDATED else ""
            lines.append(f"Device {device.name} {gained}keeps its password (a new one: --reset-passwords).")
        else:
            scheme, _, host = server.partition("://")
            login = f"{device.name}:{quote(device.password, safe='')}"
            path = database.removeprefix(server)
            doubt = " (if that was done: the server did not say)" if device.state is State.UNCERTAIN else ""
            lines.append(f"Device {device.name} syncs with {scheme}://{login}@{host}{path}{doubt}")
    if any(device.password for device in devices):
        lines.append("The passwords in these addresses are shown this once.")
    return lines
