"""Who trains together, and how they come together."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import patience
from boxtune.errors import BoxtuneError, ConfigError
from boxtune.training import cluster as cluster_module
from boxtune.training.cluster import TF_CONFIG, Cluster, cluster_from_environment, meet

ADDRESSES = ["one.example:2222", "two.example:2222", "two.example:2223"]


def set_tf_config(monkeypatch, cluster, kind, index):
    monkeypatch.setenv(TF_CONFIG, json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))


def test_workers(monkeypatch):
    set_tf_config(monkeypatch, {"worker": ADDRESSES}, "worker", 2)
    assert cluster_from_environment() == Cluster(tuple(ADDRESSES), 2)


def test_a_chief_is_the_first(monkeypatch):
    cluster = {"worker": ADDRESSES[1:], "chief": ADDRESSES[:1]}
    set_tf_config(monkeypatch, cluster, "worker", 1)
    assert cluster_from_environment() == Cluster(tuple(ADDRESSES), 2)
    set_tf_config(monkeypatch, cluster, "chief", 0)
    assert cluster_from_environment() == Cluster(tuple(ADDRESSES), 0)


@pytest.mark.parametrize(("rank", "local"), [(0, 0), (1, 0), (2, 1)])
def test_the_workers_of_a_host_count_its_devices(rank, local):
    assert Cluster(tuple(ADDRESSES), rank).local_rank == local


def test_one_alone_is_no_cluster(monkeypatch):
    monkeypatch.delenv(TF_CONFIG, raising=False)
    assert cluster_from_environment() is None
    set_tf_config(monkeypatch, {"worker": ADDRESSES[:1]}, "worker", 0)
    assert cluster_from_environment() is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"cluster": 3}', '{"cluster": {}, "task": {"type": "worker"}}']
)
def test_an_invalid_tf_config(monkeypatch, text):
    monkeypatch.setenv(TF_CONFIG, text)
    with pytest.raises(ConfigError, match="TF_CONFIG is not of the form"):
        cluster_from_environment()


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "message"),
    [
        ({"worker": ADDRESSES, "ps": ["a:1"]}, "worker", 0, 'has "ps"'),
        ({"worker": ADDRESSES}, "evaluator", 0, 'has "evaluator"'),
        ({"worker": ADDRESSES}, "worker", 3, 'no "worker" number 3'),
        ({"worker": ADDRESSES}, "worker", -1, 'no "worker" number -1'),
        ({"worker": ADDRESSES}, "chief", 0, 'no "chief" number 0'),
        ({"worker": ["a:1"], "chief": ["b:1", "c:1"]}, "worker", 0, "2 chiefs"),
        ({"worker": []}, "worker", 0, "0 workers"),
        ({"worker": ["a:1", "a:1"]}, "worker", 0, "stands there twice"),
        ({"worker": ["a:1", "b"]}, "worker", 0, '"b" is no HOST:PORT'),
        ({"worker": ["a:1", "b:65536"]}, "worker", 0, "no HOST:PORT"),
        ({"worker": ["a:1", "b c:1"]}, "worker", 0, "no HOST:PORT"),
    ],
)
def test_invalid_values(monkeypatch, cluster, kind, index, message):
    set_tf_config(monkeypatch, cluster, kind, index)
    with pytest.raises(ConfigError, match=message):
        cluster_from_environment()


@pytest.fixture
def addresses():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return (f"127.0.0.1:{server.getsockname()[1]}", "127.0.0.1:1", "127.0.0.1:2")


@pytest.fixture
def clock(monkeypatch):
    """Time that passes while a meeting sleeps, and when a test says so, however busy the machine is."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(cluster_module, "time", clock)
    return clock


def say(address, words):
    """Connect to an address as soon as somebody listens there, and speak; return the open connection."""
    host, port = address.split(":")
    while True:
        try:
            connection = socket.create_connection((host, int(port)), timeout=patience.SECONDS)
        except OSError:
            time.sleep(0.01)
        else:
            connection.sendall(words)
            return connection


def test_all_meet_and_leave_the_address_free(addresses):
    with ThreadPoolExecutor() as pool:
        for _ in range(2):
            met = [pool.submit(meet, Cluster(addresses, rank), patience.SECONDS) for rank in (2, 1, 0)]
            for one in met:
                one.result()


def test_who_came_and_died_is_waited_for(addresses):
    with ThreadPoolExecutor() as pool:
        chief = pool.submit(meet, Cluster(addresses, 0), patience.SECONDS)
        say(addresses[0], b"boxtune worker 1 of 3\n").close()
        second = pool.submit(meet, Cluster(addresses, 2), patience.SECONDS)
        time.sleep(0.5)
        assert not chief.done()
        assert not second.done()
        pool.submit(meet, Cluster(addresses, 1), patience.SECONDS).result()
        chief.result()
        second.result()


@pytest.mark.parametrize(
    "words", [b"", b"GET / HTTP/1.0\n", b"boxtune worker 2 of 4\n", b"boxtune worker 0 of 3\n", b"x" * 99]
)
def test_strangers_are_not_counted(addresses, words, clock, monkeypatch):
    monkeypatch.setattr(cluster_module, "_ANSWER", 0.5)
    with ThreadPoolExecutor() as pool:
        chief = pool.submit(meet, Cluster(addresses, 0), 1.0)
        with say(addresses[0], words) as connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""  # he hangs up
        clock.now = 2.0
        with pytest.raises(
            BoxtuneError, match=r"waited in vain for worker 1 \(127.0.0.1:1\), 2 \(127.0.0.1:2\)"
        ):
            chief.result()


@pytest.mark.usefixtures("clock")
def test_a_chief_who_does_not_come_or_answer(addresses):
    with pytest.raises(BoxtuneError, match=r"Worker 1 of 3 waited in vain for the chief.*refused"):
        meet(Cluster(addresses, 1), 0.5)
    # Such as TensorFlow's server of an earlier run.
    host, port = addresses[0].split(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(BoxtuneError, match="waited in vain for the chief"),
    ):
        meet(Cluster(addresses, 1), 0.5)


@pytest.mark.usefixtures("clock")
def test_a_port_that_is_taken(addresses):
    host, port = addresses[0].split(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(BoxtuneError, match=f"port {port} .*cannot be used"),
    ):
        meet(Cluster(addresses, 0), 0.5)
