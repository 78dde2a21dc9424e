"""The verb `convert`: annotated photographs become TFRecords and a label map."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from boxtune.data import splits, tfrecord, voc
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.label_map import LabelMap, read_label_map, require_classes
from boxtune.data.records import Finding, ImageRecord, Severity, class_names, require_usable

LABEL_MAP_NAME = "label_map.pbtxt"
REPORT_NAME = "report.json"
_SHARD_NAME = re.compile(r"(train|validation)-\d{5}-of-\d{5}\.tfrecord")
_NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class PartReport:
    """What was written for training or for validation: `classes` counts the objects of each class."""

    images: int
    objects: int
    classes: dict[str, int]
    files: list[str]


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What `convert` wrote, and what it found on the way; printed, it is a page for people."""

    output_dir: Path
    train: PartReport
    validation: PartReport
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return "\n".join([*self._counts(), *_finding_lines(self.findings)])

    def to_json(self) -> str:
        """Return the report for programs, with every finding."""
        content = {
            "version": 1,
            "train": asdict(self.train),
            "validation": asdict(self.validation),
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(content, indent=2) + "\n"

    def _counts(self) -> list[str]:
        train, validation = self.train, self.validation
        rows = [("images", train.images, validation.images), ("objects", train.objects, validation.objects)]
        rows += [(f"  {name}", count, validation.classes[name]) for name, count in train.classes.items()]
        width = max(len(name) for name, _, _ in rows)
        return [
            f"Records, label map and report are in {self.output_dir}",
            "",
            f"{'':{width}}  {'train':>10}  {'validation':>10}",
            *(f"{name:{width}}  {left:>10,}  {right:>10,}" for name, left, right in rows),
        ]


def convert(
    photos: Path,
    output_dir: Path,
    *,
    label_map: Path | None = None,
    validation_files: Path | None = None,
    validation_fraction: float = 0.2,
    seed: int = 0,
    max_loss: float = 0.5,
) -> ConvertReport:
    """Turn a folder of photographs with Pascal VOC XML into TFRecords, a label map and a report.

    Writes ``train-?????-of-?????.tfrecord``, ``validation-...``, ``label_map.pbtxt`` and ``report.json``;
    those of an earlier call in the same folder are replaced. Nothing gets its name before all of it is whole.

    Args:
        photos: the folder, of any layout (see `boxtune.data.voc`).
        output_dir: where to write; made if need be.
        label_map: numbers of the classes; if None, they are numbered in the order of their names.
        validation_files: a text file that names the pictures for validation; if None, they are drawn.
        validation_fraction: the share in (0, 1) to draw.
        seed: of the draw.
        max_loss: the share in [0, 1] of the annotations that may be unusable.

    Raises:
        DataError: there is nothing to convert or too much of it is unusable, a class is not in the label map,
            one side of the split would be empty, or the folder cannot be written to.
    """
    # Read
    reading = voc.read_folder(photos)
    require_usable(reading, max_loss=max_loss)

    # Number the classes
    labels = read_label_map(label_map) if label_map else LabelMap.from_names(class_names(reading.images))
    require_classes(labels, reading.images)

    # Split
    if validation_files:
        parts = splits.split_by_list(reading.images, validation_files)
    else:
        parts = splits.split(reading.images, validation_fraction=validation_fraction, seed=seed)

    # Report
    writable_folder(output_dir)
    train = tfrecord.shards(parts.train, output_dir / "train")
    validation = tfrecord.shards(parts.validation, output_dir / "validation")
    counts = _part_report(parts.train, train, labels), _part_report(parts.validation, validation, labels)
    report = ConvertReport(output_dir, *counts, (*reading.findings, *_one_sided_classes(*counts)))

    # Write
    with ExitStack() as stack:
        for path, records in (train | validation).items():
            tfrecord.write_file(records, labels, stack.enter_context(whole_file(path)))
        label_text = label_map.read_bytes() if label_map else labels.to_text().encode()
        stack.enter_context(whole_file(output_dir / LABEL_MAP_NAME)).write_bytes(label_text)
        stack.enter_context(whole_file(output_dir / REPORT_NAME)).write_text(
            report.to_json(), encoding="utf-8"
        )
    _remove_other_shards(output_dir, keep=train | validation)
    return report


def _part_report(images: Sequence[ImageRecord], files: Iterable[Path], label_map: LabelMap) -> PartReport:
    counts = Counter(label_map.label(item.class_name).name for image in images for item in image.objects)
    return PartReport(
        images=len(images),
        objects=counts.total(),
        classes={name: counts[name] for name in label_map.names},
        files=[path.name for path in files],
    )


def _one_sided_classes(train: PartReport, validation: PartReport) -> list[Finding]:
    findings = []
    for name in train.classes:
        if not train.classes[name]:
            message = f'class "{name}" has no object for training: it cannot be learnt.'
            findings.append(Finding("class not in training", Severity.NOTED, LABEL_MAP_NAME, message))
        if not validation.classes[name]:
            message = f'class "{name}" has no object for validation: it cannot be measured.'
            findings.append(Finding("class not in validation", Severity.NOTED, LABEL_MAP_NAME, message))
    return findings


def _remove_other_shards(folder: Path, *, keep: Iterable[Path]) -> None:
    """Remove shards of an earlier conversion into another number of files, which a pattern would mix up."""
    for path in sorted(set(folder.iterdir()) - set(keep)):
        if _SHARD_NAME.fullmatch(path.name):
            path.unlink()


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings by severity and kind, each kind with its number and the first of its files."""
    lines = []
    for severity in Severity:
        kinds = Counter(finding.kind for finding in findings if finding.severity is severity)
        for kind, count in kinds.most_common():
            lines += ["", f"{severity}: {kind} ({count:,})"]
            examples = [
                finding for finding in findings if (finding.severity, finding.kind) == (severity, kind)
            ]
            lines += [f"  {example.file}: {example.message}" for example in examples[:_NUM_EXAMPLES]]
            if count > _NUM_EXAMPLES:
                lines.append(f"  ... and {count - _NUM_EXAMPLES:,} more, all listed in {REPORT_NAME}")
    return lines
