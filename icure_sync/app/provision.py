"""`server provision`: makes the database on a CouchDB server or a hub. Uses couchdb-python, which blocks: it is
imported when it is wanted, and has no part in syncing.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import ModuleType
from typing import Any

from icure_sync import parse_address
from icure_sync.app.output import Answer
from icure_sync.errors import BadAnswer, Forbidden, InvalidEntity, Unauthorized, Unreachable

TIMEOUT = 30.0  # seconds without an answer


def provision(args: argparse.Namespace) -> Answer:
    """Make the database of `args.url`; one that exists is left as it is."""
    database = str(parse_address(args.url))  # without the login
    created = create_database(args.url)
    what = "is created" if created else "was there already"
    return Answer({"database": database, "created": created}, f"{database} {what}.")


def create_database(url: str) -> bool:
    """True if it was created, False if it was there. Blocks.

    Raises Unreachable, Unauthorized, Forbidden, BadAnswer, InvalidEntity for a name that the server does not allow.
    """
    address = parse_address(url)
    couchdb = _couchdb()
    with _typed_errors(couchdb, str(address)), _session(couchdb) as session:
        server = couchdb.Server(address.server, session=session)
        if address.credentials is not None:
            server.resource.credentials = (address.credentials.user, address.credentials.password)
        _, _, welcome = server.resource.get_json()
        if not isinstance(welcome, dict) or "couchdb" not in welcome:
            raise _not_couchdb(str(address))
        try:
            server.create(address.database)
        except couchdb.PreconditionFailed:
            return False
        return True


def _couchdb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports cgi, and maybe pkg_resources
        import couchdb
    return couchdb


@contextmanager
def _session(couchdb: ModuleType) -> Iterator[Any]:
    """A session whose connections are closed in the end: couchdb-python leaves them to the garbage collector."""
    session = couchdb.Session(timeout=TIMEOUT)
    try:
        yield session
    finally:
        for connections in session.connection_pool.conns.values():
            for connection in connections:
                connection.close()


@contextmanager
def _typed_errors(couchdb: ModuleType, database: str) -> Iterator[None]:
    attempted = f"make the database {database}"
    try:
        yield
    except couchdb.Unauthorized as error:
        raise Unauthorized(attempted, "the server does not accept the login", "use an administrator's") from error
    except couchdb.ServerError as error:
        status = error.args[0][0]
        if status == HTTPStatus.FORBIDDEN:
            raise Forbidden(attempted, "the account may not do that", "use an administrator's") from error
        if status == HTTPStatus.BAD_REQUEST:
            raise InvalidEntity(
                attempted, "the server does not allow this name", "begin with a letter; use a-z, 0-9, _$()+/-"
            ) from error
        raise BadAnswer(attempted, f"the server answered {status}", "look into its log") from error
    except (couchdb.HTTPError, ValueError) as error:
        raise _not_couchdb(database) from error
    except OSError as error:
        raise Unreachable(attempted, "the server does not answer", "check the address, and that it runs") from error


def _not_couchdb(database: str) -> BadAnswer:
    return BadAnswer(
        f"make the database {database}", "it does not answer like a CouchDB server", "check address and port"
    )
