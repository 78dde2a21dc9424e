"""What a model has found in one image: to count, to go through, to look at, and to hand on.

Dimension letters: k detections, h w pixels of the upright image.
"""

import base64
import html
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxtune.data import image_record
from boxtune.data.image_record import ImageRecord, ImageSource, ObjectRecord, clip
from boxtune.errors import BoxtuneError, ConfigError, many, some
from boxtune.evaluation.found import Source, pixels_of
from boxtune.metrics.masks import from_box, to_array
from boxtune.report.box_drawing import Box, draw_boxes
from boxtune.report.previews import encode_preview

_MOST_NAMED = 5
_MOST_ROWS = 20
_SHOWN_SIDE, _SHOWN_BYTES = 800, 400_000  # of an image in a notebook, which keeps it


@dataclass(frozen=True)
class Detection:
    """A detection: its class, score, and box in pixels of the upright image."""

    name: str
    score: float
    ymin: float
    xmin: float
    ymax: float
    xmax: float


@dataclass(frozen=True, eq=False, repr=False)
class ImageDetections:
    """The detections of an image, the best first. It has a length, and iterating over it gives each as a Detection.

    Attributes:
        source: the image: a file, which is read again to be drawn, or pixels, which are kept.
        height, width: of the upright image, in pixels.
        boxes: float32 [k, 4] as (ymin, xmin, ymax, xmax), in pixels of the upright image; `xyxy` has the other order.
        classes: int64 [k], 0-based: the ids of the label map less 1.
        names: of the classes, k of them.
        scores: float32 [k].
        mask_grids: float32 [k, m, n], how certain the object is there, over each box; None from a model without masks.
            `masks` has the pixels.
        keypoints: float32 [k, p, 2] as (y, x), in pixels of the upright image; None from a model without keypoints.
    """

    source: Source
    height: int
    width: int
    boxes: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    names: list[str]
    scores: npt.NDArray[np.float32]
    mask_grids: npt.NDArray[np.float32] | None = None
    keypoints: npt.NDArray[np.float32] | None = None

    @property
    def masks(self) -> npt.NDArray[np.bool_] | None:
        """The pixels of each object, bool [k, h, w], drawn anew each time; None from a model without masks."""
        if self.mask_grids is None:
            return None
        drawn = np.zeros((len(self), self.height, self.width), bool)
        for row, (grid, box) in enumerate(zip(self.mask_grids, self.fractions, strict=True)):
            drawn[row] = to_array(from_box(grid, box, self.height, self.width))
        return drawn

    @property
    def xyxy(self) -> npt.NDArray[np.float32]:
        """The boxes, float32 [k, 4], as (xmin, ymin, xmax, ymax)."""
        return self.boxes[:, [1, 0, 3, 2]]

    @property
    def image(self) -> Image.Image:
        """The upright image in RGB; raises DataError if its file cannot be read any more."""
        return Image.fromarray(pixels_of(self.source))

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for name, score, box in zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True):
            yield Detection(name, score, *box)

    def __repr__(self) -> str:
        counts = [f"{count} {name}" for name, count in Counter(self.names).most_common()]
        told = f": {some(counts, _MOST_NAMED)}" if counts else ""
        return f"<{many(len(self), 'detection')} in {self.source.name}{told}>"

    def select(self, rows: npt.NDArray[np.intp]) -> "ImageDetections":
        """Return some of them, by their numbers [m]."""
        return replace(
            self,
            boxes=self.boxes[rows],
            classes=self.classes[rows],
            names=[self.names[row] for row in rows.tolist()],
            scores=self.scores[rows],
            mask_grids=None if self.mask_grids is None else self.mask_grids[rows],
            keypoints=None if self.keypoints is None else self.keypoints[rows],
        )

    @property
    def fractions(self) -> npt.NDArray[np.float64]:
        """The boxes, float64 [k, 4], as (ymin, xmin, ymax, xmax) in fractions of the image."""
        return self.boxes / np.array([self.height, self.width] * 2, np.float64)

    def to_record(self, name: str, source: ImageSource) -> ImageRecord:
        """Return them as an annotated image, of which `name` is the path within its data set."""
        objects = (
            ObjectRecord(one, clip(image_record.Box(*box)), score=score)
            for one, box, score in zip(self.names, self.fractions.tolist(), self.scores.tolist(), strict=True)
        )
        return ImageRecord(name, source, "", self.width, self.height, tuple(objects))

    def draw(self) -> Image.Image:
        """Return a copy of the image with the boxes on it; raises DataError if it cannot be read any more."""
        boxes = [
            Box(box, f"{name} {score:.0%}", number)
            for box, name, score, number in zip(
                self.fractions,
                self.names,
                self.scores.tolist(),
                self.classes.tolist(),
                strict=True,
            )
        ]
        return draw_boxes(self.image, boxes[::-1])  # the best on top

    def to_supervision(self) -> Any:
        """Return them as `supervision.Detections`, with `class_name` in its data, and masks if there are some.

        Raises:
            ConfigError: if the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ConfigError(
                'to_supervision needs the package supervision: pip install "boxtune[supervision]"'
            ) from error
        return supervision.Detections(
            xyxy=self.xyxy,
            confidence=self.scores,
            class_id=self.classes,
            mask=self.masks,
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def _repr_html_(self) -> str:
        """Return the drawn image and a table of the best detections: what a notebook shows."""
        rows = [
            f"<tr><td>{html.escape(one.name)}</td><td>{one.score:.3f}</td>"
            f"<td>{one.xmin:.0f}, {one.ymin:.0f}, {one.xmax:.0f}, {one.ymax:.0f}</td></tr>"
            for one in list(self)[:_MOST_ROWS]
        ]
        more = f"<p>and {len(self) - _MOST_ROWS} more</p>" if len(self) > _MOST_ROWS else ""
        head = "<tr><th>class</th><th>score</th><th>xmin, ymin, xmax, ymax</th></tr>"
        table = f"<table>{head}{''.join(rows)}</table>{more}" if rows else ""
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{self._shown_image()}{table}"

    def _shown_image(self) -> str:
        """Return the drawn image for a page; why it cannot be read, if so."""
        try:
            drawn = self.draw()
        except BoxtuneError as error:
            return f"<p>{html.escape(str(error))}</p>"
        drawn.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        data = base64.b64encode(encode_preview(drawn, _SHOWN_BYTES)).decode("ascii")
        return f'<img alt="" src="data:image/jpeg;base64,{data}">'
