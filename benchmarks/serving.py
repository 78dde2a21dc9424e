"""The cost of serving a model over HTTP, and whether the memory of a server stays as it is.

    python benchmarks/serving.py MODEL IMAGES [--clients 8] [--seconds 20] [--repeats 3]
    python benchmarks/serving.py MODEL IMAGES --minutes 10 [--seed 0]

The first prints images a second of `boxtune.load(MODEL).stream(...)` over the files of the folder IMAGES, of the verb
`predict`, which draws them, too, and of `boxtune serve MODEL` with so many clients, each in turn and each in a process
of its own; and the ratio of the last to the first. The clients are threads of one process, with a connection each that
is kept; they share the cores with the server.

The second sends requests at random for so many minutes: the largest images first, by all clients, since TensorFlow
keeps the memory that they take; then images of any size, several in one, what is no image, bodies that are cut, clients
that go away. It prints the resident memory of the server at intervals, and how many answers of each status there were;
a status of 500 or a wrong answer ends it.
"""

import argparse
import http.client
import io
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_INTERVALS = 20
_LARGEST_SIDE, _LARGEST_FIRST = 2048, 10
_LIMIT_SIDE = 7000  # a damaged header may tell as many pixels as the server takes: 50 megapixels
_MIN_SCORE, _SCORE_BOUND, _PIXELS = (
    0.1,
    1e-4,
    0.1,
)  # detections that are compared, and how far they may be apart
_PATIENCE = 120
_FORM = "multipart/form-data; boundary=between"
_WATCHED = ("process_resident_memory_bytes", "boxtune_images_total", "process_open_fds")
_STREAM = """
import sys, time, boxtune
from pathlib import Path
files = sorted(Path(sys.argv[2]).iterdir())
model = boxtune.load(sys.argv[1])
list(model.stream(files[:16]))
start, count = time.perf_counter(), 0
while time.perf_counter() - start < float(sys.argv[3]):
    count += sum(1 for _ in model.stream(files))
print(count / (time.perf_counter() - start))
"""
_PREDICT = """
import sys, time, boxtune
from boxtune import onednn
onednn.leave_to_tensorflow()
boxtune.predict(sys.argv[1], next(iter(sorted(__import__("pathlib").Path(sys.argv[2]).iterdir()))), sys.argv[4])
start = time.perf_counter()
found = boxtune.predict(sys.argv[1], sys.argv[2], sys.argv[4])
print(len(found) / (time.perf_counter() - start))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("images", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files = sorted(options.images.iterdir())
    if options.minutes:
        soak(options.model, files, options.minutes, options.clients, options.seed)
    else:
        compare(options.model, files, options.clients, options.seconds, options.repeats)


def compare(model: str, files: list[Path], clients: int, seconds: float, repeats: int) -> None:
    """Print images a second of each way, and the ratio of serving to streaming."""
    found: dict[str, list[float]] = {"stream": [], "predict": [], f"serve, {clients} clients": []}
    stream, predict, serve = found.values()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            stream.append(of_program(_STREAM, model, files[0].parent, seconds, folder))
            predict.append(of_program(_PREDICT, model, files[0].parent, seconds, folder))
        with served(model) as (port, _):
            load(port, files, clients, seconds / 4)
            serve.append(load(port, files, clients, seconds))
    for name, values in found.items():
        told = ", ".join(f"{value:.1f}" for value in values)
        print(f"{name:18} {statistics.median(values):6.1f} images/s ({told})")
    ratios = [one / other for one, other in zip(serve, stream, strict=True)]
    print(f"serve / stream {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


def of_program(code: str, *arguments: object) -> float:
    """Return the number that a Python program prints last."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


