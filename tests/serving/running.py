"""A server in a thread, with a model that can be held up, and a client of the standard library."""

import contextlib
import http.client
import json
import socket
import threading
from typing import NamedTuple

import patience
from boxtune.serving import server as serving
from boxtune.serving.app import build
from boxtune.serving.metrics import Metrics
from boxtune.serving.pipeline import Pipeline

HOST = "127.0.0.1"


class HeldModel:
    """A model as it is, which waits while it is held, and remembers how many images it was given at a time."""

    def __init__(self, model):
        self.path, self.names, self.thresholds = model.path, model.names, model.thresholds
        self.asked, self.may_go_on = threading.Event(), threading.Event()
        self.reset()
        self._model = model

    def reset(self):
        self.given, self.error = [], None
        self.asked.clear()
        self.may_go_on.set()

    @contextlib.contextmanager
    def holding(self):
        self.may_go_on.clear()
        try:
            yield
        finally:
            self.may_go_on.set()

    def __call__(self, images, **options):
        return self._model(images, **options)

    def stream(self, images, **options):
        self.given.append(len(images))
        self.asked.set()
        assert self.may_go_on.wait(patience.SECONDS)
        for image in images:
            if self.error and image[0, 0, 0] == 13:
                raise self.error
            yield from self._model.stream([image], **options)


class Reply(NamedTuple):
    status: int
    headers: dict
    text: str

    @property
    def error(self):
        return json.loads(self.text)["error"]

    @property
    def images(self):
        return json.loads(self.text)["images"]


class Running:
    """A server that answers."""

    def __init__(self, model, port, server, metrics, pipeline):
        self.model, self.port, self.server, self.metrics, self.pipeline = (
            model,
            port,
            server,
            metrics,
            pipeline,
        )

    def ask(self, path, body=None, *, method=None, **headers):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=patience.SECONDS)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, text)

    def detect(self, *images, query="", **headers):
        """Send images as the files of a form, named a0.png, a1.png, ..."""
        return self.ask(f"/detect{query}", form(*images), Content_Type=FORM, **headers)

    def connect(self):
        connection = socket.create_connection((HOST, self.port))
        connection.settimeout(patience.SECONDS)
        return connection

    def value(self, name):
        """Return one of the metrics."""
        lines = self.metrics.text().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


FORM = "multipart/form-data; boundary=between"


def form(*images, names=None):
    names = names or [f"a{number}.png" for number in range(len(images))]
    parts = [
        b'--between\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), image)
        for name, image in zip(names, images, strict=True)
    ]
    return b"".join(parts) + b"--between--\r\n"


@contextlib.contextmanager
def half_sent(server, count, length):
    """Hold so many requests of which the last byte is missing."""
    head = f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(server.connect()).sendall(head.encode() + bytes(length - 1))
        yield


def said(connection):
    """Return status and body of what comes on a connection until its end."""
    with connection.makefile("rb") as file:
        head, _, body = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@contextlib.contextmanager
def running(model, limits, token=None, host=HOST):
    metrics = Metrics()
    listener = serving.bound(HOST, 0)
    with contextlib.closing(listener), Pipeline(model, limits, metrics) as pipeline:
        app = build(model, pipeline, limits, metrics, token=token, hosts=[*serving.LOOPBACK, host])
        server = serving.Server(app, limits, "ready")
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        patience.wait_until(lambda: server.started)
        try:
            yield Running(model, port, server, metrics, pipeline)
        finally:
            model.may_go_on.set()
            server.should_exit = True
            thread.join()
