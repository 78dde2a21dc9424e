"""A connection of uvicorn that waits for no client longer than it should, and refuses in JSON what is no request."""

import asyncio
import json
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from boxtune.serving.limits import Limits

MOST_CONNECTIONS = 512

_log = logging.getLogger("boxtune")


def connection_within(limits: Limits) -> type[H11Protocol]:
    """Return the class of connections that wait for the first lines of a request as long as the limits say."""

    class Connection(_Connection):
        seconds = limits.receive_seconds

    return Connection


class _Connection(H11Protocol):
    """Uvicorn itself waits without end for the first lines of a request; the app has the time of its body."""

    seconds: float
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(
                503, f"there are {MOST_CONNECTIONS} connections. Close some, or try again in a moment"
            )
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and look whether the first lines of a request are complete."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def eof_received(self) -> None:
        """Say what is wrong to a client that ends its body before it is whole, and may still be listening."""
        if self.conn.their_state is h11.SEND_BODY and not self.cycle.response_started:
            self._refuse(400, "the body ends before it is whole. Send it again")
        super().eof_received()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read as a request."""
        self._refuse(400, "this cannot be read as a request of HTTP/1.1")

    def _watch(self) -> None:
        """Wait for the first lines of a request where some of them are missing."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._calm()
        elif self._patience is None:
            self._patience = self.loop.call_later(self.seconds, self._give_up)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"the request has not arrived within {self.seconds:g} seconds. Send it faster")

    def _refuse(self, status: int, message: str) -> None:
        """Answer beside the app, and close."""
        self._calm()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        _log.warning("a connection: %d: %s", status, message)
        if self.cycle is not None:
            self.cycle.disconnected = True  # for the app
            self.cycle.message_event.set()
        body = json.dumps({"error": message}).encode()
        headers: list[Any] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(filter(None, map(self.conn.send, events))))
        self.transport.close()
