"""Who may ask a server, and how a request is refused: around the app, before any of it runs.

A server for this machine alone is reached by every page that a browser on it shows. So without a token, which no other
page knows, the Host of a request has to be one of this machine's names (else a page whose name was turned to 127.0.0.1
could read the answers), and what another page sends is refused.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import SplitResult, parse_qs, urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boxtune.errors import printable
from boxtune.serving.limits import RefusedError
from boxtune.serving.metrics import Metrics

OPEN = ("/health",)
"""What is answered without a token."""

PAGE = "/"
"""Where a token may stand in the address, too: a browser sends no other."""

CLIENT_GONE = 499
"""The status of an answer that nobody reads."""

_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "content-security-policy": _NOTHING,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",  # the address of the page may hold a token
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_TOO_SLOW = 408
_LINGER_SECONDS = 2.0

_log = logging.getLogger("boxtune")


def refusal(scope: Scope, error: RefusedError) -> JSONResponse:
    """Return the answer that refuses a request, and log it in a line; without the query, which may hold a token."""
    path = printable(scope["path"])
    _log.warning("%s %s: %d: %s", scope["method"], path, error.status, printable(str(error)))
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": str(error)}, error.status, headers)


class Guard:
    """The ASGI app around another one that refuses who may not ask, counts the answers, and adds headers to them.

    Args:
        app: what answers.
        metrics: which it counts.
        token: that a request has to bring; None if there is none.
        hosts: the names by which it may be called where there is no token, without the port.
        paths: of the app; others are counted as one.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        token: str | None,
        hosts: Collection[str],
        paths: Collection[str],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._token = token
        self._hosts = hosts
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            self._admit(scope["method"], scope["path"], exchange.headers, scope["query_string"])
            await self._app(scope, exchange.receive, exchange.send)
        except RefusedError as error:
            await refusal(scope, error)(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the server stops, and waits no longer
            exchange.lingers = False
            stops = RefusedError(503, "the server stops at once. Ask it when it runs again")
            await refusal(scope, stops)(scope, exchange.receive, exchange.send)
        except Exception:  # it has been answered: what is left is to say where the fault lies
            _log.exception("%s %s failed", scope["method"], printable(scope["path"]))
        self._count(scope["path"], exchange.status)

    def _admit(self, method: str, path: str, headers: Headers, query: bytes) -> None:
        """Raise RefusedError for a request that may not be made."""
        if self._token is None:
            self._refuse_pages(method, headers)
        elif path not in OPEN and not self._is_known(path, headers, query):
            raise RefusedError(
                401,
                "the token is missing or wrong: send it as Authorization: Bearer TOKEN, or open /?token=TOKEN",
            )

    def _refuse_pages(self, method: str, headers: Headers) -> None:
        """Raise RefusedError for what the page of another server may have sent."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if _split(f"//{host}").hostname not in self._hosts:
            raise RefusedError(
                403,
                f'the Host is "{printable(host)}"; without a token this server is called {" or ".join(self._hosts)}',
            )
        if origin is not None and method not in ("GET", "HEAD") and _split(origin).netloc != host:
            raise RefusedError(
                403, f'a page of "{printable(origin)}" asks; without a token only the page of this server may'
            )

    def _is_known(self, path: str, headers: Headers, query: bytes) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        tokens = [given.strip()] if scheme.lower() == "bearer" else []
        if path == PAGE:
            tokens += parse_qs(query.decode("latin-1")).get("token", [])
        return any(secrets.compare_digest(one.encode(), str(self._token).encode()) for one in tokens)

    def _count(self, path: str, status: int | None) -> None:
        if status in (None, CLIENT_GONE):
            self._metrics.abandoned.inc()
        else:
            self._metrics.requests.labels(path if path in self._paths else "other", str(status)).inc()


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


class _Exchange:
    """A request and its answer: whether its body was read to the end, and which status it got."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = Headers(scope=scope)
        self.status: int | None = None
        self.lingers = True
        self._receive = receive
        self._send = send
        has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        self._is_read = not has_body

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_read = self._is_read or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.lingers and self.status != _TOO_SLOW:
                await self._linger()
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if not self._is_read:
                headers["connection"] = "close"  # what still comes is not the next request
        await self._send(message)

    async def _linger(self) -> None:
        """Read what the client is still sending, for a moment: a connection closed before loses the answer.

        None that waits to be told to go on: to it the answer is enough.
        """
        if self._is_read or self.headers.get("expect", "").lower() == "100-continue":
            return
        until = time.monotonic() + _LINGER_SECONDS
        with suppress(TimeoutError):
            while not self._is_read and (left := until - time.monotonic()) > 0:
                await asyncio.wait_for(self.receive(), left)
