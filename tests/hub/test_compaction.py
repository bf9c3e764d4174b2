"""Compaction and the limit of histories over HTTP: what is still answered, and what a client is told meanwhile."""

import asyncio
import io
import os
import threading
from pathlib import Path

import pytest

from icure_sync.store.compaction import Compaction
from tests.hub.conftest import Browser


async def edit(browse: Browser, path: str, times: int) -> list[str]:
    """So many revisions of one document."""
    revs: list[str] = []
    for number in range(times):
        answer = await browse("PUT", path + (f"?rev={revs[-1]}" if revs else ""), {"n": number})
        revs.append(answer.json["rev"])
    return revs


async def compacted(browse: Browser, clinic: str) -> None:
    assert (await browse("POST", f"{clinic}/_compact", {})).status == 202
    async with asyncio.timeout(30):
        while (await browse("GET", clinic)).json["compact_running"]:  # noqa: ASYNC110  (it is another process's to say)
            await asyncio.sleep(0.01)


async def test_a_compacted_revision_is_missing_wherever_it_is_asked_for(browse: Browser, clinic: str):
    old, new = await edit(browse, f"{clinic}/john", 2)
    assert (await browse("GET", f"{clinic}/john?rev={old}")).json["n"] == 0
    await compacted(browse, clinic)
    missing = {"error": "not_found", "reason": "missing"}
    assert (await browse("GET", f"{clinic}/john?rev={old}")).json == missing
    bulk = (await browse("POST", f"{clinic}/_bulk_get", {"docs": [{"id": "john", "rev": old}]})).json["results"]
    assert bulk == [{"id": "john", "docs": [{"error": {"id": "john", "rev": old, **missing}}]}]
    found = await browse("GET", f'{clinic}/john?open_revs=["{old}"]', headers={"Accept": "application/json"})
    assert found.json == [{"missing": old}]
    assert (await browse("GET", f"{clinic}/john?rev={old}&latest=true")).json["_rev"] == new
    info = (await browse("GET", f"{clinic}/john?revs_info=true")).json["_revs_info"]
    assert [one["status"] for one in info] == ["available", "missing"]
    assert (await browse("POST", f"{clinic}/_revs_diff", {"john": [old, new]})).json == {}
    assert (await browse("GET", f"{clinic}/john/page?rev={old}")).status == 404


async def test_a_compaction_gives_the_room_of_dropped_files_back(browse: Browser, clinic: str, tmp_path: Path):
    rev = (await browse("PUT", f"{clinic}/scan/page", data=io.BytesIO(os.urandom(3_000_000)))).json["rev"]
    await browse("DELETE", f"{clinic}/scan?rev={rev}")
    await browse("PUT", f"{clinic}/scan/kept", data=b"kept")
    await compacted(browse, clinic)
    assert (await browse("GET", clinic)).json["sizes"]["file"] < 1_000_000
    assert sum(one.stat().st_size for one in (tmp_path / "hub").glob("clinic.*")) < 1_000_000
    assert (await browse("GET", f"{clinic}/scan/kept")).body == b"kept"


async def test_others_are_answered_while_a_compaction_runs(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
):
    """It stops after each step for whoever waits, and says that it is running."""
    first, go_on = threading.Event(), threading.Event()
    steps = Compaction.steps

    def slow(self: Compaction, revs_limit: int, kept: int | None):  # type: ignore[no-untyped-def]  # a generator's type
        while not go_on.is_set():
            first.set()
            yield
        yield from steps(self, revs_limit, kept)

    monkeypatch.setattr(Compaction, "steps", slow)
    assert (await browse("POST", f"{clinic}/_compact", {})).json == {"ok": True}
    await asyncio.to_thread(first.wait, 10)
    assert (await browse("PUT", f"{clinic}/john", {})).status == 201
    assert (await browse("GET", clinic)).json["compact_running"] is True
    assert (await browse("GET", "/_active_tasks")).json[0]["database"] == "clinic"
    assert (await browse("POST", f"{clinic}/_compact", {})).status == 202
    go_on.set()
    async with asyncio.timeout(30):
        while (await browse("GET", clinic)).json["compact_running"]:  # noqa: ASYNC110  (it is another process's to say)
            await asyncio.sleep(0.01)
    assert (await browse("GET", "/_active_tasks")).json == []


async def test_a_database_may_be_deleted_while_it_is_compacted(browse: Browser, clinic: str):
    await edit(browse, f"{clinic}/john", 3)
    await browse("POST", f"{clinic}/_compact", {})
    assert (await browse("DELETE", clinic)).json == {"ok": True}
    assert (await browse("GET", clinic)).status == 404


