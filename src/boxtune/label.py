"""The verb `label`: a model labels images, for a person to correct in LabelImg, CVAT or Label Studio."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from boxtune.data import images as image_files
from boxtune.data import recognition
from boxtune.data.files import Paths, paths_of, read_text, whole_file, writable_folder
from boxtune.data.formats import label_studio
from boxtune.data.image_record import ImageRecord, ImageSource
from boxtune.data.image_sources import Given, find_given
from boxtune.data.image_writer import write_images
from boxtune.data.reading import annotated_files
from boxtune.data.tiling import tiling_of
from boxtune.errors import ConfigError, DataError, did_you_mean, many, printable, to_copy
from boxtune.evaluation.found import BATCH_SIZE
from boxtune.evaluation.min_scores import MinScores
from boxtune.finder import exported_of
from boxtune.image_detections import ImageDetections
from boxtune.image_stream import Find, Outputs, finding, in_images, selection_of
from boxtune.load import Model, load
from boxtune.progress import shown_progress

LEAST_SURE, SUREST = "least_sure", "surest"
ORDERS = (LEAST_SURE, SUREST)
LABELLED = "labelled.json"
"""In the folder that is written: which images were labelled, and how sure the model is of each."""

_NEXT = {
    "voc": "Open {folder} in LabelImg (Open Dir), correct each image and save it.",
    "yolo": "Open {folder}/images in LabelImg with {folder}/labels as the folder to save to, or in another program.",
    "coco": "Make a task of {folder}/images in CVAT, and upload {folder}/annotations.json to it as COCO 1.0.",
    "label_studio": (
        "Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={parent}, set up a project with {folder}/labeling_config.xml, and "
        "import {folder}/tasks.json."
    ),
}

_log = logging.getLogger("boxtune")


class _Labelled(NamedTuple):
    """An image with what is shown of what was found in it, and how sure the model is of that, from 0 to 1."""

    record: ImageRecord
    sureness: float


@dataclass(frozen=True)
class LabelResult:
    """What was labelled; printed, it is a text for people, with what to do next."""

    output_dir: Path
    to: str
    num_images: int
    num_objects: int
    num_empty: int
    """Images in which nothing was found: they have no annotation."""
    num_labelled_before: int
    """Images that were left out, since they are labelled."""
    num_left: int
    """Images that were left out, since only so many were wanted."""
    unread: Mapping[str, str]
    """Why an image could not be read, by its name."""

    def __str__(self) -> str:
        images, objects = many(self.num_images, "image"), many(self.num_objects, "object")
        counts = {
            "without any object, and without annotation: draw what is there": self.num_empty,
            "left out, since they are labelled": self.num_labelled_before,
            "left for another time": self.num_left,
            "could not be read": len(self.unread),
        }
        return "\n".join(
            [
                f"{self.output_dir} now holds {images} with {objects} to be corrected.",
                *(f"{many(count, 'image')} {what}." for what, count in counts.items() if count),
                _NEXT[self.to].format(folder=self.output_dir, parent=self.output_dir.resolve().parent),
                f"Then train with both: {to_copy('boxtune', 'retrain', 'PHOTOS', self.output_dir)} ...",
            ]
        )


def label(
    model: str | Path,
    images: Paths,
    output_dir: str | Path,
    *,
    to: str = "voc",
    order: str = LEAST_SURE,
    num_images: int | None = None,
    labelled: Paths = (),
    label_map: str | Path | None = None,
    min_score: float | None = None,
    classes: Sequence[str] = (),
    tile: int | None = None,
    overlap: float | None = None,
    batch_size: int = BATCH_SIZE,
) -> LabelResult:
    """Label images with a model, to be corrected by a person and used for training then.

    Writes a folder of its own with copies of the images, upright, whose names begin with their place in the order,
    their annotations, and `labelled.json`. Images that have annotations already are left out. One in which nothing is
    found has no annotation: it is no background until a person says so.

    Args:
        model: as `predict` takes it.
        images: files, folders, patterns and lists of files.
        output_dir: must not exist yet, or be empty.
        to: "voc", "coco", "yolo" or "label_studio".
        order: "least_sure" or "surest", which images come first.
        num_images: how many to label, the first by that order; by default all.
        labelled: folders of images that are labelled, or were by an earlier call: those with the same content are left
            out, too.
        label_map, min_score, classes, tile, overlap, batch_size: as `predict` takes them.

    Raises:
        BoxtuneError: if the model cannot be used, there is nothing to label, or it cannot be written.
    """
    to, folder = to.replace("-", "_"), Path(output_dir)
    _check_choices(to, order)
    tiling = tiling_of(tile, overlap)
    if folder.exists() and any(writable_folder(folder).iterdir()):
        raise DataError(
            f"{folder} is not empty. Choose another folder, so that nothing of it is overwritten."
        )
    named = [images] if isinstance(images, str | Path) else images
    given = _files_of(named, folder)
    annotated = [Path(one) if Path(one).is_dir() else Path(one).parent for one in named]
    wanted = _without_labelled(given, annotated, paths_of(labelled))
    if not wanted:
        raise DataError(f"all of {many(len(given), 'image')} are labelled: there is nothing to label")
    detector = load(exported_of(Path(model)), label_map=label_map, batch_size=batch_size)
    selection = selection_of(detector, min_score, classes)
    print(selection.min_scores.source, flush=True)
    unread: dict[str, str] = {}
    found = sorted(
        _label_all(finding(detector, selection, tiling), selection.min_scores, wanted, unread),
        key=lambda one: one.sureness if order == LEAST_SURE else -one.sureness,
    )
    chosen = found[:num_images]
    if not chosen:
        raise DataError(f"none of {many(len(wanted), 'image')} could be read")
    _write(chosen, writable_folder(folder), to, detector)
    return LabelResult(
        output_dir=folder,
        to=to,
        num_images=len(chosen),
        num_objects=sum(len(one.record.objects) for one in chosen),
        num_empty=sum(not one.record.objects for one in chosen),
        num_labelled_before=len(given) - len(wanted),
        num_left=len(found) - len(chosen),
        unread=unread,
    )


def sureness(scores: npt.NDArray[np.floating], min_scores: npt.NDArray[np.floating]) -> float:
    """Return how sure a model is of what it found in an image: how far its most doubtful detection is from doubt.

    A detection of a score s is in doubt at the lowest score t from which it is shown; it is |s - t| away from that, as
    a fraction of the way to a score of 1, or to one of 0.

    Args:
        scores: of all detections [k], shown or not, from 0 to 1.
        min_scores: the lowest score of the class of each [k].

    Returns:
        From 0 to 1; 1 where nothing was found.
    """
    way = np.where(scores >= min_scores, 1 - min_scores, min_scores)
    return float(np.min(np.abs(scores - min_scores) / np.maximum(way, 1e-6), initial=1.0))


def _check_choices(to: str, order: str) -> None:
    for value, known, what in (
        (to, recognition.WRITERS, "cannot be written"),
        (order, ORDERS, "is no order"),
    ):
        if value not in known:
            raise ConfigError(f'"{value}" {what}.{did_you_mean(value, known)} Known are {", ".join(known)}')


def _files_of(named: Sequence[str | Path], folder: Path) -> list[Given]:
    """Return the images that are named; raise DataError for one that is no file."""
    given = find_given(named, without=folder)
    for one in given:
        if one.is_video:
            raise DataError(
                f"{one.name}: is a video. `boxtune predict --to voc --frame_step 30` writes its frames, labelled"
            )
        if one.file is None:
            raise DataError(
                f"{one.name}: is no file: copy it to this machine first, since it is to be labelled"
            )
    return given


def _without_labelled(
    given: Sequence[Given], folders: Iterable[Path], labelled: Sequence[Path]
) -> list[Given]:
    """Leave out images that have annotations in some folders, or the content of one that is labelled elsewhere."""
    distinct = {folder.resolve() for folder in folders if folder.is_dir()}
    annotated = {path.resolve() for folder in distinct for path in annotated_files(folder)}
    digests = {digest for folder in labelled for digest in _digests_in(folder)}
    return [
        one
        for one in given
        if one.file and one.file.resolve() not in annotated and not (digests and _digest(one.file) in digests)
    ]


def _digests_in(folder: Path) -> Iterator[str]:
    """Yield the SHA-256 of the images that are annotated in a folder, and of those that were labelled for it."""
    for path in annotated_files(folder):
        yield _digest(path)
    path = folder / LABELLED
    if path.exists():
        try:
            yield from (str(one["sha256"]) for one in json.loads(read_text(path))["images"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(f"{path} is damaged: it is not what `boxtune label` wrote") from error


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; nothing of one that cannot be read, which is found out later."""
    try:
        return hashlib.sha256(image_files.read_bytes(ImageSource(path))).hexdigest()
    except DataError:
        return ""


