"""Who is known, by which keys, on the command line: two Hcps, each with a home, on one hub, who compare a number."""

from __future__ import annotations

import re

from tests.app.conftest import CommandLine, RunningHub, typed


def introduced(practice: CommandLine, specialist: CommandLine, hub: RunningHub) -> None:
    for line in (practice, specialist, practice):
        line.json("sync", "--server", hub.database)


def test_both_sides_see_one_number_and_a_word_of_each_makes_the_keys_sure(
    practice: CommandLine, specialist: CommandLine, hub: RunningHub
) -> None:
    introduced(practice, specialist, hub)
    mine, theirs = (practice.json("status")["hcpId"], specialist.json("status")["hcpId"])
    listed = {each["hcpId"]: each for each in practice.json("hcp", "list")["items"]}
    assert listed[mine]["own"]
    assert (listed[theirs]["own"], listed[theirs]["verified"], listed[theirs]["claimed"]) == (False, None, [])
    assert listed[theirs]["keys"]["fingerprint"] == specialist.json("hcp", "show", theirs)["keys"]["fingerprint"]
    number = practice.json("hcp", "verify", theirs)["keys"]["number"]
    assert re.fullmatch(r"(\d{5} ){11}\d{5}", number)
    assert specialist.json("hcp", "show", mine)["keys"]["number"] == number
    shown = practice.run("hcp", "verify", theirs).out
    assert shown.split(":")[-2].count(number[:23]) or number[:23] in shown
    assert "--number" in shown

    assert "have that number" in practice.error("hcp", "verify", theirs, "--number", number[::-1])
    assert practice.json("hcp", "show", theirs)["verified"] is None
    done = practice.json("hcp", "verify", theirs, "--number", number.replace(" ", ""))
    assert done["compared"]
    assert done["verified"] == practice.json("hcp", "show", theirs)["verified"] > 0
    assert "never" not in practice.run("hcp", "show", theirs).out
    assert [row["id"] for row in practice.json("audit", "--action", "verified")["items"]] == [theirs]


def test_a_person_at_a_terminal_says_whether_the_numbers_are_the_same(
    practice: CommandLine, specialist: CommandLine, hub: RunningHub
) -> None:
    introduced(practice, specialist, hub)
    mine, theirs = (practice.json("status")["hcpId"], specialist.json("status")["hcpId"])
    question = "Type yes if every digit is: "
    refused = typed(specialist, [(question, "no")], "hcp", "verify", mine)
    assert (refused.code, refused.out) == (1, "")
    assert "share nothing" in refused.err
    assert specialist.json("hcp", "show", mine)["verified"] is None
    done = typed(specialist, [(question, "yes")], "hcp", "verify", mine)
    assert done.code == 0, done.err
    groups = practice.json("hcp", "show", theirs)["keys"]["number"].split()
    assert " ".join(groups[:4]) in done.err
    assert "█" in done.err
    assert specialist.json("hcp", "show", mine)["verified"] > 0


def test_what_cannot_be_compared_is_said(practice: CommandLine) -> None:
    mine = practice.json("status")["hcpId"]
    assert "your own" in practice.error("hcp", "verify", mine)
    assert "your own" in practice.run("hcp", "show", mine).out
    assert "not in this replica" in practice.error("hcp", "show", "hcp-nobody")
    assert "not in this replica" in practice.error("hcp", "verify", "hcp-nobody")
