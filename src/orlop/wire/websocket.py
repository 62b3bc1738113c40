"""A hijacked connection that speaks WebSocket (RFC 6455) instead of raw bytes: attach from a browser."""

import asyncio
import base64
import hashlib
import struct
from typing import Any, cast

from orlop.spec.errors import InvalidArgument
from orlop.wire.route import Hijack, Request, Session
from orlop.wire.splice import Splice

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LARGEST_FRAME = 1024 * 1024
FINAL, MASKED = 0x80, 0x80


def check_handshake(request: Request) -> None:
    """Raises InvalidArgument when the request does not ask for a WebSocket."""
    if request.headers.get("upgrade", "").lower() != "websocket" or not request.headers.get("sec-websocket-key"):
        raise InvalidArgument("not a websocket handshake: use Upgrade: websocket and Sec-WebSocket-Key")


def accept(request: Request, splice: Splice) -> Hijack:
    """The reply to a client's handshake."""
    key = request.headers["sec-websocket-key"]
    answer = base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()
    return Hijack(WebSocket(splice), "", "websocket", (("Sec-WebSocket-Accept", answer),))


def pack(opcode: int, payload: bytes) -> bytes:
    """One frame as a server sends it: final, not masked."""
    size = len(payload)
    if size < 126:
        return bytes((FINAL | opcode, size)) + payload
    if size < 65536:
        return struct.pack(">BBH", FINAL | opcode, 126, size) + payload
    return struct.pack(">BBQ", FINAL | opcode, 127, size) + payload


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with a mask of four bytes, at the speed of one big integer."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


class _Framing(asyncio.Transport):
    """What the splice takes for its connection: writes become WebSocket frames."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    def write(self, data: Any) -> None:
        if data:
            self._transport.write(pack(BINARY, data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._transport.write(pack(CLOSE, struct.pack(">H", 1000)))

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class WebSocket(Session):
    """Unpacks what the client sends for a splice, and packs what the splice sends."""

    def __init__(self, splice: Splice) -> None:
        self._splice = splice
        self._input = b""
        self._transport: asyncio.Transport

    async def run(self) -> None:
        await self._splice.run()

    async def close(self) -> None:
        await self._splice.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._splice.connection_made(_Framing(self._transport))

    def data_received(self, data: bytes) -> None:
        self._input += data
        while (frame := self._take()) is not None:
            opcode, payload = frame
            if opcode in (CONTINUATION, TEXT, BINARY):
                self._splice.data_received(payload)
            elif opcode == PING:
                self._transport.write(pack(PONG, payload))
            elif opcode == CLOSE:
                self._hang_up(1000)
                return

    def _take(self) -> tuple[int, bytes] | None:
        """The next whole frame. A client's frames are masked and, here, not without bounds."""
        data = self._input
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start], "big")
        if not data[1] & MASKED or size > LARGEST_FRAME:
            self._hang_up(1009 if data[1] & MASKED else 1002)
            return None
        end = start + 4 + size
        if len(data) < end:
            return None
        self._input = data[end:]
        return data[0] & 0x0F, unmask(data[start + 4 : end], data[start : start + 4])

    def _hang_up(self, code: int) -> None:
        self._input = b""
        self._transport.write(pack(CLOSE, struct.pack(">H", code)))
        self._transport.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._splice.connection_lost(exc)

    def pause_writing(self) -> None:
        self._splice.pause_writing()

    def resume_writing(self) -> None:
        self._splice.resume_writing()
