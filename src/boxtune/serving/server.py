"""Listening on an address, and uvicorn on it until it is stopped."""

import asyncio
import ctypes
import gc
import ipaddress
import socket
import sys
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from boxtune.errors import ConfigError, printable
from boxtune.load import Model
from boxtune.serving.app import build
from boxtune.serving.connection import connection_within
from boxtune.serving.limits import Limits
from boxtune.serving.metrics import Metrics
from boxtune.serving.pipeline import Pipeline

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names of this machine, for itself."""

_M_ARENA_MAX, _POOLS = -8, 2  # malloc.h
_M_MMAP_THRESHOLD, _LARGE = -3, 8 * 2**20
_BACKLOG = 128
_KEEP_ALIVE_SECONDS = 5


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address, which does not listen yet; port 0 takes any that is free.

    Raises:
        ConfigError: if the address is not this machine's, or taken.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except OSError as error:
        if listener:
            listener.close()
        raise ConfigError(
            f"{host}, port {port}: {error.strerror or error}. Give another --port, or a --host of this machine"
        ) from error


def address_of(listener: socket.socket) -> str:
    """Return the address of a server as a browser takes it."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def run(
    model: Model,
    listener: socket.socket,
    limits: Limits,
    *,
    host: str,
    token: str | None,
    shown_token: str | None,
) -> None:
    """Serve a model on a bound socket until this is interrupted.

    Args:
        model: what finds objects.
        listener: as `bound` returns it.
        limits: what is taken at most.
        host: as the user has named the address.
        token: that a request has to bring; None if there is none.
        shown_token: the token, if it may be printed.

    Raises:
        KeyboardInterrupt: when it was interrupted, and what was under way is answered.
    """
    metrics = Metrics()
    with Pipeline(model, limits, metrics) as pipeline:
        hosts = list(dict.fromkeys((*LOOPBACK, host)))
        app = build(model, pipeline, limits, metrics, token=token, hosts=hosts)
        # What is there now stays. Left to itself, Python goes through all of it before it gives up a circle of objects
        # of a request, and so hardly ever does.
        gc.collect()
        gc.freeze()
        server = Server(app, limits, _ready(model, listener, token, shown_token))
        server.run([listener])
    if server.should_exit:  # by a signal that is ignored otherwise, as those of background jobs are
        raise KeyboardInterrupt


def _ready(model: Model, listener: socket.socket, token: str | None, shown_token: str | None) -> str:
    behind = f"?token={shown_token}" if shown_token else ""
    hint = " (behind the address: ?token= and the token)" if token and not shown_token else ""
    return f"Serving {printable(str(model.path))} at {address_of(listener)}{behind}{hint}. Ctrl-C stops it."


def keep_memory_small() -> None:
    """Have glibc, where it is that, give back the memory of large images at once, and keep few pools of the rest.

    By itself it has eight pools for each core, which only grow, and puts ever larger pieces into them. To be called
    before there are threads.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, _POOLS)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready, and when it stops."""

    def __init__(self, app: ASGIApp, limits: Limits, ready: str) -> None:
        config = uvicorn.Config(
            app,
            http=connection_within(limits),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",  # what is refused is told by the app, in a line
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=round(limits.receive_seconds + limits.answer_seconds) + 1,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        print(self._ready, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and end."""
        if self.server_state.tasks:
            print("boxtune: answering what is under way; Ctrl-C quits at once", file=sys.stderr, flush=True)
        await super().shutdown(sockets=sockets)
        await asyncio.sleep(0)  # what was cancelled ends
