"""Runs compared on the same images: an earlier one is measured on the validation images of a later one."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boxtune.data import record_writer
from boxtune.data.cutting import WHOLE
from boxtune.data.label_map import LabelMap, read_label_map
from boxtune.data.reading import read
from boxtune.data.tiling import Tiling
from boxtune.evaluate import evaluate
from boxtune.metrics.analysis import ClassResult
from boxtune.report.evaluation import JSON_NAME, read_evaluation
from boxtune.training.run_state import BEST, COMPLETE_CONFIG, LABEL_MAP

VALIDATION, WHOLE_IMAGES = "validation-*.tfrecord", f"{WHOLE}-*.tfrecord"


@dataclass(frozen=True)
class Comparison:
    """COCO's AP of two runs on the same images, over the classes that both know; -1 if there are no such objects."""

    classes: list[str]
    is_of_all: bool
    """Whether these are all classes of both."""
    before: float
    now: float


def measure(run: Path, other: Path, records: Path, output_dir: Path, tiling: Tiling | None = None) -> bool:
    """Measure the best checkpoint of `run` on the validation images of `other`; return whether it knows any class.

    Objects of classes that the run does not know are left out. If it knows none, nothing is measured.

    Args:
        run: the folder of a run.
        other: that of another.
        records: of that one.
        output_dir: for `evaluation.json` and the page.
        tiling: as `evaluate` takes it; then on the images as they were before they were cut.
    """
    own, others = read_label_map(run / LABEL_MAP), read_label_map(other / LABEL_MAP)
    if _are_same(own, others):
        evaluate(run / COMPLETE_CONFIG, run / BEST, data=records, output_dir=output_dir, tiling=tiling)
    elif known := known_names(own, others):
        print(f"(of the classes that it knows: {', '.join(known)})", flush=True)
        with tempfile.TemporaryDirectory(prefix="boxtune-") as made:
            of = WHOLE_IMAGES if tiling and any(records.glob(WHOLE_IMAGES)) else VALIDATION
            known_objects = _with_known_objects(records.glob(of), own, Path(made))
            evaluate(
                run / COMPLETE_CONFIG, run / BEST, data=known_objects, output_dir=output_dir, tiling=tiling
            )
    else:
        return False
    return True


def knows_all(run: Path, other: Path) -> bool:
    """Say whether two runs have the same classes, of the same ids."""
    return _are_same(read_label_map(run / LABEL_MAP), read_label_map(other / LABEL_MAP))


def _are_same(one: LabelMap, other: LabelMap) -> bool:
    own, others = ([(label.id, label.name) for label in labels.labels] for labels in (one, other))
    return own == others


def known_names(one: LabelMap, other: LabelMap) -> list[str]:
    """Return the names of the classes that both label maps have, in the order of `one`."""
    return [name for name in one.names if name in other.names]


def compare(run: Path, other: Path, measured: Path) -> Comparison:
    """Compare two runs by their evaluations: that of `run` in `measured`, as `measure` left it, and that of `other`."""
    own, others = read_label_map(run / LABEL_MAP), read_label_map(other / LABEL_MAP)
    known = known_names(own, others)
    before, now = (read_evaluation(folder / JSON_NAME).per_class for folder in (measured, other))
    is_of_all = len(known) == len(own.names) == len(others.names)
    return Comparison(known, is_of_all, _mean(before, known), _mean(now, known))


def _mean(rows: Sequence[ClassResult], names: Sequence[str]) -> float:
    """Return COCO's AP over the classes of these names that have objects; -1 if none has."""
    values = [row.AP for row in rows if row.name in names and row.AP is not None]
    return sum(values) / len(values) if values else -1.0


def _with_known_objects(records: Iterable[Path], label_map: LabelMap, folder: Path) -> Path:
    """Write records once more, without objects of classes that a label map lacks; return the file."""
    (folder / "all").mkdir()
    for path in records:
        shutil.copy(path, folder / "all")
    known = label_map.by_any_name
    images = (
        replace(image, objects=tuple(item for item in image.objects if item.class_name in known))
        for image in read(folder / "all", format_name="tfrecord").images
    )
    written = folder / "validation-00000-of-00001.tfrecord"
    record_writer.write_file(images, label_map, written)
    return written
