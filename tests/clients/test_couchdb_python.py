"""couchdb-python as a client of the hub; with COUCHDB_URL, of a real CouchDB too: both have to answer alike."""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import REAL_SERVERS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports modules that Python gives up
    import couchdb

NAMES = ("Keats", "Lambe", "Bree", "Clark")


@pytest.fixture(params=("hub", *REAL_SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    url = request.getfixturevalue("hub_url" if request.param == "hub" else "couchdb_url")
    server = couchdb.Server(url + "/")
    yield server
    for connections in server.resource.session.connection_pool.conns.values():
        for connection in connections:
            connection.close()


@pytest.fixture
def clinic(server: Any) -> Iterator[Any]:
    """An empty database."""
    name = "clinic-" + uuid.uuid4().hex
    yield server.create(name)
    server.delete(name)


@pytest.fixture
def people(clinic: Any) -> Any:
    """The database with four documents."""
    clinic.update([{"_id": name.lower(), "name": name, "n": number} for number, name in enumerate(NAMES)])
    return clinic


def test_a_server_tells_its_version_its_databases_and_its_tasks(server: Any, clinic: Any) -> None:
    assert server.version_info() >= (3, 0, 0)
    assert clinic.name in server
    assert clinic.name in list(server)
    assert server.tasks() == []
    assert len(set(server.uuids(5))) == 5


def test_databases_are_created_once_and_deleted_once(server: Any, clinic: Any) -> None:
    with pytest.raises(couchdb.PreconditionFailed):
        server.create(clinic.name)
    other = server.create(f"{clinic.name}/inner+$(name)-_")
    assert other.info()["db_name"] == other.name
    server.delete(other.name)
    with pytest.raises(couchdb.ResourceNotFound):
        server.delete(other.name)
    with pytest.raises(couchdb.ServerError):
        server.create("No-Capitals")


def test_documents_are_saved_read_changed_copied_and_deleted(clinic: Any) -> None:
    doc_id, rev = clinic.save({"name": "Keats"})
    assert clinic[doc_id].rev == rev
    clinic["named/ä b"] = {"name": "Lambe"}
    doc = clinic["named/ä b"]
    doc["name"] = "Bree"
    clinic.save(doc)
    assert clinic["named/ä b"]["name"] == "Bree"
    assert [revision["name"] for revision in clinic.revisions("named/ä b")] == ["Bree", "Lambe"]
    stale = {**doc, "_rev": rev}
    with pytest.raises(couchdb.ResourceConflict):
        clinic.save(stale)
    clinic.copy("named/ä b", "copy")
    assert clinic["copy"]["name"] == "Bree"
    assert "copy" in clinic
    assert len(clinic) == 3
    clinic.delete(clinic["copy"])
    assert "copy" not in clinic
    assert clinic.get("copy", "nothing") == "nothing"


def test_a_bulk_update_says_what_became_of_each_document(people: Any) -> None:
    keats = people["keats"]
    outcomes = people.update([{**keats, "n": 10}, {"_id": "lambe"}, {"_id": "new"}])
    assert [ok for ok, _, _ in outcomes] == [True, False, True]
    assert isinstance(outcomes[1][2], couchdb.ResourceConflict)
    assert people["keats"]["n"] == 10


def test_listings_are_read_whole_by_key_and_in_batches(people: Any) -> None:
    assert [row.id for row in people.view("_all_docs")] == ["bree", "clark", "keats", "lambe"]
    assert [row.doc["n"] for row in people.view("_all_docs", keys=["lambe", "bree"], include_docs=True)] == [1, 2]
    assert [row.id for row in people.iterview("_all_docs", 2)] == ["bree", "clark", "keats", "lambe"]
    assert [row.id for row in people.iterview("_all_docs", 3, descending=True, limit=3)] == ["lambe", "keats", "clark"]
    view = people.view("_all_docs", startkey="c", endkey="kz")
    assert (view.total_rows, view.offset, len(view.rows)) == (4, 1, 2)


def test_attachments_are_put_read_and_deleted(clinic: Any) -> None:
    clinic["doc"] = {}
    for name, data in (("every byte.bin", bytes(range(256))), ("ä/b.txt", b"text")):
        clinic.put_attachment(clinic["doc"], io.BytesIO(data), filename=name, content_type="application/x-test")
        found = clinic.get_attachment("doc", name)
        assert found is not None
        assert found.read() == data
    stubs = clinic["doc"]["_attachments"]
    assert {name: stub["length"] for name, stub in stubs.items()} == {"every byte.bin": 256, "ä/b.txt": 4}
    clinic.delete_attachment(clinic["doc"], "ä/b.txt")
    assert clinic.get_attachment("doc", "ä/b.txt") is None


def test_changes_are_read_at_once_and_as_they_come(people: Any) -> None:
    normal = people.changes()
    assert sorted(row["id"] for row in normal["results"]) == ["bree", "clark", "keats", "lambe"]
    assert people.changes(since=normal["last_seq"])["results"] == []
    rows = list(people.changes(feed="continuous", timeout=50, include_docs=True))
    assert sorted(row["doc"]["name"] for row in rows[:-1]) == sorted(NAMES)
    assert set(rows[-1]) == {"last_seq", "pending"}
    chosen = people.changes(filter="_selector", _selector={"selector": {"n": {"$gte": 2}}})
    assert sorted(row["id"] for row in chosen["results"]) == ["bree", "clark"]


def test_security_is_read_and_set(clinic: Any) -> None:
    assert clinic.security == {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}
    wanted = {"admins": {"names": ["a"], "roles": []}, "members": {"names": [], "roles": ["nurse"]}}
    clinic.security = wanted
    assert clinic.security == wanted


def test_users_are_added_let_in_and_removed(server: Any, people: Any) -> None:
    name = "user-" + uuid.uuid4().hex
    server.add_user(name, "a password", ["nurse"])
    people.security = {"members": {"names": [], "roles": ["nurse"]}}
    address = server.resource.url.partition("://")[2].rpartition("@")[2]
    nurse = couchdb.Server(f"http://{name}:a%20password@{address}")
    assert nurse[people.name]["keats"]["n"] == 0
    with pytest.raises(couchdb.Unauthorized):
        nurse.create("of-a-nurse")
    server.remove_user(name)
    with pytest.raises(couchdb.Unauthorized):
        couchdb.Server(f"http://{name}:a%20password@{address}")[people.name].info()


def test_queries_find_documents(people: Any) -> None:
    assert [doc.id for doc in people.find({"selector": {"n": {"$gt": 1}}, "fields": ["_id"]})] == ["bree", "clark"]
    assert people.explain({"selector": {"n": 1}})["dbname"].endswith(people.name)
    with pytest.raises(couchdb.ServerError):
        people.find({"selector": {"n": {"$frob": 1}}})


def test_upkeep_is_taken_as_done(people: Any) -> None:
    keats = people["keats"]
    assert people.purge([keats])["purged"] == {"keats": [keats.rev]}
    assert "keats" not in people
    assert people.compact()
    assert people.cleanup()
    assert people.commit()["ok"]
    assert people.info()["doc_count"] == 3


def test_replication_by_the_hub_itself_is_refused(hub_url: str) -> None:
    with pytest.raises(couchdb.ServerError, match="not_implemented"):
        couchdb.Server(hub_url + "/").replicate("here", "there")
