"""TLS on the server's side with half-close: a client that has ended its input (close_notify) still gets the output.

asyncio's own TLS closes both directions at once, which would lose what `echo x | docker run -i …` prints over TCP.
"""

import asyncio
import logging
import ssl
from typing import Any, cast

from orlop.wire.connection import Connection, Site

log = logging.getLogger(__name__)

READ_SIZE = 256 * 1024
HANDSHAKE_SECONDS = 10.0


class TlsTransport(asyncio.Transport):
    """What a Connection takes for its transport: encrypts on the way down."""

    def __init__(self, lower: asyncio.Transport, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, inner: asyncio.Protocol) -> None:
        super().__init__()
        self._lower = lower
        self._tls = tls
        self._outgoing = outgoing
        self._eof_sent = False
        self.inner = inner

    def write(self, data: Any) -> None:
        if data and not self._eof_sent:
            self._tls.write(data)
            self.flush()

    def flush(self) -> None:
        """Send what the TLS machine has to say."""
        if self._outgoing.pending:
            self._lower.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say close_notify; the client may go on sending."""
        if self._eof_sent:
            return
        self._eof_sent = True
        try:
            self._tls.unwrap()
        except ssl.SSLError as error:  # SSLWantReadError: the client has not said it too
            log.debug("tls: %s", error)
        self.flush()

    def close(self) -> None:
        self.write_eof()
        self._lower.close()

    def abort(self) -> None:
        self._lower.abort()

    def is_closing(self) -> bool:
        return self._lower.is_closing()

    def pause_reading(self) -> None:
        self._lower.pause_reading()

    def resume_reading(self) -> None:
        self._lower.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.inner = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.inner

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._lower.get_extra_info(name, default)


class Tls(asyncio.Protocol):
    """Sits between the socket and a Connection: handshake first, then decrypts on the way up."""

    def __init__(self, site: Site, context: ssl.SSLContext) -> None:
        self._site = site
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._lower: asyncio.Transport
        self._upper: TlsTransport | None = None  # there once the handshake is done
        self._input_ended = False
        self._impatience: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lower = cast(asyncio.Transport, transport)
        self._impatience = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._lower.abort)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if self._upper is None:
                self._tls.do_handshake()
                self._begin()
            self._pass_up()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as error:
            log.info("tls: %s: %s", self._lower.get_extra_info("peername"), error)
            self._send()  # the alert that says why
            self._lower.close()

    def _begin(self) -> None:
        self._impatience.cancel()
        connection = Connection(self._site)
        self._upper = TlsTransport(self._lower, self._tls, self._outgoing, connection)
        self._upper.flush()
        connection.connection_made(self._upper)

    def _pass_up(self) -> None:
        """Give up all that can be decrypted. Raises SSLWantReadError at its end."""
        assert self._upper
        while not self._input_ended:
            try:
                data = self._tls.read(READ_SIZE)
            except ssl.SSLZeroReturnError:
                data = b""
            if data:
                self._upper.inner.data_received(data)
                continue
            self._input_ended = True
            if not self._upper.inner.eof_received():
                self._upper.close()

    def _send(self) -> None:
        if self._outgoing.pending:
            self._lower.write(self._outgoing.read())

    def eof_received(self) -> bool:
        """The end of the socket: right after close_notify the client may only have closed its half; else it is a loss."""
        return self._input_ended and not self._lower.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._impatience.cancel()
        if self._upper:
            self._upper.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._upper:
            self._upper.inner.pause_writing()

    def resume_writing(self) -> None:
        if self._upper:
            self._upper.inner.resume_writing()
