"""Images and videos on the way through a model: read, looked at, and drawn to files.

Reading and drawing run in threads beside the model, with few images in memory at a time.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxtune.data.files import whole_file
from boxtune.data.image_sources import Given, read_given
from boxtune.data.image_writer import unique_stems
from boxtune.data.tiling import Tiling
from boxtune.data.video import Frame, VideoWriter, opened_video, written_video
from boxtune.data.workers import map_in_threads
from boxtune.detection_writers import Detected
from boxtune.errors import ConfigError, DataError, did_you_mean, printable, some
from boxtune.evaluation.found import Source
from boxtune.evaluation.min_scores import MinScores, same_for_all
from boxtune.image_detections import ImageDetections
from boxtune.interruption import Interruption
from boxtune.load import Model

IMAGES, CROPS = "images", "crops"
_MOST_NAMED = 5
_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90}
_PNG: dict[str, Any] = {
    "format": "PNG",
    "compress_level": 1,
}  # twice as fast as the usual 6, for a tenth more bytes

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""[h, w, 3], upright."""

Named: TypeAlias = tuple[Given, str]
"""An image or a video, and its path without extension in what is written."""


class Shown(NamedTuple):
    """What is shown of what was found in an image, and all of that."""

    found: ImageDetections
    everything: ImageDetections


Find: TypeAlias = Callable[[Iterable[Source]], Iterator[Shown]]
"""Takes images by their pixels."""


@dataclass(frozen=True)
class Selection:
    """Which detections are shown: those of some classes, 0-based, or of all where there are none, with some scores."""

    min_scores: MinScores
    classes: Sequence[int]

    def of(self, found: ImageDetections) -> Shown:
        """Return what is shown of what was found, and all that is of these classes."""
        if self.classes:
            found = found.select(np.flatnonzero(np.isin(found.classes, self.classes)))
        return Shown(found.select(self.min_scores.shown(found.classes, found.scores)), found)


def selection_of(model: Model, min_score: float | None, classes: Sequence[str]) -> Selection:
    """Return which detections of a model are shown: from `min_score` on, else from its thresholds on.

    Raises:
        ConfigError: for a class that the model does not know.
        DataError: if its thresholds are damaged.
    """
    for name in classes:
        if name not in model.names:
            hint = did_you_mean(name, model.names) or f" It has {some(model.names, _MOST_NAMED)}."
            raise ConfigError(f'--class "{printable(name)}": the model has no such class.{hint}')
    min_scores = model.min_scores if min_score is None else same_for_all(min_score, "--min_score")
    min_scores = min_scores.above(model.score_floor)
    return Selection(min_scores, [model.names.index(name) for name in classes])


def finding(model: Model, selection: Selection, tiling: Tiling | None) -> Find:
    """Return what finds objects in images, in tiles where there is a tiling, and says what is shown of them."""
    return lambda sources: map(selection.of, model.find(sources, 0, tiling))


@dataclass(frozen=True)
class Outputs:
    """Which files are written of each image, and where.

    Attributes:
        folder: there.
        drawings: whether images are drawn.
        crops: whether what is in each box is written.
        keeps_images: whether images that are no files of this machine are written as they are.
    """

    folder: Path
    drawings: bool
    crops: bool
    keeps_images: bool

    def refuse_overwriting(self, given: Sequence[Given], stems: Sequence[str]) -> None:
        """Raise DataError if a drawing would replace an image that is looked at."""
        read = {one.file.resolve() for one in given if one.file}
        for one, stem in zip(given, stems, strict=True):
            if (self.folder / self.drawing(one, stem)).resolve() in read:
                raise DataError(f"{self.folder}: drawings would replace images there. Choose another folder.")

    def drawing(self, given: Given, stem: str) -> str:
        """Return the path of a drawing in the folder: JPEG stays JPEG."""
        return stem + (".mp4" if given.is_video else ".jpg" if given.is_jpeg else ".png")

    def write(self, given: Given, stem: str, shown: Shown) -> Detected:
        """Write the files of an image that was looked at; raise DataError if one cannot be written."""
        found = shown.found
        drawing = self.drawing(given, stem) if self.drawings else ""
        if drawing:
            self._save(found.draw(), drawing)
        path = self.write_parts(found, stem, given)
        return Detected(given.name, path, found, drawn=drawing, everything=shown.everything)

    def write_parts(self, found: ImageDetections, stem: str, given: Given, number: int | None = None) -> str:
        """Write what is in the boxes of an image, and itself where it is no file of this name; return its path.

        Of a video `number` is that of the frame.
        """
        if self.crops:
            for row, (folder, box) in enumerate(
                zip(_folders(found.names), found.boxes, strict=True), start=1
            ):
                crop = found.image.crop(_pixels_of(box, found.height, found.width))
                self._save(crop, f"{CROPS}/{folder}/{stem}-{row}.jpg")
        if given.file and number is None and stem == given.stem:  # not one of two a.jpg and a.png
            return given.path
        path = f"{stem}.jpg" if number is not None or given.is_jpeg else f"{stem}.png"
        if self.keeps_images:
            self._save(found.image, f"{IMAGES}/{path}")
        return path

    def _save(self, image: Image.Image, path: str) -> None:
        target = self.folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{target.parent} cannot be made: {error.strerror}.") from error
        with whole_file(target) as temporary:
            image.save(temporary, **(_JPEG if path.endswith(".jpg") else _PNG))


