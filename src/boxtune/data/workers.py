"""Work for all cores: one function over many items, in processes or threads, with the results in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, islice
from multiprocessing.context import BaseContext
from typing import TypeVar

from boxtune.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Imported once, before the workers are forked.
_PRELOADED = ["boxtune.data.reading", "boxtune.data.tfrecord"]
_CHUNKS_AHEAD = 4
_kept: ContextVar[dict[int, ProcessPoolExecutor]] = ContextVar("pools by their number of workers")


def map_in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_workers: int | None = None,
    chunk_size: int = 64,
) -> Iterator[Result]:
    """Return ``function(item)`` of every item, in order, from `num_workers` processes (one for each core).

    What fits into one chunk is done in this process, since processes take a moment to start. Only a few chunks are
    under way at a time, so neither items nor results pile up. The function is pickled: it must be a module's own.
    A program that calls this from its main module needs the usual ``if __name__ == "__main__"`` around it.

    Raises:
        DataError: if a process ends by itself.
    """
    num_workers = num_workers or num_cores()
    if num_workers == 1:
        return map(function, items)
    iterator = iter(items)
    chunks = iter(lambda: list(islice(iterator, chunk_size)), [])
    first = list(islice(chunks, 2))
    if len(first) < 2:
        return map(function, chain(*first))
    return _in_pool(function, chain(first, chunks), num_workers)


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Return ``function(item)`` of every item, in order, from a thread for each core.

    For large results, such as images, which would have to be copied from one process to another, of functions that
    spend their time outside of Python. Only two results for each thread are made ahead.
    """
    with ThreadPoolExecutor(num_cores()) as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) == 2 * num_cores():
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def kept_processes() -> Iterator[None]:
    """Let all calls of `map_in_processes` within the block use the same processes, which take a moment to start."""
    token = _kept.set({})
    try:
        yield
    finally:
        for pool in _kept.get().values():
            pool.shutdown(cancel_futures=True)
        _kept.reset(token)


@contextmanager
def _pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    kept = _kept.get(None)
    if kept is not None and num_workers in kept:
        yield kept[num_workers]
        return
    # Ctrl-C is left to the parent, which ends the workers.
    ignored = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(num_workers, _context(), initializer=signal.signal, initargs=ignored)
    if kept is None:
        with pool:
            yield pool
    else:
        kept[num_workers] = pool
        yield pool


def _in_pool(
    function: Callable[[Item], Result], chunks: Iterable[list[Item]], num_workers: int
) -> Iterator[Result]:
    with _pool(num_workers) as pool:
        under_way: deque[Future[list[Result]]] = deque()
        try:
            for chunk in chunks:
                under_way.append(pool.submit(_apply, function, chunk))
                if len(under_way) == num_workers * _CHUNKS_AHEAD:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                "A worker process ended before its work was done. A script that calls boxtune has to do so under "
                '`if __name__ == "__main__":`, since workers read the script, too. Else it was killed, perhaps for '
                "want of memory: num_workers 1 takes the least."
            ) from None
        finally:
            for future in under_way:
                future.cancel()


def _apply(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _context() -> BaseContext:
    """Return a way to start processes that is safe beside the threads of TensorFlow, unlike a plain fork."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        return context
    return multiprocessing.get_context("spawn")
