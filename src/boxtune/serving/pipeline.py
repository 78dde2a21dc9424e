"""From the bytes of images to what a model finds in them: decoded by several threads, looked at by one.

The thread that has the model takes what is decoded, up to a batch at a time. An image whose request has been given up
is neither decoded nor looked at. Pixels are counted before they are decoded: all that are in memory at a time are no
more than one image may have.
"""

import itertools
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from boxtune.data.images import decoded_rgb
from boxtune.data.pixels import ImageTooLargeError, opened
from boxtune.data.workers import num_cores
from boxtune.errors import DataError, many
from boxtune.evaluation.found import BATCH_SIZE
from boxtune.evaluation.min_scores import MinScores
from boxtune.load import Detection, ImageDetections, Model
from boxtune.serving.bodies import Upload
from boxtune.serving.limits import Limits, RefusedError, busy, megapixels
from boxtune.serving.metrics import Metrics

_WARM_UP = (320, 480, 3)


class Answer(NamedTuple):
    """What was found in an image, upright, of so many pixels; and the seconds from its arrival on."""

    width: int
    height: int
    detections: list[Detection]
    seconds: float


@dataclass(eq=False)
class _Job:
    name: str
    data: bytes | None  # None once it is decoded, or given up
    min_scores: MinScores
    future: Future[Answer] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class _Decoded(NamedTuple):
    job: _Job
    pixels: npt.NDArray[np.uint8]  # [h, w, 3], upright
    share: int  # of the pixels that may be in memory


class Pipeline:
    """Finds objects in images that come from several threads; a context manager that ends its own.

    Args:
        model: called by one thread only.
        limits: what is taken at most.
        metrics: which it counts.
        batch_size: images that the model is given at a time.
    """

    def __init__(
        self, model: Model, limits: Limits, metrics: Metrics, *, batch_size: int = BATCH_SIZE
    ) -> None:
        self._model = model
        self._limits = limits
        self._metrics = metrics
        self._batch_size = batch_size
        self._pixels = _Pixels(limits.image_pixels)
        self._lock = threading.Lock()
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count()
        self._decoded: queue.SimpleQueue[_Decoded | None] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(num_cores(), "decode")
        self._detector = threading.Thread(target=self._detect, name="detect", daemon=True)
        metrics.waiting.set_function(lambda: len(self._jobs))

    def __enter__(self) -> "Pipeline":
        """Start, and look at an image of nothing: the first one takes long, and a broken model shows here.

        Raises:
            CheckpointError: if the model fails.
        """
        blank = np.full(_WARM_UP, 128, np.uint8)
        for count in (1, 2):  # the second call is compiled for any number
            self._model([blank] * count, min_score=0)
        self._detector.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Give up what is waiting, and wait for what is under way."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.future.cancel()
        self._decoders.shutdown()
        self._decoded.put(None)
        if self._detector.is_alive():
            self._detector.join()

    def submit(self, uploads: Sequence[Upload], min_scores: MinScores) -> list[Future[Answer]]:
        """Take images to look at; return what will be the answer for each, which may be cancelled.

        An answer fails with RefusedError for an image that cannot be read, with another error if the model does.

        Raises:
            RefusedError: if too many images are waiting.
        """
        jobs = {next(self._numbers): _Job(upload.name, upload.data, min_scores) for upload in uploads}
        with self._lock:
            if len(self._jobs) + len(jobs) > self._limits.waiting:
                raise busy(
                    f"{len(self._jobs)} of {many(self._limits.waiting, 'image')} that may wait are waiting"
                )
            self._jobs.update(jobs)
        for number, job in jobs.items():
            job.future.add_done_callback(partial(self._leave, number))
            self._decoders.submit(self._decode, job)
        return [job.future for job in jobs.values()]

    def _leave(self, number: int, _: Future[Answer]) -> None:
        """Forget an image, by its number: a future that had its job would stay in memory, since the job has it."""
        with self._lock:
            self._jobs.pop(number).data = None

    def _decode(self, job: _Job) -> None:
        """Decode an image and hand it on, if its answer is still wanted."""
        try:
            if (data := job.data) is not None:
                self._hand_on(job, data)
        except DataError as error:
            _fail(job, _unreadable(job.name, error))
        except Exception as error:  # whatever a decoder does, the request is answered
            _fail(job, error)

    def _hand_on(self, job: _Job, data: bytes) -> None:
        share = _num_pixels(data, self._limits)
        self._pixels.take(share)
        is_handed_on = False
        try:
            if not job.future.cancelled():
                pixels = np.asarray(decoded_rgb(data))
                job.data = None
                self._decoded.put(_Decoded(job, pixels, share))
                is_handed_on = True
        finally:
            if not is_handed_on:
                self._pixels.free(share)

    def _detect(self) -> None:
        while batch := self._next_batch():
            running = [one for one in batch if one.job.future.set_running_or_notify_cancel()]
            if running:
                self._metrics.batches.observe(len(running))
                self._answer(running)
            self._pixels.free(sum(one.share for one in batch))
            del batch, running  # while it waits for the next one, too

    def _next_batch(self) -> list[_Decoded]:
        """Wait for an image; return it and those that are there, too; none at the end."""
        batch: list[_Decoded] = []
        while not batch or (len(batch) < self._batch_size and not self._decoded.empty()):
            one = self._decoded.get()
            if one is None:
                self._decoded.put(None)  # for the next call, which finds the end, too
                break
            batch.append(one)
        return batch

    def _answer(self, batch: Sequence[_Decoded]) -> None:
        try:
            for one, found in zip(
                batch, self._model.stream([one.pixels for one in batch], min_score=0), strict=True
            ):
                self._succeed(one.job, found)
        except Exception as error:  # of one of them: the others are looked at alone
            rest = [one for one in batch if not one.job.future.done()]
            if len(batch) == 1:
                _fail(rest[0].job, error)
                return
            for one in rest:
                self._answer([one])

    def _succeed(self, job: _Job, found: ImageDetections) -> None:
        every = list(found)
        shown = [every[row] for row in job.min_scores.shown(found.classes, found.scores).tolist()]
        seconds = time.monotonic() - job.arrived
        self._metrics.images.inc()
        self._metrics.objects.inc(len(shown))
        self._metrics.seconds.observe(seconds)
        job.future.set_result(Answer(found.width, found.height, shown, seconds))


class _Pixels:
    """The pixels that may be in memory at the same time; who waits for them is served in turn."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    def take(self, count: int) -> None:
        """Wait until so many pixels are free, and take them."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count

    def free(self, count: int) -> None:
        """Give back so many pixels."""
        with self._changed:
            self._free += count
            self._changed.notify_all()


def _fail(job: _Job, error: Exception) -> None:
    if not job.future.done() and (job.future.running() or job.future.set_running_or_notify_cancel()):
        job.future.set_exception(error)


def _num_pixels(data: bytes, limits: Limits) -> int:
    """Return how many pixels an image has, without decoding it; raise DataError."""
    try:
        with opened(data) as image:
            count = image.width * image.height
            size = f"{image.width} x {image.height} pixels"
    except ImageTooLargeError:
        count, size = limits.image_pixels + 1, "far too many pixels"
    if count > limits.image_pixels:
        raise ImageTooLargeError(f"it has {size}, over the limit of {megapixels(limits.image_pixels)}.")
    return count


def _unreadable(name: str, error: DataError) -> RefusedError:
    status = 413 if isinstance(error, ImageTooLargeError) else 422
    return RefusedError(status, f"{name}: {error}")
