"""Replication logs: what both sides remember of earlier sessions, and where a new attempt may start.

Owns the replication id, the log as a value and its form as a `_local` document, and the rule for the common point.
Does not know who stores logs, nor when a checkpoint is due.

A log is the history of sessions, newest first. Every checkpoint adds a session of its own, with an id that nobody else
can have drawn, to the logs of both sides. A session found with the same id *and* the same recorded seq in both logs
says: the target had durably taken everything up to that seq. A server put back from a backup has an older log, a
database made anew has none; both show in this rule alone.

The other side's log also has a random name: what it refused is kept under that name, since several servers can share
an address, a database name and the name of the log.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.ids import Seq
from icure_sync.replication.limits import MAX_SESSIONS, RECENT_SESSIONS

START = Seq("0")  # the seq before the first change, on every server
_LONGEST_SEQ = 64 * 1024  # characters; a CouchDB seq grows with the shards, to some thousand
_LONGEST_ID = 128
_NAME = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)


class Direction(StrEnum):
    """Which way documents go, seen from the device."""

    PULL = "pull"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class Session:
    """One checkpoint. `ended`: milliseconds since 1970; `peer`: names the other end, decides only what is thinned."""

    id: str
    seq: Seq
    ended: int
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """The sessions that one side remembers, newest first. `name`: 32 random hex digits, on the other side only."""

    sessions: tuple[Session, ...] = ()
    name: str | None = None

    @property
    def head(self) -> str | None:
        """The id of the newest session."""
        return self.sessions[0].id if self.sessions else None

    def with_session(self, session: Session) -> Log:
        """This log and one more checkpoint, thinned."""
        return Log(_thinned((session, *self.sessions), session.ended), self.name)

    def document(self) -> dict[str, Any]:
        """The `_local` document."""
        history = [
            {"session_id": s.id, "recorded_seq": s.seq, "end_time": s.ended, "peer": s.peer} for s in self.sessions
        ]
        return {"history": history} if self.name is None else {"name": self.name, "history": history}


def replication_id(device: str, hcp: str | None, selector: Mapping[str, Any] | None, direction: Direction) -> str:
    """The name of the logs: 32 hex digits over device, Hcp, filter and direction."""
    named = canonical(["icure-sync/replication/1", device, hcp, selector, direction.value])
    return hashlib.sha256(named).hexdigest()[:32]


def peer_mark(name: str, instance: str) -> str:
    """A short name for the other end, which gives nothing away about it."""
    return hashlib.sha256(canonical([name, instance])).hexdigest()[:8]


def read_log(document: Mapping[str, Any] | None) -> Log:
    """The log in a `_local` document. What does not read as a session is left out: at worst we start earlier."""
    history = document.get("history") if document else None
    if document is None or not isinstance(history, list):
        return Log()
    sessions = (_read_session(entry) for entry in history[:MAX_SESSIONS])
    name = document.get("name")
    known = name if isinstance(name, str) and _NAME.match(name) else None
    return Log(tuple(session for session in sessions if session is not None), known)


def common_point(ours: Log, theirs: Log) -> Seq:
    """The seq to start from: of the newest session that both logs have, equal in id and seq; else `START`.

    The sessions of an other side without a name do not count: nobody can tell what it refused in them.
    """
    known = {(session.id, session.seq) for session in theirs.sessions} if theirs.name else frozenset()
    for session in ours.sessions:
        if (session.id, session.seq) in known:
            return session.seq
    return START


def _read_session(entry: object) -> Session | None:
    if not isinstance(entry, Mapping):
        return None
    identity, seq = entry.get("session_id"), entry.get("recorded_seq")
    ended, peer = entry.get("end_time"), entry.get("peer", "")
    if not (_is_text(identity, _LONGEST_ID) and _is_text(seq, _LONGEST_SEQ) and _is_text(peer, _LONGEST_ID)):
        return None
    if not isinstance(ended, int):
        return None
    return Session(str(identity), Seq(str(seq)), ended, str(peer))


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest


def _thinned(sessions: Sequence[Session], now: int) -> tuple[Session, ...]:
    """At most MAX_SESSIONS: for each peer the newest ones, then the oldest of each doubling of age.

    The oldest, so that it lives to reach the next doubling. A device that syncs with a hub every few seconds and with a
    clinic's server once a day keeps its place with both. The order is that of the log, never of the clock.
    """
    recent: Counter[str] = Counter()
    older: dict[tuple[str, int], int] = {}
    kept: list[int] = []
    for index, session in enumerate(sessions):
        if recent[session.peer] < RECENT_SESSIONS:
            recent[session.peer] += 1
            kept.append(index)
        else:
            older[session.peer, (abs(now - session.ended) // 1000).bit_length()] = index
    kept = sorted([*kept, *older.values()])
    if len(kept) > MAX_SESSIONS:
        kept = _fairly(kept, sessions)
    return tuple(sessions[index] for index in kept)


def _fairly(kept: Sequence[int], sessions: Sequence[Session]) -> list[int]:
    """MAX_SESSIONS of these: the newest of every peer, then the second of every peer, and so on."""
    own: Counter[str] = Counter()
    ranked = []
    for index in kept:
        own[sessions[index].peer] += 1
        ranked.append((own[sessions[index].peer], index))
    return sorted(index for _, index in sorted(ranked)[:MAX_SESSIONS])
