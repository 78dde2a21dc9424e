"""The verb `predict`: what a model finds in images and videos, drawn and written to files."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from boxtune.data.files import Paths, held, writable_folder
from boxtune.data.image_sources import find_given
from boxtune.data.image_writer import unique_stems
from boxtune.data.tiling import tiling_of
from boxtune.detection_writers import (
    CSV,
    DETECTIONS,
    FORMATS,
    JSON,
    TABLE,
    Detected,
    Writer,
    annotations,
    detections_csv,
    detections_json,
)
from boxtune.errors import ConfigError, did_you_mean, many, printable, some
from boxtune.evaluation.found import BATCH_SIZE
from boxtune.finder import exported_of
from boxtune.image_detections import Detection
from boxtune.image_stream import Outputs, finding, in_images, in_video, selection_of
from boxtune.interruption import Interruption
from boxtune.load import Model, load
from boxtune.progress import shown_progress

_MOST_NAMED = 5
_MARGIN = 1e-6  # scores are written with so many digits

_log = logging.getLogger("boxtune")


@dataclass
class Predicted:
    """What was looked at and found; printed, it is a line for people."""

    output_dir: Path
    num_images: int = 0
    """That could be read, each frame of a video among them."""
    counts: Counter[str] = field(default_factory=Counter)
    """Detections that are shown, by the names of their classes."""
    unread: dict[str, str] = field(default_factory=dict)
    """Why an image or a video could not be read (to its end), by its name."""
    highest: tuple[Detection, str] | None = None
    """The detection of the highest score, shown or not, and its image; None where there is none."""
    stopped: bool = False
    """Interrupted; what was found until then is written."""

    @property
    def num_detections(self) -> int:
        """How many detections are shown."""
        return self.counts.total()

    def __str__(self) -> str:
        most = [f"{count:,} {printable(name)}" for name, count in self.counts.most_common()]
        classes = f" ({some(most, _MOST_NAMED)})" if len(most) > 1 else ""
        found = f"{many(self.num_detections, 'object')}{classes} in {many(self.num_images, 'image')}"
        unread = f"; {len(self.unread)} could not be read" if self.unread else ""
        stopped = "; interrupted" if self.stopped else ""
        return f"{found}, written to {self.output_dir}{unread}{stopped}"


def predict(
    model: str | Path,
    images: Paths,
    output_dir: str | Path,
    *,
    label_map: str | Path | None = None,
    min_score: float | None = None,
    classes: Sequence[str] = (),
    to: Sequence[str] = (),
    drawings: bool = True,
    crops: bool = False,
    tile: int | None = None,
    overlap: float | None = None,
    batch_size: int = BATCH_SIZE,
    frame_step: int = 1,
) -> Predicted:
    """Detect objects in images and videos, draw them, and write all detections to `detections.json`.

    Each image is drawn under its own name, as JPEG where it is one, else as PNG; a video as MP4. One that cannot be
    read is logged and passed over. Prints from which scores on detections are shown, and the highest score if no
    detection reaches them. An interruption ends it early; what was found until then is written.

    Args:
        model: as `boxtune.load` takes it; of a project of `retrain`, what was exported of its best run.
        images: files, folders, patterns, lists of files, URLs, videos, "camera:0", or "-" for standard input, as
            `image_sources.find_given` has them. EXIF orientation is applied.
        output_dir: created if necessary.
        label_map: names of the classes; by default the one beside the model.
        min_score: detections below it are left out; by default those below the threshold of their class in the
            `thresholds.json` beside the model, and below 0.5 where it has none.
        classes: names of those to show; all where there is none.
        to: more formats of the detections: "csv", "voc", "coco" or "yolo". For all but the first an image that is no
            file of this machine, such as a frame of a video, is written to `images`.
        drawings: whether images are drawn.
        crops: whether to write what is in each box, to `crops`, in a folder for each class.
        tile, overlap: as a model of `boxtune.load` takes them.
        batch_size: as `boxtune.load` takes it.
        frame_step: of a video, only every frame whose number is a multiple of this is looked at.

    Raises:
        BoxtuneError: if the model or its thresholds cannot be used, there is no image, or something cannot be written.
    """
    formats, tiling, folder = _known_formats(to), tiling_of(tile, overlap), Path(output_dir)
    given = find_given([images] if isinstance(images, str | Path) else images, without=folder)
    detector = load(exported_of(Path(model)), label_map=label_map, batch_size=batch_size)
    selection = selection_of(detector, min_score, classes)
    print(selection.min_scores.source, flush=True)
    find = finding(detector, selection, tiling)
    stems = unique_stems([one.stem for one in given])
    outputs = Outputs(writable_folder(folder), drawings, crops, keeps_images=bool({*formats} - {CSV}))
    outputs.refuse_overwriting(given, stems)
    result = Predicted(folder)
    with held(folder), Interruption() as interruption, ExitStack() as stack:
        writers = [_writer(name, folder, detector, stack) for name in (JSON, *formats)]
        stills = [one for one in zip(given, stems, strict=True) if not one[0].is_video]
        videos = [one for one in zip(given, stems, strict=True) if one[0].is_video]
        detected = chain(
            in_images(find, outputs, interruption.before(stills)),
            *(in_video(find, outputs, *one, frame_step, interruption) for one in interruption.before(videos)),
        )
        advance = stack.enter_context(shown_progress(None if videos else len(stills), "images"))
        for one in detected:
            for writer in writers:
                writer.add(one)
            _count(one, result)
            advance()
        result.stopped = interruption.is_there
    if hint := _nothing_shown(result):
        print(hint, flush=True)
    return result


def _known_formats(to: Sequence[str]) -> list[str]:
    """Return formats without those that are given twice; raise ConfigError for one that cannot be written."""
    for name in to:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise ConfigError(f'"{name}" cannot be written.{did_you_mean(name, FORMATS)} Formats: {known}')
    return list(dict.fromkeys(to))


def _writer(name: str, folder: Path, model: Model, stack: ExitStack) -> Writer:
    """Return what writes detections in a format, until `stack` is left."""
    if name == JSON:
        return stack.enter_context(detections_json(folder / DETECTIONS))
    if name == CSV:
        return stack.enter_context(detections_csv(folder / TABLE))
    return stack.enter_context(annotations(name, folder / name, model.label_map))


def _count(one: Detected, result: Predicted) -> None:
    if one.error:
        _log.warning("%s It is passed over.", printable(one.error))
        result.unread[one.name] = one.error
        return
    result.num_images += 1
    if one.found is not None:
        result.counts.update(one.found.names)
    best = next(iter(one.everything or ()), None)
    # The API's exporter fills up with detections of score 0.
    if best and best.score > 0 and (result.highest is None or best.score > result.highest[0].score):
        result.highest = best, one.name


def _nothing_shown(result: Predicted) -> str:
    """Return, where nothing is shown, what has the highest score and which flag shows it; else nothing."""
    if result.num_detections or not result.num_images:
        return ""
    if result.highest is None:
        return "No image has any detection, whatever its score."
    highest, name = result.highest
    below = max(math.floor((highest.score - _MARGIN) * 100) / 100, 0.0)
    return (
        f"No detection reaches these scores. The highest is {highest.score:.4g}: {printable(highest.name)}, in "
        f"{printable(name)}. --min_score {below:g} shows it."
    )
