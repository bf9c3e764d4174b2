"""PouchDB and nano, as they are published, against a hub: each script here runs under Node as a process of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers import REAL_SERVERS, fresh_hub

HERE = Path(__file__).parent
SCRIPTS = sorted(path.name for path in HERE.glob("*.test.js"))
ABOUT_SERVERS = ("nano.test.js", "pouch_remote.test.js")  # what they state has to be true of a CouchDB, too
RUNS = [("hub", script) for script in SCRIPTS] + [(kind, script) for kind in REAL_SERVERS for script in ABOUT_SERVERS]
PATIENCE = 300  # seconds until a script counts as hanging: each takes a few
WORDS = ("HOME", "PATH", "TMPDIR")  # of the environment: a proxy or an option for Node would make another test of it


@pytest.fixture(scope="session")
def node() -> str:
    """Where Node is; the scripts' packages are there, too."""
    found = shutil.which("node")
    if found is None:
        _miss("Node is not installed: install node 18 or later and npm, then `npm ci --prefix tests/clients`")
    if not (HERE / "node_modules").is_dir():
        _miss("the JavaScript clients are not installed: run `npm ci --prefix tests/clients`")
    assert found is not None
    return found


def _miss(reason: str) -> None:
    """Where everything is to be tried, a missing client is a failure."""
    if "CI" in os.environ:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.mark.parametrize(("kind", "script"), RUNS)
async def test_clients_written_in_javascript_take_the_hub_for_a_couchdb(
    node: str, kind: str, script: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "hub":
        async with fresh_hub(tmp_path) as server:
            await run_script(node, script, server)
    else:
        await run_script(node, script, request.getfixturevalue("couchdb_url"))


async def run_script(node: str, script: str, server: str) -> None:
    """Run it against `http://name:password@host:port`; what it says is shown if it fails."""
    parts = urlsplit(server)
    environment = {name: os.environ[name] for name in WORDS if name in os.environ}
    running = await asyncio.create_subprocess_exec(
        node,
        "--test-reporter=spec",
        HERE / script,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment | {"HUB_URL": f"http://{parts.hostname}:{parts.port}"},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await running.communicate(f"{parts.username}\n{parts.password}\n".encode())
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 0, output.decode()
