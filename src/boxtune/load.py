"""`load`: a model to call from Python: images in, detections out."""

import logging
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxtune.data import images
from boxtune.data.files import refuse_remote
from boxtune.data.image_record import ImageSource
from boxtune.data.label_map import (
    Label,
    LabelMap,
    class_names,
    read_label_map,
    require_numbers_of_model,
)
from boxtune.data.tiling import Tiling, tiling_of
from boxtune.errors import DataError, some
from boxtune.evaluation.exported import LABEL_MAP
from boxtune.evaluation.found import BATCH_SIZE, Found, Source
from boxtune.evaluation.min_scores import MinScores, kept_beside, same_for_all
from boxtune.evaluation.tiles import tiled
from boxtune.finder import Finder, load_finder
from boxtune.image_detections import Detection as Detection
from boxtune.image_detections import ImageDetections as ImageDetections

ImageLike: TypeAlias = str | Path | npt.NDArray[np.uint8] | Image.Image
"""An image: its file, its pixels uint8 [h, w, 3] (RGB) or grey [h, w], or one of Pillow's."""

_MOST_NAMED = 5

_log = logging.getLogger("boxtune")


class Model:
    """A model that is loaded. Called with an image it returns an ImageDetections, with several a list of them.

    Attributes:
        path: where it lies.
        names: of its classes, in the order of their numbers.
        label_map: the same with their numbers, from 1 on, among which there may be gaps.
        thresholds: of each class, by its name, the score from which on its detections are returned: that of the
            highest F1 where an evaluation has found it, else 0.5.
    """

    def __init__(self, path: Path, finder: Finder, labels: LabelMap) -> None:
        self.path = path
        self.names = class_names(labels, max((label.id for label in labels.labels), default=0))
        self.label_map = LabelMap(tuple(Label(one.id, self.names[one.id - 1]) for one in labels.labels))
        self._finder = finder

    @property
    def thresholds(self) -> dict[str, float]:
        """The score of each class, by its name, from which on its detections are returned."""
        return {name: self.min_scores.of(number) for number, name in enumerate(self.names)}

    @cached_property
    def min_scores(self) -> MinScores:
        """From which scores on detections are returned, and where that comes from."""
        finder = self._finder
        own = finder.label_map if finder.label_map.labels else None
        return kept_beside(finder.folder, own, finder.step, finder.own_thresholds)

    @property
    def score_floor(self) -> float:
        """The score that its detections exceed, however low the scores that are asked for; 0 if there is none."""
        return self._finder.floor

    def __repr__(self) -> str:
        return f"<model {self.path} of {some(self.names, _MOST_NAMED)}>"

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a path as text is one image, though it can be iterated over
        self,
        images: ImageLike,
        *,
        min_score: float | None = None,
        tile: int | None = None,
        overlap: float | None = None,
    ) -> ImageDetections: ...

    @overload
    def __call__(
        self,
        images: Iterable[ImageLike],
        *,
        min_score: float | None = None,
        tile: int | None = None,
        overlap: float | None = None,
    ) -> list[ImageDetections]: ...

    def __call__(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        min_score: float | None = None,
        tile: int | None = None,
        overlap: float | None = None,
    ) -> ImageDetections | list[ImageDetections]:
        """Return what is found in an image, or a list of that for several, in their order.

        Args:
            images: one, or any iterable of them. A file may be of any format that `check` reads, and is turned as its
                EXIF orientation says; so is an image of Pillow, of any mode but 32 bit. Transparency is ignored.
                An array is uint8, RGB [h, w, 3] or grey [h, w], and taken as it is.
            min_score: detections below it are left out, in place of those below the thresholds of the model.
            tile: look at squares of this many pixels, and at the whole, of each image that is larger: for small objects
                in large images.
            overlap: of neighbouring tiles, as a fraction of their side; 0.2 by default.

        Raises:
            DataError: naming the image that cannot be read, or is none.
            ConfigError: for a `min_score` that is no number, or tiles that cannot be.
            CheckpointError: if the model fails, naming the image.
        """
        tiling = tiling_of(tile, overlap)
        if _is_one(images):
            (found,) = self.find([_source(images, "the image")], min_score, tiling)
            return found
        return list(self.find(_sources(images), min_score, tiling))

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        min_score: float | None = None,
        tile: int | None = None,
        overlap: float | None = None,
    ) -> Iterator[ImageDetections]:
        """Yield what is found in each of any number of images, with few of them in memory; else as a call."""
        if _is_one(images):
            raise DataError("stream takes several images: give a list of them, or call the model itself")
        return self.find(_sources(images), min_score, tiling_of(tile, overlap))

    def find(
        self, sources: Iterable[Source], min_score: float | None, tiling: Tiling | None
    ) -> Iterator[ImageDetections]:
        """Yield what is found in each of some images, which have names for errors; else as `stream`."""
        min_scores = self.min_scores if min_score is None else same_for_all(min_score, "min_score")
        find = tiled(self._finder.find, tiling)
        return (self._detections(found, min_scores) for found in find(sources))

    def _detections(self, found: Found, min_scores: MinScores) -> ImageDetections:
        shown = min_scores.shown(found.classes, found.scores)
        classes = found.classes[shown].astype(np.int64)
        height, width = found.size
        return ImageDetections(
            source=found.source,
            height=height,
            width=width,
            boxes=_in_pixels(found.boxes[shown], height, width),
            classes=classes,
            names=[self._name(number) for number in classes.tolist()],
            scores=found.scores[shown].astype(np.float32),
            mask_grids=None if found.masks is None else found.masks[shown].astype(np.float32),
            keypoints=None if found.keypoints is None else _in_pixels(found.keypoints[shown], height, width),
        )

    def _name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else f"class {number + 1}"


