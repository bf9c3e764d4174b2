"""Errors: one clear line each, all under one root, each with what a caller may act on."""

from __future__ import annotations

import inspect
import pickle

import pytest

from icure_sync import errors
from icure_sync.errors import IcureSyncError, Misplaced, NoAccess, Tampered, Throttled, WriterOut

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, IcureSyncError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_in_one_line_what_was_attempted_what_is_wrong_and_what_to_do(kind: type[IcureSyncError]):
    error = kind("open the\nreplica", "it is  locked", "close it")
    assert str(error) == "cannot open the replica: it is locked; close it"
    assert (error.attempted, error.wrong, error.next_step) == ("open the\nreplica", "it is  locked", "close it")
    assert kind.__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel_between_processes(kind: type[IcureSyncError]):
    assert str(pickle.loads(pickle.dumps(kind("a", "b", "c")))) == "cannot a: b; c"


def test_some_errors_carry_more():
    assert Throttled("a", "b", "c", retry_after=2.5).retry_after == 2.5
    assert Throttled("a", "b", "c").retry_after is None
    assert NoAccess("a", "b", "c", ("tried this",)).attempts == ("tried this",)
    assert NoAccess("a", "b", "c").attempts == ()


def test_what_later_knowledge_may_change_is_not_believed_either():
    assert issubclass(WriterOut, Tampered)
    assert issubclass(Misplaced, Tampered)
