"""Opening a replica as an application does: its key file, its passphrase, its Hcp."""

from __future__ import annotations

import pytest

from icure_sync.engine.replica import Replica
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, StoreCorrupt, UnsupportedSuite, WrongPassphrase
from icure_sync.model import Patient


async def test_a_replica_is_made_once_and_opens_with_its_passphrase_and_its_hcp(tmp_path, identities):
    path = tmp_path / "replica.db"
    async with Replica.open(path, identities["hcp-a"], passphrase="long enough") as replica:
        john = await replica.save(Patient(first_name="John"))
        with pytest.raises(InvalidEntity, match="str is no entity"):
            await replica.save("x")
        with pytest.raises(NotFound, match="Patient nobody"):
            await replica.get(Patient, "nobody")
    with pytest.raises(WrongPassphrase):
        async with Replica.open(path, identities["hcp-a"], passphrase="a guess"):
            pass
    with pytest.raises(NoAccess, match="that of hcp-a"):
        async with Replica.open(path, identities["hcp-b"], passphrase="long enough"):
            pass
    with pytest.raises(UnsupportedSuite):
        async with Replica.open(path, identities["hcp-a"], passphrase="long enough", suites=("nope",)):
            pass
    async with Replica.open(path, identities["hcp-a"], passphrase="long enough") as replica:
        assert await replica.get(Patient, john.id) == john


async def test_a_file_that_is_gone_is_not_replaced_by_an_empty_one(tmp_path, identities):
    path = tmp_path / "replica.db"
    async with Replica.open(path, identities["hcp-a"], passphrase="long enough"):
        pass
    path.unlink()
    with pytest.raises(StoreCorrupt, match="put its copy back"):
        async with Replica.open(path, identities["hcp-a"], passphrase="long enough"):
            pass
    assert not path.exists()


async def test_an_empty_passphrase_locks_nothing(tmp_path, identities):
    with pytest.raises(InvalidEntity, match="empty"):
        async with Replica.open(tmp_path / "replica.db", identities["hcp-a"], passphrase=""):
            pass