def _in_pixels(points: npt.NDArray[np.floating], height: int, width: int) -> npt.NDArray[np.float32]:
    """Return boxes [k, 4] or keypoints [k, p, 2], fractions of an image, in its pixels."""
    return (points * np.array([height, width] * (points.shape[-1] // 2))).astype(np.float32)


def load(
    model: str | Path,
    *,
    label_map: str | Path | None = None,
    batch_size: int = BATCH_SIZE,
) -> Model:
    """Load a model, to call it with images.

    Args:
        model: what `export` wrote (a folder, or a file in it), an export of the API, the folder of `retrain` or `train`
            (the best checkpoint of its best run), or a checkpoint with its configuration beside it.
        label_map: names of the classes; by default the label map beside the model. Where there is none, classes are
            called by their numbers.
        batch_size: images that the model is given at a time, if it takes several: an exported model those of one size.

    Raises:
        BoxtuneError: if there is no model, it or its thresholds are damaged, or the label map numbers its classes in
            another way.
    """
    path = Path(model)
    finder = load_finder(path, batch_size)
    if label_map:
        require_numbers_of_model(Path(label_map), finder.label_map_path)
    labels = read_label_map(Path(label_map)) if label_map else finder.label_map
    if not labels.labels:
        _log.warning("There is no %s beside the model: classes are called by their numbers.", LABEL_MAP)
    return Model(path, finder, labels)


def _is_one(images: Any) -> bool:
    """Say whether this is one image, or at least no collection of images."""
    return (
        isinstance(images, str | Path | Image.Image)
        or hasattr(images, "__array__")
        or not _can_iterate(images)
    )


def _can_iterate(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, bytes | dict)


def _sources(images: Any) -> Iterator[Source]:
    return (_source(image, f"images[{number}]") for number, image in enumerate(images))


def _source(image: Any, name: str) -> Source:
    """Return an image as detectors take it; one without a file is called `name`."""
    if isinstance(image, str | Path):
        return Source(str(image), ImageSource(_file(Path(image))), None)
    if isinstance(image, Image.Image):
        try:
            return Source(name, np.asarray(images.of_pillow(image)), None)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    if hasattr(image, "__array__"):
        return Source(name, _pixels(np.asarray(image), name), None)
    raise DataError(
        f"{name} is of the type {type(image).__name__}: give a path, an array uint8 [h, w, 3] or an image of Pillow"
    )


def _file(path: Path) -> Path:
    refuse_remote(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: give the images in it, such as sorted(Path(...).glob('*.jpg'))")
    if not path.exists():
        raise DataError(f"{path}: no such image")
    return path


def _pixels(array: np.ndarray, name: str) -> npt.NDArray[np.uint8]:
    """Return an array as RGB uint8 [h, w, 3]; raise DataError for one that may mean anything else."""
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] != 3):
        raise DataError(f"{name} has the shape {list(array.shape)}{_way_out(array.shape)}")
    if array.dtype != np.uint8:
        hint = ": if its values are from 0 to 1, give (255 * image).round().astype('uint8')"
        raise DataError(
            f"{name} is {array.dtype}; an image has values uint8 from 0 to 255"
            f"{hint if array.dtype.kind == 'f' else ''}"
        )
    return np.ascontiguousarray(array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2))


def _way_out(shape: tuple[int, ...]) -> str:
    """Say, behind a shape, what an image has and how to make one."""
    match shape:
        case _ if 0 in shape:
            how = ", and no side is 0"
        case (_, _, 4):
            how = ": without transparency it is image[..., :3]"
        case (_, _, 1):
            how = ": as grey it is image[..., 0]"
        case (3, _, _):
            how = ": with channels last it is image.transpose(1, 2, 0)"
        case (_, _, _, _):
            how = ": give several images as a list, list(images)"
        case _:
            how = ""
    return f"; an image has [h, w, 3] or, if grey, [h, w]{how}"
