"""The processes of `boxtune benchmark`, from the side of the one that starts them."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from boxtune import onednn
from boxtune.benchmarking.worker import Order
from boxtune.errors import CheckpointError, printable

COMMAND = (sys.executable, "-P", "-m", "boxtune.benchmarking.worker")
"""With -P the current folder, in which may be anything, is not imported from."""


class Process:
    """A process with a model of its own, or with its network.

    Attributes:
        loaded: its first answer: `load_seconds`, `runtime` and, for each size of a batch, how many images it takes
            `at_a_time`.
    """

    def __init__(self, order: Order) -> None:
        """Start it, and wait until it has loaded its model; raise CheckpointError if it cannot."""
        self._path = order.path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **onednn.environment()},
        )
        try:
            self.loaded = self.ask(asdict(order))
        except BaseException:
            self.close()
            raise

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return its answer; raise CheckpointError for an error of the model, or if the process ends."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise CheckpointError(f"{self._path}: {self._how_it_ended()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CheckpointError(answer["error"])
        return answer

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        said = f": {printable(lines[-1])}" if lines else ""
        return f"the process that measured it has ended {how}{said}"
