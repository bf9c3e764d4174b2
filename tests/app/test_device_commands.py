"""`device list` and `device name`, with two homes of one Hcp on a hub."""

from __future__ import annotations

import platform

from tests.app.conftest import CommandLine, RunningHub


def test_a_person_sees_which_devices_there_are_and_names_this_one(
    practice: CommandLine, phone: CommandLine, hub: RunningHub
) -> None:
    [alone] = practice.json("device", "list")["items"]
    assert (alone["this"], alone["name"], alone["hcpId"]) == (True, platform.node(), "hcp-a")
    assert alone["lastHeardOf"] is None
    practice.json("sync", "--server", hub.database)
    named = phone.json("device", "name", "the phone")
    phone.json("sync", "--server", hub.database)
    practice.json("sync")
    this, other = practice.json("device", "list")["items"]
    assert this["id"] == alone["id"] == practice.json("status")["device"]
    assert (other["id"], other["name"], other["this"], other["behindOn"]) == (named["id"], "the phone", False, [])
    assert other["since"] <= other["lastHeardOf"]
    assert other["written"] == 1
    listed = practice.run("device", "list")
    assert listed.code == 0
    assert "the phone" in listed.out
    assert "(this one)" in listed.out
    assert "choose a short name" in phone.error("device", "name", "")
