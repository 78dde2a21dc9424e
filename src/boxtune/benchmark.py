"""The verb `benchmark`: how fast exported models are on this machine, side by side."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import boxtune
from boxtune import machine
from boxtune.benchmarking.processes import Process
from boxtune.benchmarking.worker import Order
from boxtune.data.files import Paths, paths_of, writable_folder, write_text
from boxtune.data.image_sources import find_given
from boxtune.errors import BoxtuneError, CheckpointError, ConfigError, DataError, many, to_copy
from boxtune.evaluation.exported import RUNTIMES, SAVED_MODEL, is_exported
from boxtune.finder import exported_of
from boxtune.progress import shown_progress

BATCH_SIZES = (1, 8)
"""The numbers of images that models are given at a time."""

_FOR_TENSORRT = ("model_without_nms.onnx", "model_efficient_nms.onnx")
"""Files of an export that find nothing by themselves, and are not measured."""

_MOST_THREADS, _MOST_SIDE = 1024, 8192


@dataclass(frozen=True)
class Row:
    """What was measured of a model, with a number of threads and a size of batches; times are milliseconds an image.

    Attributes:
        model: its path.
        runtime: and its version.
        threads: None for as many as the runtime takes by itself.
        batch_size: the images of a batch.
        at_a_time: how many of them the model was given at a time: fewer if it takes no more.
        calls: how many were timed.
        median_ms, p90_ms, p99_ms: of all calls.
        images_per_second: all images by all time.
        network_ms: the median of resizing and network without suppression; None if it cannot be had.
        why_no_network: then the reason.
        load_seconds: from an empty process, in which Python has started, to a model that is loaded.
        peak_memory_mib: the largest resident set of its process; None where the system does not tell it.
    """

    model: str
    runtime: str
    threads: int | None
    batch_size: int
    at_a_time: int
    calls: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    images_per_second: float
    network_ms: float | None
    why_no_network: str
    load_seconds: float
    peak_memory_mib: float | None

    @property
    def suppression_share(self) -> float | None:
        """The part of the time that is not resizing and network, 0 to 1; None if it is not known."""
        return None if self.network_ms is None else max(0.0, 1 - self.network_ms / self.median_ms)


@dataclass(frozen=True)
class Benchmark:
    """What was measured, in one run. As text it is a table.

    Attributes:
        machine: its processor, cores, instructions, system, the version of Python, and its load before.
        images: what the models looked at.
        rounds: how often each had its turn.
        rows: for each model, number of threads and size of batches.
    """

    machine: dict[str, Any]
    images: str
    rounds: int
    rows: list[Row]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def as_json(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        rows = [asdict(row) | {"suppression_share": row.suppression_share} for row in self.rows]
        return {"boxtune": boxtune.__version__, **asdict(self), "rows": rows}


@dataclass
class _Measured:
    """A model with a number of threads, the process that runs it, that of its network, and their times."""

    path: Path
    threads: int | None
    whole: Process
    network: Process | None
    why_no_network: str
    peak_memory: float | None = None
    seconds: list[list[float]] = field(default_factory=lambda: [[] for _ in BATCH_SIZES])
    network_seconds: list[list[float]] = field(default_factory=lambda: [[] for _ in BATCH_SIZES])


def benchmark(
    models: Paths,
    *,
    images: Paths | None = None,
    size: int = 640,
    rounds: int = 20,
    threads: Sequence[int] = (),
    json: str | Path | None = None,
) -> Benchmark:
    """Measure exported models on this machine, side by side: latency, throughput, memory, time to load.

    Each model is loaded in a process of its own, and so is its network. Then they take turns, round by round, so that
    whatever else the machine does falls on all of them. A batch of 8 is one image, eight times.

    Args:
        models: one or several: what `export` wrote (a file, or a folder, of which every format is measured), an export
            of the API, or the folder of a training, of which the exported model of the best run is measured.
        images: what they look at, one in each round: files, folders or patterns. By default noise, in which hardly
            anything is found, so that suppression may take less time than on images.
        size: of the sides of the noise, in pixels.
        rounds: how often each model has its turn, with up to five timed calls for each size of a batch.
        threads: of each runtime, one measurement for each number; by default as many as it takes by itself.
        json: a file to write.

    Raises:
        BoxtuneError: for anything the user can fix; naming the model that cannot be loaded, fails, or ends its process.
    """
    _check("rounds", rounds, 10**6)
    _check("size", size, _MOST_SIDE)
    for number in threads:
        _check("threads", number, _MOST_THREADS)
    paths = [path for model in paths_of(models) for path in _exported(model)]
    if not paths:
        raise ConfigError("benchmark needs a model")
    given: Sequence[str | None] = [None] if images is None else _images(images)[:rounds]
    if json is not None:
        writable_folder(Path(json).parent)  # before minutes of work
    about = machine.describe()
    with ExitStack() as stack:
        measured = [_loaded(path, number, size, stack) for path in paths for number in threads or (None,)]
        with shown_progress(rounds * len(measured), "turns") as advance:
            for number in range(rounds):
                for one in measured:
                    _take_turn(one, given[number % len(given)])
                    advance()
    what = f"{size} x {size} pixels of noise" if images is None else many(len(given), "image")
    result = Benchmark(about, what, rounds, [row for one in measured for row in _rows(one)])
    if json is not None:
        _write(result, Path(json))
    return result


def _check(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ConfigError(f"{name} is {value}; it must be in 1 to {most:,}")


def _write(result: Benchmark, path: Path) -> None:
    write_text(path, json.dumps(result.as_json(), indent=2, allow_nan=False) + "\n")


def _exported(model: Path) -> list[Path]:
    """Return every exported model that a path stands for."""
    if not model.exists():
        raise CheckpointError(f"{model}: no such model. Give what `boxtune export` wrote")
    if found := _formats(model):
        return found
    if is_exported(model) or model.is_file():
        return [model]
    if (folder := exported_of(model)) != model and (found := _formats(folder)):
        return found
    command = to_copy("boxtune", "export", "--model_dir", model, "--output_dir", model / "exported")
    raise CheckpointError(
        f"{model}: no exported model here, and only those are measured. Export it first: {command}"
    )


def _formats(folder: Path) -> list[Path]:
    """Return what `boxtune export` has written to a folder, in all formats and precisions."""
    if not folder.is_dir():
        return []
    files = [path for suffix in RUNTIMES for path in sorted(folder.glob(f"model*{suffix}"))]
    return [
        *([folder / SAVED_MODEL] if (folder / SAVED_MODEL).is_dir() else []),
        *(path for path in files if path.name not in _FOR_TENSORRT),
    ]


def _images(named: Paths) -> list[str]:
    given = find_given(paths_of(named))
    files = [str(one.file.resolve()) for one in given if one.file and not one.is_video]
    if not files:
        raise DataError(f"{', '.join(map(str, paths_of(named)))}: no image files here")
    return files


def _loaded(path: Path, threads: int | None, size: int, stack: ExitStack) -> _Measured:
    """Start the processes of a model; the stack ends them."""

    def started(network_alone: bool) -> Process:
        return stack.enter_context(
            closing(Process(Order(str(path), threads, network_alone, BATCH_SIZES, size)))
        )

    whole = started(network_alone=False)
    try:
        return _Measured(path, threads, whole, started(network_alone=True), "")
    except BoxtuneError as error:
        return _Measured(path, threads, whole, None, str(error))


def _take_turn(one: _Measured, image: str | None) -> None:
    """Time a model and its network on an image, None for noise."""
    answer = one.whole.ask({"image": image})
    one.peak_memory = answer["peak_memory"]
    _extend(one.seconds, answer["seconds"])
    if one.network:
        _extend(one.network_seconds, one.network.ask({"image": image})["seconds"])


def _extend(lists: list[list[float]], more: list[list[float]]) -> None:
    for one, other in zip(lists, more, strict=True):
        one.extend(other)


def _rows(one: _Measured) -> Iterator[Row]:
    for number, batch_size in enumerate(BATCH_SIZES):
        median, p90, p99 = _milliseconds(one.seconds[number], batch_size, 50, 90, 99)
        network = _milliseconds(one.network_seconds[number], batch_size, 50)[0] if one.network else None
        yield Row(
            model=str(one.path),
            runtime=one.whole.loaded["runtime"],
            threads=one.threads,
            batch_size=batch_size,
            at_a_time=one.whole.loaded["at_a_time"][number],
            calls=len(one.seconds[number]),
            median_ms=median,
            p90_ms=p90,
            p99_ms=p99,
            images_per_second=batch_size * len(one.seconds[number]) / sum(one.seconds[number]),
            network_ms=network,
            why_no_network=one.why_no_network,
            load_seconds=one.whole.loaded["load_seconds"],
            peak_memory_mib=one.peak_memory,
        )


def _milliseconds(seconds: list[float], batch_size: int, *percentiles: int) -> list[float]:
    """Return percentiles of the time of an image."""
    return [float(value) for value in 1000 / batch_size * np.percentile(seconds, percentiles)]


def _lines(result: Benchmark) -> Iterator[str]:
    about = result.machine
    instructions = f" ({', '.join(about['instructions'])})" if about["instructions"] else ""
    load = f", load {about['load']:g} before" if about["load"] is not None else ""
    yield f"{about['cpu']}{instructions}, {many(about['cores'], 'core')}{load}"
    yield f"{about['system']}, Python {about['python']}, {', '.join(sorted({row.runtime for row in result.rows}))}"
    yield f"{result.images}, {many(result.rounds, 'round')}; times are milliseconds an image"
    yield ""
    head = ("model", "threads", "batch", "median", "p90", "p99", "images/s", "suppression", "load s", "MiB")
    yield from _aligned([head, *map(_cells, result.rows)])
    yield from _notes(result.rows)


def _cells(row: Row) -> tuple[str, ...]:
    share, memory = row.suppression_share, row.peak_memory_mib
    return (
        row.model,
        str(row.threads or "default"),
        f"{row.batch_size}{'*' if row.at_a_time < row.batch_size else ''}",
        *(f"{value:.1f}" for value in (row.median_ms, row.p90_ms, row.p99_ms, row.images_per_second)),
        "-" if share is None else f"{share:.0%}",
        f"{row.load_seconds:.1f}",
        "-" if memory is None else f"{memory:.0f}",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, of which the first column is text and the others are numbers."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        yield "  ".join([name.ljust(first), *map(str.rjust, cells, others)])


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.at_a_time < row.batch_size for row in rows):
        yield "* The model takes fewer images at a time: it was given them one after the other."
    yield from dict.fromkeys(
        f"- {row.model}: the share of suppression is not known: {row.why_no_network}"
        for row in rows
        if row.network_ms is None
    )
