"""The keeper's event loop: descriptors, timers, and work that waits for an idle moment. epoll(7). Import-light."""

from __future__ import annotations

import select
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE, HANGUP, EDGE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR, select.EPOLLET
_IDLE_SECONDS = 0.02  # nothing happened for so long: time for what is lazy
_MOST_LAZY = 64  # beyond this the lazy things are done although it is never idle


class Loop:
    """One thread, one epoll. A callback that raises ends the loop: what may fail is caught where it fails."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, tuple[int, Callable[[int], None]]] = {}  # with the round in which it was registered
        self._round = 0
        self._soon: deque[Callable[[], object]] = deque()
        self._lazy: deque[Callable[[], bool]] = deque()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._running = True

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the events of a descriptor; HANGUP always counts."""
        self._callbacks[fd] = self._round, callback
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching (before closing). Idempotent."""
        if self._callbacks.pop(fd, None):
            self._epoll.unregister(fd)

    def soon(self, callback: Callable[[], object]) -> None:
        """Call in the next round: after the descriptors that are ready now have had their turn."""
        self._soon.append(callback)

    def lazily(self, callback: Callable[[], bool]) -> None:
        """Call in an idle moment, again and again until it says True."""
        self._lazy.append(callback)

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call later, once."""
        self._timers.append((time.monotonic() + seconds, callback))
        self._timers.sort(key=lambda timer: timer[0])

    def stop(self) -> None:
        """End `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            events = self._epoll.poll(self._patience())
            self._round += 1
            for fd, mask in events:
                since, callback = self._callbacks.get(fd, (self._round, None))
                if callback and since < self._round:  # else the event is of one that was just closed, not of its successor
                    callback(mask)
            for _ in range(len(self._soon)):
                self._soon.popleft()()
            if self._timers:
                self._run_timers()
            if self._lazy and ((not events and not self._soon) or len(self._lazy) > _MOST_LAZY):
                self._run_lazy()

    def _patience(self) -> float:
        if self._soon:
            return 0
        wait = _IDLE_SECONDS if self._lazy else -1
        if self._timers:
            due = max(self._timers[0][0] - time.monotonic(), 0)
            wait = due if wait < 0 else min(wait, due)
        return wait

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._timers.pop(0)[1]()

    def _run_lazy(self) -> None:
        callback = self._lazy.popleft()
        if not callback():
            self._lazy.append(callback)
