"""`boxtune serve` as a process: asked by other programs, stopped by signals."""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
import requests

import patience
from serving.red_model import DOG, picture
from serving.running import said


@contextlib.contextmanager
def process(*arguments):
    """Run the command; give the process and the line that it prints when it is ready."""
    command = [sys.executable, "-m", "boxtune", "serve", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as running:
        try:
            yield running, running.stdout.readline()
        finally:
            running.kill()


def connect(line):
    port = int(re.search(r":(\d+)/", line)[1])
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(patience.SECONDS)
    return connection


def send_half(connection, body):
    head = f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 100")  # the server is reading
    connection.sendall(body[:10])


def test_other_programs_ask_and_a_stop_answers_what_is_under_way(exported, tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(picture(204))
    with process(exported, "--port", 0) as (running, line):
        assert re.fullmatch(rf"Serving {exported} at http://127\.0\.0\.1:\d+/\. Ctrl-C stops it\.\n", line)
        address = re.search(r"http\S+/", line)[0]
        by_requests = requests.post(
            f"{address}detect", files=[("image", (path.name, path.read_bytes()))] * 2, timeout=60
        )
        assert [image["name"] for image in by_requests.json()["images"]] == ["a b.png"] * 2
        if curl := shutil.which("curl"):
            command = [curl, "--silent", "--form", f"image=@{path}", f"{address}detect?min_score=0.7"]
            by_curl = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            (image,) = by_curl["images"]
            assert [one["name"] for one in image["detections"]] == [DOG]
        assert requests.get(f"{address}model?token=secret", timeout=60).status_code == 200
        assert requests.get(f"{address}lost?token=secret", timeout=60).status_code == 404
        body = picture(255)
        with connect(line) as connection:
            send_half(connection, body)
            running.send_signal(signal.SIGTERM)
            patience.wait_until(lambda: is_closed(line))
            connection.sendall(body[10:])
            status, answer = said(connection)
        assert status == 200
        assert len(answer["images"][0]["detections"]) == 2
        assert running.wait(patience.SECONDS) == 130
        told = running.stderr.read().splitlines()
        assert told[0].startswith('GET /lost: 404: there is no "/lost" here')
        assert told[1:] == [
            "boxtune: answering what is under way; Ctrl-C quits at once",
            "boxtune: stopped",
        ]


def is_closed(line):
    try:
        connect(line).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.thorough
def test_a_second_interruption_quits(exported):
    with process(exported, "--port", 0) as (running, line), connect(line) as connection:
        send_half(connection, picture(255))
        running.send_signal(signal.SIGINT)
        patience.wait_until(lambda: is_closed(line))
        running.send_signal(signal.SIGINT)
        assert running.wait(patience.SECONDS) == 130
        assert said(connection) == (503, {"error": "the server stops at once. Ask it when it runs again"})
        assert "Traceback" not in running.stderr.read()


@pytest.mark.thorough
def test_for_other_machines_a_token_is_drawn_and_told(exported):
    with process(exported, "--port", 0, "--host", "0.0.0.0") as (running, line):
        address, token = re.search(r"(http://0\.0\.0\.0:\d+/)\?token=([\w-]{24})\. Ctrl-C", line).groups()
        assert requests.get(f"{address}", timeout=60).status_code == 401
        assert requests.get(f"{address}?token={token}", timeout=60).status_code == 200
        known = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"{address}model", headers=known, timeout=60).json()["model"] == "reds"
        running.terminate()
        assert running.wait(patience.SECONDS) == 130
        assert token not in running.stderr.read()
