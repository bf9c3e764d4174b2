"""Which error and which HTTP answer is which kind of trouble."""

from __future__ import annotations

import pytest

from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    PeerError,
    StoreFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from icure_sync.replication.trouble import (
    BatchRefused,
    CheckpointConflict,
    ServerFailed,
    Trouble,
    Undecodable,
    trouble_in_answer,
    trouble_of,
)

THREE = ("do this", "it fails", "try that")


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (Unreachable(*THREE), Trouble.TRANSPORT),
        (TimedOut(*THREE), Trouble.TRANSPORT),
        (Undecodable(*THREE), Trouble.TRANSPORT),
        (BatchRefused("do this", "bad_request", "why"), Trouble.BATCH_REFUSED),
        (ServerFailed("do this", "500", "why"), Trouble.SERVER_FAILED),
        (Throttled(*THREE), Trouble.BUSY),
        (Unauthorized(*THREE), Trouble.LOGIN_NEEDED),
        (Forbidden(*THREE), Trouble.FORBIDDEN),
        (DatabaseMissing(*THREE), Trouble.DATABASE_MISSING),
        (CheckpointConflict(*THREE), Trouble.CHECKPOINT_CONFLICT),
        (BadAnswer(*THREE), Trouble.BAD_ANSWER),
        (PeerError(*THREE), Trouble.BAD_ANSWER),
        (StoreFull(*THREE), Trouble.LOCAL),
    ],
)
def test_an_error_is_of_its_kind(error, trouble):
    assert trouble_of(error) is trouble


@pytest.mark.parametrize(
    ("status", "reason", "trouble"),
    [
        (400, "", Trouble.BATCH_REFUSED),
        (401, "", Trouble.LOGIN_NEEDED),
        (403, "no secrets", Trouble.FORBIDDEN),
        (403, "Account is temporarily locked due to multiple authentication failures", Trouble.LOCKED),
        (404, "missing", Trouble.DATABASE_MISSING),
        (409, "", Trouble.CHECKPOINT_CONFLICT),
        (412, "", Trouble.BATCH_REFUSED),
        (413, "", Trouble.BATCH_REFUSED),
        (429, "", Trouble.BUSY),
        (503, "", Trouble.BUSY),
        (500, "", Trouble.SERVER_FAILED),
        (507, "", Trouble.SERVER_FAILED),
        (302, "", Trouble.BAD_ANSWER),
        (418, "", Trouble.BAD_ANSWER),
    ],
)
def test_an_answer_is_of_its_kind(status, reason, trouble):
    assert trouble_in_answer(status, reason) is trouble


def test_what_the_peer_said_is_in_the_error():
    assert "compilation_error: no such function" in str(ServerFailed("write", "compilation_error", "no such function"))
    assert "too_large: a" in str(BatchRefused("write", "too_large", "a"))
