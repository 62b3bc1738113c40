"""When and in which thread the kernel does what `wiring` decided, and the loop that uses quiet moments.

The kernel has one lock for all network changes and may keep it for many milliseconds while it takes something down. So most
acts happen in a thread of this part's own, one after another. A short act goes without that detour (it takes 0.3 ms to wake
a thread) when nothing was taken down lately.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from orlop.network.sandboxes import Pool, Sandbox
from orlop.spec.errors import Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

_FILL_AFTER_SECONDS = 0.01  # of quiet, when the pool lacks something
_DESTROY_AFTER_SECONDS = 0.5
_DESTROY_AT = 64  # released namespaces, however busy it is
_UNREST_SECONDS = 0.25  # how long the kernel may be busy with what was destroyed


class Turns:
    """The order of acts. To be used in the event loop's thread."""

    def __init__(self, pool: Pool, make_ready: Callable[[str], Sandbox]) -> None:
        self._pool = pool
        self._make_ready = make_ready
        self._thread = ThreadPoolExecutor(1, "orlop-network")
        self._chores = ThreadPoolExecutor(1, "orlop-network-chores")
        self._later: set[asyncio.Future[Any]] = set()
        self._stirred = asyncio.Event()
        self._last_act = self._last_end = 0.0

    async def act(self, act: Callable[..., T], *arguments: Any, short: bool = False) -> T:
        """Let the kernel do something, in its turn."""
        self._last_act = time.monotonic()
        if short and not self._later and self._last_act - self._last_end > _UNREST_SECONDS:
            return act(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, act, *arguments)

    def act_later(self, act: Callable[..., T], *arguments: Any, then: Callable[[T | None], None]) -> None:
        """Let the kernel do something while the caller goes on; `then` takes the outcome, None of a failure (it is logged)."""
        self._last_act = time.monotonic()
        future = asyncio.get_running_loop().run_in_executor(self._thread, act, *arguments)
        self._later.add(future)

        def settle(done: asyncio.Future[T]) -> None:
            self._later.discard(done)
            if error := done.exception():
                log.error("Cannot release a container's network: %s", error)
            then(None if error else done.result())

        future.add_done_callback(settle)

    async def settled(self) -> None:
        """What was to be done later is done: what it frees is free."""
        while self._later:
            await asyncio.wait(self._later)

    async def _chore(self, act: Callable[..., T], *arguments: Any) -> T:
        """Let the kernel do something for which nobody waits."""
        return await asyncio.get_running_loop().run_in_executor(self._chores, act, *arguments)

    def stir(self) -> None:
        """There may be something to do for the loop."""
        self._stirred.set()

    async def tend(self) -> None:
        """The loop: keep the pool full and destroy what was released, when nobody waits for the kernel."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while (pause := await self._use_the_moment()) is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stirred.wait()
                self._stirred.clear()

    async def _use_the_moment(self) -> float | None:
        """Do one thing, if now is the time for it; in how many seconds to look again, None: nothing is to be done."""
        quiet = time.monotonic() - self._last_act
        if (bridge := next(self._pool.lacking(), None)) is not None:
            if quiet < _FILL_AFTER_SECONDS:
                return _FILL_AFTER_SECONDS - quiet
            await self._fill(bridge)
            return 0
        if not self._pool.released:
            return None
        if quiet < _DESTROY_AFTER_SECONDS and self._pool.released < _DESTROY_AT:
            return _DESTROY_AFTER_SECONDS - quiet
        self._last_end = time.monotonic()
        await self._chore(self._pool.destroy_released)
        return 0

    async def _fill(self, bridge: str) -> None:
        try:
            self._pool.put(await self._chore(self._make_ready, bridge))
        except (OSError, Unavailable) as error:
            log.warning("Cannot prepare a network namespace for %s: %s", bridge or "containers", error)
            self._pool.forget(bridge)

    async def close(self) -> None:
        """Finish what is under way and destroy what waits."""
        await self.settled()
        self._chores.shutdown()
        self._thread.shutdown()
        self._pool.close()
