"""Work for all cores: one function over many items, in processes, with the results in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Imported once, before the workers are forked.
_PRELOADED = ["boxtune.data.reading", "boxtune.data.tfrecord"]
_CHUNKS_AHEAD = 4


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int | None = None,
    chunk_size: int = 64,
) -> Iterator[Result]:
    """Return ``function(item)`` of every item, in order, from `num_workers` processes (one for each core).

    What fits into one chunk is done in this process, since processes take a moment to start. Only a few chunks are
    under way at a time, so neither items nor results pile up. The function is pickled: it must be a module's own.
    A program that calls this from its main module needs the usual ``if __name__ == "__main__"`` around it.
    """
    num_workers = num_workers or num_cores()
    if num_workers == 1 or len(items) <= chunk_size:
        return map(function, items)
    return _in_pool(function, items, num_workers, chunk_size)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_pool(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int, chunk_size: int
) -> Iterator[Result]:
    with ProcessPoolExecutor(num_workers, _context(), initializer=_ignore_interrupts) as pool:
        under_way: deque[Future[list[Result]]] = deque()
        try:
            for start in range(0, len(items), chunk_size):
                under_way.append(pool.submit(_apply, function, items[start : start + chunk_size]))
                if len(under_way) == num_workers * _CHUNKS_AHEAD:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[Item], Result], chunk: Sequence[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _context() -> multiprocessing.context.BaseContext:
    """Return a way to start processes that is safe beside the threads of TensorFlow, unlike a plain fork."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        return context
    return multiprocessing.get_context("spawn")


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