async def test_a_design_document_is_compacted_if_it_is_there(browse: Browser, clinic: str):
    await browse("PUT", f"{clinic}/_design/mine", {})
    for name, status in (("mine", 202), ("icure_sync", 202), ("nosuch", 404), ("a/b", 404)):
        answer = await browse("POST", f"{clinic}/_compact/{name}", {})
        assert answer.status == status, name
    for path in ("_compact", "_compact/mine", "_view_cleanup"):
        assert (await browse("GET", f"{clinic}/{path}")).headers["Allow"] == "POST"
    assert (await browse("POST", f"{clinic}/_compact")).status == 415
    assert (await browse("POST", f"{clinic}/_view_cleanup")).json == {"ok": True}


async def test_administrators_of_the_database_keep_it_up_and_members_do_not(browse: Browser, clinic: str):
    member, admin = await browse.make_user("m", "password"), await browse.make_user("a", "password")
    await browse("PUT", f"{clinic}/_security", {"members": {"names": ["m"]}, "admins": {"names": ["a"]}})
    for path in ("_compact", "_view_cleanup", "_compact/icure_sync"):
        refused = await browse("POST", f"{clinic}/{path}", {}, auth=member)
        assert (refused.status, refused.json["reason"]) == (401, "You are not a server or db admin.")
        assert (await browse("POST", f"{clinic}/{path}", {}, auth=admin)).status == 202


async def test_a_lower_limit_cuts_histories_at_once_and_every_later_write(browse: Browser, clinic: str):
    revs = await edit(browse, f"{clinic}/john", 5)

    async def history() -> list[str]:
        ids = (await browse("GET", f"{clinic}/john?revs=true")).json["_revisions"]["ids"]
        return [f"{len(revs) - depth}-{one}" for depth, one in enumerate(ids)]

    assert await history() == revs[::-1]
    assert (await browse("PUT", f"{clinic}/_revs_limit", 3)).json == {"ok": True}
    assert (await browse("GET", f"{clinic}/_revs_limit")).json == 3
    assert await history() == revs[:1:-1]
    revs.append((await browse("PUT", f"{clinic}/john?rev={revs[-1]}", {})).json["rev"])
    assert await history() == revs[:2:-1]
    for gone in revs[:3]:
        assert (await browse("GET", f"{clinic}/john?rev={gone}")).status == 404
    missing = (await browse("POST", f"{clinic}/_revs_diff", {"john": revs})).json["john"]["missing"]
    assert missing == revs[:3]
    for wrong in (0, -1, 1.5, "x", 2**64):
        assert (await browse("PUT", f"{clinic}/_revs_limit", wrong)).status == 400


async def test_a_limit_of_one_keeps_the_files_of_the_leaf(browse: Browser, clinic: str):
    await browse("PUT", f"{clinic}/_revs_limit", 1)
    rev = (await browse("PUT", f"{clinic}/scan/page", data=b"page")).json["rev"]
    stub = (await browse("GET", f"{clinic}/scan")).json["_attachments"]
    rev = (await browse("PUT", f"{clinic}/scan?rev={rev}", {"n": 1, "_attachments": stub})).json["rev"]
    await compacted(browse, clinic)
    assert (await browse("GET", f"{clinic}/scan/page")).body == b"page"
    assert (await browse("GET", f"{clinic}/scan?revs=true")).json["_revisions"]["ids"] == [rev[2:]]


@pytest.mark.parametrize("meets", [True, False])
async def test_a_device_away_for_longer_than_the_limit_makes_at_worst_a_conflict(
    browse: Browser, clinic: str, meets: bool
):
    """Both sides cut their histories; what does not meet any more stands beside the other, and nothing is lost."""
    await browse("PUT", f"{clinic}/_revs_limit", 5)
    here = await edit(browse, f"{clinic}/john", 8)
    away = [f"{number}-{number:032x}" for number in range(20, 8, -1)]
    ids = [one.partition("-")[2] for one in (*away, *([here[-1]] if meets else []))]
    body = {"_id": "john", "_rev": away[0], "_revisions": {"start": 20, "ids": ids}}
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": [body]})).json == []
    found = (await browse("GET", f"{clinic}/john?conflicts=true")).json
    assert found["_rev"] == away[0]
    assert found.get("_conflicts", []) == ([] if meets else [here[-1]])
    assert (await browse("POST", f"{clinic}/_revs_diff", {"john": [away[0], here[-1]]})).json == (
        {"john": {"missing": [here[-1]]}} if meets else {}
    )
