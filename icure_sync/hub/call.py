"""One request on its way through the hub: who asks, for what, of which database; what every endpoint needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from icure_sync.hub.accounts import Accounts
from icure_sync.hub.auth import Gate
from icure_sync.hub.databases import Database, Databases
from icure_sync.hub.design_check import check_design
from icure_sync.hub.drafts import Draft
from icure_sync.hub.paths import DESIGN, Path, document_of, location
from icure_sync.hub.queries import Query
from icure_sync.hub.security import Caller
from icure_sync.hub.upstreams import Describe
from icure_sync.hub.users import USERS
from icure_sync.ids import DocId


@dataclass(frozen=True, slots=True)
class House:
    """What all requests share. `uuid`: of this hub; `is_tls`: cookies go over TLS only; `upstreams`: by database."""

    databases: Databases
    accounts: Accounts
    gate: Gate
    uuid: str
    is_tls: bool
    upstreams: Mapping[str, Describe]


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the server itself."""

    request: web.BaseRequest
    path: Path
    query: Query
    caller: Caller
    house: House

    @property
    def base(self) -> str:
        """`scheme://host`, as the client wrote it, or as a proxy before the hub says that he did."""
        headers = self.request.headers
        scheme = headers.get("X-Forwarded-Proto", "")
        if headers.get("X-Forwarded-Ssl") == "on":
            scheme = "https"
        if scheme not in {"http", "https"}:
            scheme = "https" if self.house.is_tls else "http"
        return f"{scheme}://{headers.get('X-Forwarded-Host') or headers.get('Host', '')}"


@dataclass(frozen=True, slots=True)
class DatabaseCall(Call):
    """A request to a database that is there, by someone who may read it."""

    database: Database

    @property
    def document(self) -> DocId:
        """The id in the path."""
        return document_of(self.path.segments[1:])[0]

    @property
    def attachment(self) -> str:
        """The attachment name in the path, or ""."""
        return document_of(self.path.segments[1:])[1]

    def location(self, doc_id: str, attachment: str = "") -> dict[str, str]:
        """The `Location` header of a document."""
        return {"Location": location(self.base, self.database.name, doc_id, attachment)}

    def require_database_admin(self) -> None:
        """Raises unauthorized or forbidden."""
        self.database.security.check_admin(self.caller)

    async def admit(self, draft: Draft) -> Draft:
        """The draft as it may be stored: only administrators write design documents; passwords are hashed.

        Raises forbidden; invalid_design_doc; bad_request for a user whose values cannot be read.
        """
        if draft.id.startswith(DESIGN):
            self.require_database_admin()
            if not draft.deleted:
                check_design(draft.body)
        if self.database.name != USERS:
            return draft
        return await self.house.accounts.hashed(draft, self.caller)