def in_images(find: Find, outputs: Outputs, named: Iterable[Named]) -> Iterator[Detected]:
    """Yield what is found in each image, in order, once its files are written; of one that cannot be read, why.

    Raises:
        BoxtuneError: if the model fails, or a file cannot be written.
    """
    read: deque[tuple[Named, str]] = deque()  # with an error, if so, and not yet yielded

    def readable() -> Iterator[Source]:
        for one, pixels, error in map_in_threads(_read, named):
            read.append((one, error))
            if pixels is not None:
                yield Source(one[0].name, pixels, None)

    def in_order() -> Iterator[tuple[Named, Shown | str]]:
        for shown in find(readable()):
            while read[0][1]:
                yield read.popleft()
            yield read.popleft()[0], shown
        yield from read

    yield from map_in_threads(partial(_write, outputs), in_order())


def _read(one: Named) -> tuple[Named, Pixels | None, str]:
    try:
        return one, read_given(one[0]), ""
    except DataError as error:
        return one, None, str(error)


def _write(outputs: Outputs, item: tuple[Named, Shown | str]) -> Detected:
    (given, stem), shown = item
    if isinstance(shown, str):
        return Detected(given.name, stem, None, error=shown)
    return outputs.write(given, stem, shown)


def in_video(
    find: Find, outputs: Outputs, given: Given, stem: str, frame_step: int, interruption: Interruption
) -> Iterator[Detected]:
    """Yield what is found in the frames of a video; where it cannot be read, or read on, why.

    The drawn video, and what is yielded, have every `frame_step`th frame. Raises BoxtuneError as `in_images` does.
    """
    content = given.content
    assert not isinstance(content, bytes), "standard input is an image"
    frames: deque[Frame] = deque()
    error = ""

    def sources(video: Iterable[Frame]) -> Iterator[Source]:
        nonlocal error
        try:
            for frame in interruption.before(video):
                frames.append(frame)
                yield Source(f"{given.name}, frame {frame.number}", frame.pixels, None)
        except DataError as fault:
            error = str(fault)

    with ExitStack() as stack:
        try:
            video = stack.enter_context(opened_video(given.name, content))
        except DataError as fault:
            yield Detected(given.name, stem, None, error=str(fault))
            return
        writer: VideoWriter | None = None
        drawing = outputs.drawing(given, stem)
        for shown in find(sources(video.frames(frame_step))):
            frame, found = frames.popleft(), shown.found
            if outputs.drawings and writer is None:
                target = outputs.folder / drawing
                target.parent.mkdir(parents=True, exist_ok=True)
                size = found.height, found.width
                writer = stack.enter_context(written_video(target, video.rate / frame_step, size))
            if writer:
                writer.write(np.asarray(found.draw()), frame.seconds)
            path = outputs.write_parts(found, f"{stem}-{frame.number:06}", given, frame.number)
            yield Detected(
                given.name,
                path,
                found,
                seconds=frame.seconds,
                drawn=drawing if writer else "",
                everything=shown.everything,
            )
    if error:
        yield Detected(given.name, stem, None, error=error)


def _folders(names: Sequence[str]) -> list[str]:
    """Return a folder for each detection: the name of its class, as far as file systems take it."""
    distinct = list(dict.fromkeys(names))
    folders = dict(zip(distinct, (stem.replace("/", "-") for stem in unique_stems(distinct)), strict=True))
    return [folders[name] for name in names]


def _pixels_of(box: npt.NDArray[np.float32], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the whole pixels that a box touches, at least one, as Pillow crops them: left, top, right, bottom."""
    ymin, xmin, ymax, xmax = box.tolist()
    left, top = (min(max(math.floor(edge), 0), side - 1) for edge, side in ((xmin, width), (ymin, height)))
    right, bottom = (
        min(max(math.ceil(edge), low + 1), side)
        for edge, low, side in ((xmax, left, width), (ymax, top, height))
    )
    return left, top, right, bottom
