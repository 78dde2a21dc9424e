"""Which processes train together, and their coming together before the first step.

Source of the convention: TensorFlow's TF_CONFIG, as its MultiWorkerMirroredStrategy reads it:

    {"cluster": {"worker": ["one.example:2222", "two.example:2222"]}, "task": {"type": "worker", "index": 0}}
"""

import json
import os
import re
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from boxtune.errors import BoxtuneError, ConfigError

TF_CONFIG = "TF_CONFIG"

MAX_WORKERS = 1024

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_HELLO = re.compile(rb"boxtune worker (\d{1,4}) of (\d{1,4})\n")
_GO = b"go\n"
_PAUSE, _ANSWER = 0.2, 5.0
"""Seconds between two tries, and for a line to come."""


@dataclass(frozen=True)
class Cluster:
    """The processes that train together."""

    addresses: tuple[str, ...]
    """As host:port, the chief first."""
    rank: int
    """Which of them this process is."""

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.addresses)

    @property
    def local_rank(self) -> int:
        """How many of those before this one run on its host: the number of its device there."""
        hosts = [_host_and_port(address)[0] for address in self.addresses]
        return hosts[: self.rank].count(hosts[self.rank])


def cluster_from_environment() -> Cluster | None:
    """Read TF_CONFIG; return None if it is not set or names no other process than this one.

    Raises:
        ConfigError: if it is none, or has tasks that boxtune does not.
    """
    text = os.environ.get(TF_CONFIG, "")
    if not text.strip():
        return None
    try:
        content = json.loads(text)
        jobs = {str(job): [str(one) for one in addresses] for job, addresses in content["cluster"].items()}
        kind, index = str(content["task"]["type"]), content["task"]["index"]
        if type(index) is not int:
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            'TF_CONFIG is not of the form {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", '
            f'"index": 0}}}}: {text[:200]}. Mend or unset it'
        ) from error
    return _checked(jobs, kind, index)


def _checked(jobs: dict[str, list[str]], kind: str, index: int) -> Cluster | None:
    others = sorted({*jobs, kind} - {"chief", "worker"})
    if others:
        raise ConfigError(
            f'TF_CONFIG has "{others[0][:50]}": there are only "chief" and "worker". The chief evaluates on its way, '
            "and `boxtune evaluate` needs no TF_CONFIG"
        )
    chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
    addresses = (*chiefs, *workers)
    if len(chiefs) > 1 or not 0 < len(addresses) <= MAX_WORKERS:
        raise ConfigError(
            f"TF_CONFIG names {len(chiefs)} chiefs and {len(workers)} workers; there is one chief at most, and they "
            f"are 1 to {MAX_WORKERS} together"
        )
    for address in addresses:
        found = _ADDRESS.fullmatch(address)
        if not found or not 0 < int(found[2]) < 2**16 or addresses.count(address) > 1:
            raise ConfigError(f'TF_CONFIG: "{address[:200]}" is no HOST:PORT, or stands there twice')
    if not 0 <= index < len(jobs.get(kind, [])):
        raise ConfigError(f'TF_CONFIG: there is no "{kind}" number {index}; they are counted from 0')
    rank = index + (len(chiefs) if kind == "worker" else 0)
    return Cluster(addresses, rank) if len(addresses) > 1 else None


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def meet(cluster: Cluster, limit_seconds: float) -> None:
    """Wait until all processes of a cluster are there, at the chief's address; then that is free again.

    A process that is still in an earlier run, since it has not noticed yet that others are gone, does not count as
    there. One that comes and dies is waited for again.

    Raises:
        BoxtuneError: naming who is missing, if they are not all there within `limit_seconds`.
    """
    deadline = time.monotonic() + limit_seconds
    if cluster.rank:
        _report(cluster, deadline)
    else:
        _wait_for_all(cluster, deadline)


def _wait_for_all(cluster: Cluster, deadline: float) -> None:
    """Let all others come, then send them off."""
    there: dict[int, socket.socket] = {}
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(cluster.addresses[0], deadline))
        while missing := _missing(there, cluster.count):
            named = ", ".join(f"{rank} ({cluster.addresses[rank]})" for rank in missing)
            _check_time(
                deadline, f"Worker 0 of {cluster.count} waited in vain for worker {named}; start that, too"
            )
            with suppress(OSError):
                connection, _ = listener.accept()
                rank = _rank_of(connection, cluster.count)
                if rank is None:
                    connection.close()
                else:
                    there[rank] = stack.enter_context(connection)
        listener.close()
        with suppress(OSError):
            for connection in there.values():
                connection.sendall(_GO)
            for connection in there.values():
                connection.recv(1)  # they leave first: so the address can be used again at once


def _missing(there: dict[int, socket.socket], count: int) -> list[int]:
    """Return who of the others is not there, or not any more."""
    for rank in [rank for rank, connection in there.items() if not _is_open(connection)]:
        del there[rank]
    return [rank for rank in range(1, count) if rank not in there]


def _is_open(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(_ANSWER)


def _rank_of(connection: socket.socket, count: int) -> int | None:
    """Return who is speaking, None if it is no other worker of this cluster, or says nothing."""
    connection.settimeout(_ANSWER)
    try:
        found = _HELLO.fullmatch(_line(connection))
    except OSError:
        return None
    if not found or int(found[2]) != count or not 0 < int(found[1]) < count:
        return None
    return int(found[1])


def _listener(address: str, deadline: float) -> socket.socket:
    """Return a socket that listens at the port of `address`, as TensorFlow will: on every interface."""
    _, port = _host_and_port(address)
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    while True:
        try:
            listener = socket.create_server(
                ("", port), family=family, dualstack_ipv6=both, backlog=MAX_WORKERS
            )
        except OSError as error:
            _check_time(deadline, f"The chief's port {port} ({address}) cannot be used: {error.strerror}")
            time.sleep(_PAUSE)
        else:
            listener.settimeout(_PAUSE)
            return listener


def _report(cluster: Cluster, deadline: float) -> None:
    """Tell the chief that this worker is there, until he says go."""
    host, port = _host_and_port(cluster.addresses[0])
    hello = f"boxtune worker {cluster.rank} of {cluster.count}\n".encode()
    reason = "he answers nothing, and may be in an earlier run"
    while True:
        _check_time(
            deadline,
            f"Worker {cluster.rank} of {cluster.count} waited in vain for the chief, worker 0 "
            f"({cluster.addresses[0]}), or for another worker: {reason}",
        )
        try:
            with socket.create_connection((host, port), timeout=_ANSWER) as connection:
                connection.sendall(hello)
                connection.settimeout(max(deadline - time.monotonic(), _PAUSE))
                if _line(connection) == _GO:
                    return
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(_PAUSE)


def _line(connection: socket.socket) -> bytes:
    """Return a line, or what came of it."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 64 and (byte := connection.recv(1)):
        line += byte
    return line


def _check_time(deadline: float, message: str) -> None:
    if time.monotonic() > deadline:
        raise BoxtuneError(message)
