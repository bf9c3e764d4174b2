"""What every call of a replica needs: the store, whoever has the keys, and the hop into the store's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from icure_sync.engine.custody import Custody
from icure_sync.engine.exchange import Exchange
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.reading import Reading
from icure_sync.store import Store

P = ParamSpec("P")
T = TypeVar("T")

Clock = Callable[[], int]  # ms since 1970, possibly wrong: decides nothing


class Calls:
    """`device`: this device's id; `clock`: for what is remembered of syncs."""

    def __init__(self, store: Store, custody: Custody, device: str, clock: Clock) -> None:
        self._store = store
        self._custody = custody
        self._clock = clock
        self._exchange = Exchange(store, device, custody, clock)
        self.device = device

    @property
    def _reading(self) -> Reading:
        return Reading(self._keyed)

    @property
    def _keyed(self) -> Keyed:
        return self._custody.keyed()

    async def _call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """In the store's thread, as something that the application does with keys."""
        with self._custody.in_use():
            return await self._store.run(function, *args, **kwargs)
