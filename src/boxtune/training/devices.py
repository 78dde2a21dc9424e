"""Which devices a training runs on: one, all GPUs of this machine, or those of the machines that TF_CONFIG names.

Each device has a process of its own. For the GPUs of one machine, the process that was called starts them, and itself
only looks after them.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from boxtune.backends import require_tensorflow
from boxtune.errors import BoxtuneError, ConfigError, WorkerLostError, many
from boxtune.training.cluster import TF_CONFIG, Cluster, cluster_from_environment, meet
from boxtune.training.team import ALONE, Team, share_of

MEMBER = (sys.executable, "-m", "boxtune.member")
"""The command of a process that this one starts."""

WAIT_SECONDS = 600.0
"""How long the first workers that are there wait for the others."""

_LEAVE_SECONDS, _CHIEF_LEFT_SECONDS, _LOOK_SECONDS = 60.0, 5.0, 0.1
"""Of the processes of this machine: how long the others have for leaving when one is gone, or the chief; and how often
they are looked at."""

_INTERRUPTED = 130
"""The status of a process that ended politely when it was told to."""


def processes_to_start(num_devices: int | None) -> int:
    """Return how many processes are to be started here: 1 for none but this one.

    Args:
        num_devices: how many GPUs to use; None for all. Without GPUs, that many processes share the processor.

    Raises:
        ConfigError: if there are fewer GPUs, or TF_CONFIG says otherwise.
    """
    if cluster_from_environment():
        require_tensorflow("Training on several devices")
        if num_devices is not None:
            raise ConfigError(
                "TF_CONFIG names the processes that train together, one for each device; leave --num_devices out"
            )
        return 1
    gpus = len(tf.config.list_physical_devices("GPU"))
    if num_devices is not None and 0 < gpus < num_devices:
        raise ConfigError(
            f"--num_devices {num_devices}: this machine has {gpus} GPUs that TensorFlow can use"
        )
    if keras.backend.backend() != "tensorflow":
        gpus = 1  # of which boxtune knows
    count = num_devices or max(gpus, 1)
    if count > 1:
        require_tensorflow("Training on several devices")
    return count


def join(num_devices: int | None, batch_size: int) -> Team:
    """Come together with the other processes that train, if there are any, to share batches out.

    Raises:
        ConfigError: if the batches cannot be shared out evenly.
        BoxtuneError: if the others do not come within WAIT_SECONDS, or TensorFlow was used in this process before.
    """
    cluster = cluster_from_environment()
    if cluster is None:
        if num_devices == 1:
            use_gpu(0, "one of them")
        return ALONE
    share = share_of(batch_size, cluster.count)
    use_gpu(cluster.local_rank, f"worker {cluster.rank} on {cluster.addresses[cluster.rank]}")
    print(
        f"Worker {cluster.rank} of {cluster.count}, {many(share, 'image')} of each batch of {batch_size}: waiting for "
        f"the others at {cluster.addresses[0]}.",
        flush=True,
    )
    meet(cluster, WAIT_SECONDS)
    try:
        # It makes TensorFlow's servers and connects them; more is not needed of it.
        tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise BoxtuneError(
            "TensorFlow was used in this process before, and cannot be connected with others any more: start "
            "`boxtune train` in a process of its own"
        ) from error
    except tf.errors.OpError as error:
        raise WorkerLostError(
            f"Worker {cluster.rank} cannot be connected with the others: {error.message}"
        ) from error
    return Team(cluster.rank, cluster.count)


def use_gpu(number: int, who: str) -> None:
    """Let TensorFlow see one GPU only, if there are any."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus or (len(gpus) == 1 and number == 0):
        return
    if number >= len(gpus):
        raise ConfigError(
            f"TF_CONFIG has more workers on this machine than it has GPUs ({len(gpus)}): {who} finds none left"
        )
    try:
        tf.config.set_visible_devices(gpus[number], "GPU")
    except RuntimeError as error:
        raise BoxtuneError(
            "TensorFlow was used in this process before, with all GPUs: start `boxtune train` in one of its own"
        ) from error


@contextmanager
def folder_of(team: Team, model_dir: Path) -> Iterator[Path]:
    """Yield where a process leaves what it writes: the chief in `model_dir`, the others where it is gone at once."""
    if team.is_chief:
        yield model_dir
        return
    with tempfile.TemporaryDirectory(prefix="boxtune-") as folder:
        yield Path(folder)


def train_in_processes(arguments: Mapping[str, Any], count: int) -> None:
    """Train in `count` processes on this machine, one for each device, and look after them until all are gone.

    An interruption is passed on to them: they end the step, save, and leave.

    Args:
        arguments: of `boxtune.train.train`, as JSON can tell them.

    Raises:
        BoxtuneError: what the first of them said that did not get through.
    """
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boxtune-")))
        members = [
            stack.enter_context(_member(arguments, Cluster(tuple(addresses), rank), folder / str(rank)))
            for rank in range(count)
        ]
        _wait(members)
        if members[0].returncode:
            raise BoxtuneError(_reason(members, folder))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _member(
    arguments: Mapping[str, Any], cluster: Cluster, error_file: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process of the training, and see that it is gone in the end.

    It is out of reach of the terminal's Ctrl-C, which is passed on to it, and leaves when its input is closed.
    """
    task = {"cluster": {"worker": cluster.addresses}, "task": {"type": "worker", "index": cluster.rank}}
    process = subprocess.Popen(
        [*MEMBER, json.dumps(dict(arguments), default=_plain), str(error_file)],
        env=os.environ | {TF_CONFIG: json.dumps(task)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if cluster.rank else None,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _plain(value: Any) -> Any:
    """Return what JSON can tell of a dataclass or a path."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _wait(members: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until all processes are gone, passing interruptions on; then raise KeyboardInterrupt if there was one."""
    interrupted = False
    while any(member.poll() is None for member in members):
        try:
            _wait_for_the_last(members)
        except KeyboardInterrupt:
            interrupted = True
            members[0].send_signal(signal.SIGINT)  # the others learn it from him
    if interrupted or members[0].returncode == _INTERRUPTED:
        raise KeyboardInterrupt


def _wait_for_the_last(members: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until all are gone; when one is, the others are given time to notice, then they are killed."""
    deadline = math.inf
    while any(running := [member.poll() is None for member in members]):
        if not all(running):
            # All that counts is with the chief: where he is gone there is nothing to wait for.
            deadline = min(
                deadline, time.monotonic() + (_LEAVE_SECONDS if running[0] else _CHIEF_LEFT_SECONDS)
            )
        if time.monotonic() > deadline:
            for member in members:
                member.kill()
        time.sleep(_LOOK_SECONDS)


def _reason(members: Sequence[subprocess.Popen[bytes]], folder: Path) -> str:
    """Return what went wrong first: what the others say then is only that one of them is gone."""
    said = [_error_of(member, folder / str(rank)) for rank, member in enumerate(members)]
    causes = [text for kind, text in said if text and kind != WorkerLostError.__name__]
    return next(iter(causes), "one of the processes that train together is gone")


def _error_of(member: subprocess.Popen[bytes], error_file: Path) -> tuple[str, str]:
    """Return kind and text of the error that a process ended with, empty if there was none."""
    if error_file.exists():
        kind, text = json.loads(error_file.read_text(encoding="utf-8"))
        return kind, text
    status, device = member.returncode, f"the process of device {error_file.name}"
    if status < 0:
        return "", f"{device} was ended by signal {-status}; if nobody did that, the memory was not enough"
    return "", f"{device} failed; what it said stands above" if status else ""
