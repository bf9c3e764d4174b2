"""The filtered feeds that sleep, arranged so that a row finds those it concerns. Knows no store and no HTTP.

Most are devices, whose selectors are alike but for a delegate: what they have in common is judged once for all of them,
and the rest is looked up by the delegates that a document names. Any other filter is asked one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icure_sync.hub.feed import Arrival, Feed
from icure_sync.hub.filters import Document, Filter, passing_leaves
from icure_sync.hub.mango import Predicate
from icure_sync.store import DocumentChange


@dataclass(frozen=True, slots=True)
class _Devices:
    """Sleepers whose selectors differ in the delegate only."""

    rest: Predicate
    all_leaves: bool
    by_delegate: dict[str, set[Feed]] = field(default_factory=dict)

    def concerned(self, documents: Sequence[Document | None]) -> Iterator[Feed]:
        for document in documents if self.all_leaves else documents[:1]:
            if document is None:
                continue
            delegations = document.get("delegations")
            if self.rest(document) or isinstance(delegations, list):
                for sleepers in self.by_delegate.values():
                    yield from (one for one in sleepers if _passes(_filter_of(one), document))
            elif isinstance(delegations, Mapping):
                for delegate in delegations.keys() & self.by_delegate.keys():
                    yield from self.by_delegate[delegate]


class Sleepers:
    """A set of sleepers."""

    def __init__(self) -> None:
        self._devices: dict[tuple[bytes, bool], _Devices] = {}
        self._others: set[Feed] = set()
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, feed: Feed) -> None:
        """A feed with a filter that is not in here."""
        wanted = _filter_of(feed)
        self._count += 1
        if wanted.device is None:
            self._others.add(feed)
            return
        key = (wanted.device.rest_text, wanted.all_leaves)
        group = self._devices.setdefault(key, _Devices(wanted.device.rest, wanted.all_leaves))
        group.by_delegate.setdefault(wanted.device.delegate, set()).add(feed)

    def remove(self, feed: Feed) -> None:
        """A feed that is in here."""
        wanted = _filter_of(feed)
        self._count -= 1
        if wanted.device is None:
            self._others.remove(feed)
            return
        device = wanted.device
        key = (device.rest_text, wanted.all_leaves)
        group = self._devices[key]
        group.by_delegate[device.delegate].remove(feed)
        if not group.by_delegate[device.delegate]:
            del group.by_delegate[device.delegate]
        if not group.by_delegate:
            del self._devices[key]

    def __iter__(self) -> Iterator[Feed]:
        yield from self._others
        for group in self._devices.values():
            for sleepers in group.by_delegate.values():
                yield from sleepers

    def concerned(self, arrival: Arrival) -> set[Feed]:
        """Those who are waiting for this row; or may be, if its documents were not read."""
        if arrival.documents is None:
            return {one for one in self if _may_pass(_filter_of(one), arrival.change)}
        documents = dict(zip(arrival.change.leaves, arrival.documents, strict=True))
        found = {one for one in self._others if passing_leaves(_filter_of(one), arrival.change, documents.__getitem__)}
        for group in self._devices.values():
            found.update(group.concerned(arrival.documents))
        return found


def _may_pass(wanted: Filter, change: DocumentChange) -> bool:
    return wanted.ids is None or wanted.ids(change.id)


def _passes(wanted: Filter, document: Any) -> bool:
    return wanted.document is not None and wanted.document(document)


def _filter_of(feed: Feed) -> Filter:
    assert feed.filter is not None  # feeds without one do not sleep, they are woken by every write
    return feed.filter
