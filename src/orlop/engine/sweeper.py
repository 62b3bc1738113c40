"""Destruction in idle time: what is costly to destroy is dropped here, and destroyed when nobody has asked for anything."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from orlop.spec.errors import OrlopError, in_words

log = logging.getLogger(__name__)

Chore = Callable[[], Awaitable[None]]
DRAIN_SECONDS = 3.0


@dataclass(frozen=True)
class _Waiting:
    chore: Chore
    idle_seconds: float  # how long no request may have come
    latest: float  # when it is done all the same, so that nothing piles up under load
    name: str


class Sweeper:
    """Chores for later. They must be idempotent: after a crash `recover` finds what was left by itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._last_request = clock()

    def touch(self) -> None:
        """A request came: wait a little more."""
        self._last_request = self._clock()

    def later(self, chore: Chore, *, idle_seconds: float = 0.3, name: str = "") -> None:
        """Do this once nobody has asked for anything for so long. A chore whose `name` already waits is not added again."""
        if name and any(waiting.name == name for waiting in self._waiting):
            return
        self._waiting.append(_Waiting(chore, idle_seconds, self._clock() + 10 * idle_seconds, name))
        self._wake.set()

    async def run(self) -> None:
        """The loop; owned by the daemon."""
        while True:
            await self._wake.wait()
            while self._waiting:
                now = self._clock()
                ready = [waiting for waiting in self._waiting if self._due(waiting) <= now]
                self._waiting = [waiting for waiting in self._waiting if waiting not in ready]
                for waiting in ready:
                    await _do(waiting.chore)
                if not ready:
                    await asyncio.sleep(min(map(self._due, self._waiting)) - now)
            self._wake.clear()

    def _due(self, waiting: _Waiting) -> float:
        return min(self._last_request + waiting.idle_seconds, waiting.latest)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Do what waits, now (at the daemon's end), as far as the time goes; the next start finds the rest by itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await _do(self._waiting.pop(0).chore)


async def _do(chore: Chore) -> None:
    try:
        await chore()
    except (OrlopError, OSError) as error:
        log.warning("Cannot clean up: %s", in_words(error))