@contextmanager
def served(model: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run `boxtune serve`; give its port and its process."""
    command = [sys.executable, "-m", "boxtune", "serve", model, "--port", "0"]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        line = process.stdout.readline() if process.stdout else ""
        address = re.search(r":(\d+)/", line)
        if not address:
            errors.seek(0)
            raise SystemExit(f"the server does not start: {line}{errors.read()}")
        try:
            yield int(address[1]), process
        finally:
            process.terminate()
            process.wait()


def load(port: int, files: list[Path], clients: int, seconds: float) -> float:
    """Send images with so many clients for some time; return the images a second that were answered."""
    bodies = [path.read_bytes() for path in files]
    until = time.perf_counter() + seconds
    counts = [0] * clients

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        for turn in range(number, sys.maxsize, clients):
            if time.perf_counter() > until:
                break
            connection.request("POST", "/detect", bodies[turn % len(bodies)], {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise SystemExit(f"{files[turn % len(files)]}: {answer.status} {answer.read().decode()}")
            answer.read()
            counts[number] += 1
        connection.close()

    start = time.perf_counter()
    together(client, clients)
    return sum(counts) / (time.perf_counter() - start)


def together(work: Callable[[int], None], count: int) -> None:
    """Call `work` with 0, 1, ... in so many threads, and wait for all."""
    threads = [threading.Thread(target=work, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def soak(model: str, files: list[Path], minutes: float, clients: int, seed: int) -> None:
    """Send random requests for some minutes, and print the memory of the server at intervals."""
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    until = time.perf_counter() + 60 * minutes
    with served(model) as (port, _):
        contents = [path.read_bytes() for path in files]
        expected = [found_in(ask(port, form([content]))[1])[0] for content in contents]

        def client(number: int) -> None:
            random_client = RandomClient(port, random.Random(1000 * seed + number), contents, expected)
            random_client.largest()  # so that no more is needed later
            for _ in range(_LARGEST_FIRST):
                random_client.drawn(_LARGEST_SIDE, _LARGEST_SIDE)
            while time.perf_counter() < until and not wrong:
                try:
                    statuses[random_client.send()] += 1
                except WrongAnswer as error:
                    wrong.append(str(error))

        watcher = threading.Thread(target=watch, args=[port, until, 60 * minutes / _INTERVALS, wrong])
        watcher.start()
        together(client, clients)
        watcher.join()
    for name, count in sorted(statuses.items()):
        print(f"{count:8} {name}")
    if wrong:
        raise SystemExit(f"wrong: {wrong[0]}")


def watch(port: int, until: float, pause: float, wrong: list[str]) -> None:
    """Print the memory of a server at intervals."""
    start = time.perf_counter()
    while time.perf_counter() < until and not wrong:
        time.sleep(pause)
        _, text = ask(port, None, path="/metrics", method="GET")
        resident, images, descriptors = (
            float(re.findall(rf"^{name} (\S+)", text, re.MULTILINE)[0]) for name in _WATCHED
        )
        minute = (time.perf_counter() - start) / 60
        print(
            f"{minute:5.1f} min {resident / 2**20:7.1f} MiB {images:8.0f} images {descriptors:3.0f} open files",
            flush=True,
        )


class WrongAnswer(Exception):
    """What a server should not have answered."""


class RandomClient:
    """Sends requests of random kinds.

    Args:
        port: of the server.
        draw: what is random.
        contents: files whose answers are known.
        expected: what is found in each.
    """

    def __init__(self, port: int, draw: random.Random, contents: list[bytes], expected: list[Any]) -> None:
        self._port = port
        self._draw = draw
        self._contents = contents
        self._expected = expected

    def send(self) -> str:
        """Send one; return its kind and the status of its answer."""
        kind = self._draw.choice([self.files, self.drawn, self.no_image, self.cut, self.gone])
        status = kind()
        if status >= 500 and status != 503:
            raise WrongAnswer(f"{kind.__name__}: {status}")
        return f"{kind.__name__} {status or 'given up'}"

    def files(self) -> int:
        """Send some files, and compare the answer."""
        numbers = self._draw.choices(range(len(self._contents)), k=self._draw.choice([1, 1, 1, 2, 8]))
        status, text = ask(self._port, form([self._contents[number] for number in numbers]))
        expected = [self._expected[number] for number in numbers]
        if status == 200 and not all(itertools.starmap(same, zip(found_in(text), expected, strict=True))):
            raise WrongAnswer(f"of the files {numbers}: {text[:1000]}")
        return status

    def drawn(self, width: int = 0, height: int = 0) -> int:
        """Send an image of any format, and of any size that is not given."""
        draw = self._draw
        width, height = (side or round(_LARGEST_SIDE ** draw.uniform(0.25, 1)) for side in (width, height))
        noise = np.random.default_rng(draw.getrandbits(32)).integers(0, 255, (height, width, 3), np.uint8)
        written = io.BytesIO()
        Image.fromarray(noise).save(written, draw.choice(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]))
        return ask(self._port, form([written.getvalue()]))[0]

    def largest(self) -> int:
        """Send an image of as many pixels as the server takes."""
        written = io.BytesIO()
        Image.new("RGB", (_LIMIT_SIDE, _LIMIT_SIDE)).save(written, "JPEG")
        return ask(self._port, form([written.getvalue()]))[0]

    def no_image(self) -> int:
        """Send a file whose bytes are damaged, or noise, under any type."""
        content = bytearray(self._draw.choice(self._contents))
        for _ in range(self._draw.choice([1, 100])):
            content[self._draw.randrange(len(content))] = self._draw.randrange(256)
        body = self._draw.choice([bytes(content), self._draw.randbytes(5000), b""])
        content_type = self._draw.choice(["image/png", "text/html", _FORM, ""])
        return ask(self._port, body, content_type=content_type)[0]

    def cut(self) -> int:
        """Send a part of a body, and go away."""
        body = self._draw.choice(self._contents)
        self._leave(len(body), body[: self._draw.randrange(len(body))])
        return 0

    def gone(self) -> int:
        """Send an image, and go away before the answer."""
        body = self._draw.choice(self._contents)
        self._leave(len(body), body)
        return 0

    def _leave(self, length: int, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        connection.putrequest("POST", "/detect")
        connection.putheader("Content-Length", str(length))
        connection.endheaders(body)
        connection.close()


def ask(
    port: int,
    body: bytes | None,
    *,
    content_type: str = _FORM,
    path: str = "/detect?min_score=0.01",
    method: str = "POST",
) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    connection.request(method, path, body, {"Content-Type": content_type})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def found_in(text: str) -> list[Any]:
    """Return the detections of each image of an answer."""
    return [one["detections"] for one in json.loads(text)["images"]]


def same(found: list[Any], expected: list[Any]) -> bool:
    """Say whether all of the expected detections above _MIN_SCORE were found, but for the rounding of batches."""
    left = [one for one in found if one["score"] > _MIN_SCORE - _SCORE_BOUND]
    for one in expected:
        if one["score"] <= _MIN_SCORE:
            continue
        match = next((other for other in left if _alike(one, other)), None)
        if match is None:
            return False
        left.remove(match)
    return all(one["score"] < _MIN_SCORE + _SCORE_BOUND for one in left)


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (
        one["name"] == other["name"]
        and abs(one["score"] - other["score"]) < _SCORE_BOUND
        and all(abs(one[side] - other[side]) < _PIXELS for side in ("ymin", "xmin", "ymax", "xmax"))
    )


def form(images: list[bytes]) -> bytes:
    """Return images as the files of a form."""
    head = b'--between\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return b"".join(head + image + b"\r\n" for image in images) + b"--between--\r\n"


if __name__ == "__main__":
    main()
