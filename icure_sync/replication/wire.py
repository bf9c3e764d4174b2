"""What travels between two peers: plain values, shared by stores, clients and servers. Owns no algorithm, does no I/O.

Bodies are raw JSON bytes without the `_` members: on the way between a server and the store nobody decodes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icure_sync.ids import DocId, Rev, Seq


@dataclass(frozen=True, slots=True)
class Attachment:
    """One CouchDB attachment, without its bytes. `length` in bytes; `digest` as the peer states it (`md5-…`).

    `gzip_length`: the bytes are kept as gzip, so many of them, and `digest` is of these; None: as they are. A server
    keeps so what came so; a device never does. A CouchDB to which they came packed gives the same number as `length`:
    it does not know how many there are inside.
    """

    name: str
    content_type: str
    length: int
    digest: str
    revpos: int
    gzip_length: int | None = None

    @property
    def is_length_known(self) -> bool:
        return self.length != self.gzip_length


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of one document as it travels (`new_edits=false`).

    `history`: revision ids, newest first; history[0] is this revision, then its ancestors as far as known.
    `body`: one JSON object as UTF-8 bytes, without any member whose name begins with `_`.
    """

    id: DocId
    history: tuple[Rev, ...]
    body: bytes
    deleted: bool = False
    attachments: Mapping[str, Attachment] = field(default_factory=dict)

    @property
    def rev(self) -> Rev:
        return self.history[0]


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a changes feed.

    `leaves`: the winner first, then the others (`style=all_docs`). `seq` may be None (`seq_interval`).
    """

    id: DocId
    leaves: tuple[Rev, ...]
    seq: Seq | None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """One batch of a feed. `last_seq`: where the next one starts; `pending`: rows left after it, if known."""

    rows: tuple[Change, ...]
    last_seq: Seq
    pending: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What a target lacks of one document, and which of its own leaves may be ancestors of that."""

    revs: tuple[Rev, ...]
    possible_ancestors: tuple[Rev, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Ids out of a server's index. `seq`: where the feed goes on from there; the first page pins it for all."""

    ids: tuple[DocId, ...]
    seq: Seq


BAD_ATTACHMENT = "bad_attachment"  # the `error` of a Refusal: the source does not give the bytes that it announced


@dataclass(frozen=True, slots=True)
class Refusal:
    """One revision that a target did not take. A value for the report, never an exception that stops the rest."""

    id: DocId
    rev: Rev | None
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a peer says of itself. `instance` (`instance_start_time`): a change means another life. `address`: where it
    is, as a person knows it, without credentials; "" if it is nowhere."""

    name: str
    update_seq: Seq
    instance: str
    doc_count: int | None = None
    address: str = ""