def _label_all(
    find: Find, min_scores: MinScores, given: Sequence[Given], unread: dict[str, str]
) -> Iterator[_Labelled]:
    """Yield each image with what was found in it; why one cannot be read goes to `unread`."""
    by_name = {one.name: one for one in given}
    outputs = Outputs(Path(), drawings=False, crops=False, keeps_images=False)
    detected = in_images(find, outputs, [(one, one.stem) for one in given])
    with shown_progress(len(given), "images") as advance:
        for one in detected:
            advance()
            if one.found is None:
                _log.warning("%s It is passed over.", printable(one.error))
                unread[one.name] = one.error
                continue
            file = by_name[one.name]
            assert file.file
            record = one.found.to_record(file.path, ImageSource(file.file))
            yield _Labelled(record, _sureness_of(one.everything or one.found, min_scores))


def _sureness_of(found: ImageDetections, min_scores: MinScores) -> float:
    return sureness(found.scores, np.array([min_scores.of(number) for number in found.classes.tolist()]))


def _write(chosen: Sequence[_Labelled], folder: Path, to: str, model: Model) -> None:
    """Write the images in their order, with their annotations and the list of them."""
    writer = recognition.WRITERS[to]
    digits = len(str(len(chosen)))
    infos = [image_files.inspect(one.record.source) for one in chosen]
    records = [
        replace(
            one.record, name=f"{place:0{digits}}-{Path(one.record.name).name}", orientation=info.orientation
        )
        for place, (one, info) in enumerate(zip(chosen, infos, strict=True), start=1)
    ]
    names = write_images(records, folder / writer.IMAGES_FOLDER)
    labelled = [number for number, record in enumerate(records) if record.objects]
    without = [name for record, name in zip(records, names, strict=True) if not record.objects]
    writer.write(
        [records[i] for i in labelled],
        [names[i] for i in labelled],
        folder,
        model.label_map,
        **({"unlabelled": without} if writer is label_studio else {}),
    )
    entries = [
        {
            "image": name,
            "source": str(record.source.path),
            "sha256": info.digest.hex(),
            "num_objects": len(record.objects),
            "sureness": round(one.sureness, 4),
        }
        for name, record, info, one in zip(names, records, infos, chosen, strict=True)
    ]
    content = {"model": str(model.path), "images": entries}
    with whole_file(folder / LABELLED) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
