"""A connection to the keeper, on the keeper's side: requests come in, replies and events go out. Import-light.

A request is {"id": 7, "verb": "start", ...}; its reply {"id": 7, ...} or {"id": 7, "error": message, "kind": a class of
spec.errors, "exit_code": 127}; an event {"event": "exit", ...}.
"""

from __future__ import annotations

import json

from orlop.runtime import loop as events
from orlop.runtime.messages import Inbox, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from orlop.runtime.loop import Loop


class Client:
    """One connection. `on_request` is called with each request and its descriptors, `on_gone` once."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        on_request: Callable[[Client, dict[str, Any], list[int]], None],
        on_gone: Callable[[Client], None],
    ) -> None:
        connection.setblocking(False)
        self._loop, self._socket, self._on_request, self._on_gone = loop, connection, on_request, on_gone
        self._inbox, self._waiting = Inbox(), b""
        self.listens = False  # wants events
        loop.watch(connection.fileno(), events.READ, self._on_event)

    def send(self, document: dict[str, Any]) -> None:
        """Send a reply or an event; what does not fit now follows later."""
        data = frame(json.dumps(document, separators=(",", ":")).encode())
        if self._waiting:
            self._waiting += data
        else:
            self._waiting = data
            self._flush()

    def _flush(self) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            self._waiting = self._waiting[self._socket.send(self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            return self._drop()
        self._loop.change(self._socket.fileno(), events.READ | (events.WRITE if self._waiting else 0))
        return None

    def _on_event(self, mask: int) -> None:
        if mask & events.WRITE:
            self._flush()
        if mask & (events.READ | events.HANGUP) and self._socket.fileno() >= 0:
            self._receive()

    def _receive(self) -> None:
        try:
            alive = self._inbox.receive(self._socket)
            for payload, fds in self._inbox.messages():
                self._on_request(self, json.loads(payload), fds)
        except BlockingIOError:
            return
        except (OSError, ValueError):  # it has gone, or is none of ours
            alive = False
        if not alive:
            self._drop()

    def _drop(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._waiting = b""
            self._on_gone(self)
