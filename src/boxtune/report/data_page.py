"""A data set as one page: its counts, its findings, its images with their boxes."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from boxtune.data.findings import KINDS, Finding, by_kind, flags_of
from boxtune.data.image_record import ImageRecord, ObjectRecord, class_names
from boxtune.data.label_map import LabelMap
from boxtune.data.workers import map_in_processes
from boxtune.errors import printable
from boxtune.metrics.label_doubts import Kind, LabelDoubts, Seen
from boxtune.report import page
from boxtune.report.anchor_fit import AnchorFit
from boxtune.report.label_doubts import about
from boxtune.report.page import Columns, floats, integers, starts
from boxtune.report.previews import choose_previews, preview_base64, preview_limits


def write_page(
    path: Path,
    *,
    title: str,
    parts: Mapping[str, Sequence[ImageRecord]],
    findings: Sequence[Finding],
    label_map: LabelMap,
    fit: AnchorFit | None = None,
    doubts: LabelDoubts | None = None,
) -> None:
    """Write a page that shows a data set.

    Args:
        title: what the page is called, such as the folder's name.
        parts: the images, by what they are for ("train", "validation").
        findings: what was not as it should be.
        label_map: the classes; those of objects that it lacks are shown as such.
        fit: of the objects of all parts, in their order, if they are to be held against a detector's anchors.
        doubts: about labels of all parts, if a model has looked at the images.

    Raises:
        DataError: the file cannot be written.
    """
    records = [image for part in parts.values() for image in part]
    links = _links(records, findings)
    doubted = {doubt.image for doubt in doubts.doubts} if doubts else set()
    previewed = choose_previews(len(records), doubted.union(*links))
    side, max_bytes = preview_limits(len(previewed))
    class_numbers, classes = _classes(records, label_map)
    data = {
        "parts": [printable(name) for name in parts],
        "classes": classes,
        "kinds": [
            {key: getattr(kind, key) for key in ("name", "severity", "action", "advice")}
            | {"flags": flags_of(by_kind(findings).get(kind, ()))}
            for kind in KINDS
        ],
        "images": _images(parts, previewed),
        "objects": _objects([item for image in records for item in image.objects], class_numbers),
        "findings": _findings(findings, links),
        "fit": _fit(fit, sum(len(image.objects) for image in records)) if fit else None,
        "doubts": _doubts(doubts, records, class_numbers) if doubts else None,
        "previews": page.about_previews(len(previewed)),
    }
    sources = [(records[image].source, records[image].orientation) for image in previewed]
    previews = map_in_processes(partial(preview_base64, side=side, max_bytes=max_bytes), sources)
    page.write(path, "data_page", title=title, data=data, parts=[page.GALLERY], previews=previews)


def _classes(records: Iterable[ImageRecord], label_map: LabelMap) -> tuple[dict[str, int], Columns]:
    """Return the number of every class by its name, and the columns: the label map's, then those that it lacks."""
    names = label_map.names
    numbers = {
        label.display_name: number for number, label in enumerate(label_map.labels) if label.display_name
    }
    numbers |= {name: number for number, name in enumerate(names)}
    unknown = [name for name in class_names(records) if name not in numbers]
    numbers |= {name: number for number, name in enumerate(unknown, start=len(names))}
    return numbers, {"name": [printable(name) for name in names + unknown], "known": len(names)}


def _images(parts: Mapping[str, Sequence[ImageRecord]], previewed: Iterable[int]) -> Columns:
    """Return the columns of the images; `preview` is 0 without one, else its number from 1 on."""
    records = [image for part in parts.values() for image in part]
    preview = np.zeros(len(records), np.int64)
    for number, image in enumerate(previewed, start=1):
        preview[image] = number
    return {
        "name": [printable(image.name) for image in records],
        "part": integers(np.repeat(np.arange(len(parts)), [len(part) for part in parts.values()])),
        "width": integers([image.width for image in records]),
        "height": integers([image.height for image in records]),
        "preview": integers(preview),
        "objects": starts(len(image.objects) for image in records),
    }


def _objects(objects: Sequence[ObjectRecord], class_numbers: Mapping[str, int]) -> Columns:
    """Return the columns of the objects, image after image."""
    flags = [one.difficult | one.truncated << 1 | one.is_crowd << 2 | one.group_of << 3 for one in objects]
    return {
        "class": integers([class_numbers[item.class_name] for item in objects]),
        "box": floats([item.box for item in objects]),
        "flags": integers(flags),
    }


def _findings(findings: Sequence[Finding], links: Sequence[Sequence[int]]) -> Columns:
    """Return the columns of the findings; those of `images` are laid end to end."""
    kinds = {kind: number for number, kind in enumerate(KINDS)}
    return {
        "kind": integers([kinds[finding.kind] for finding in findings]),
        "file": [finding.file for finding in findings],
        "location": [finding.location for finding in findings],
        "message": [finding.message for finding in findings],
        "images": integers([image for images in links for image in images]),
        "links": starts(map(len, links)),
    }


def _doubts(doubts: LabelDoubts, records: Sequence[ImageRecord], class_numbers: Mapping[str, int]) -> Columns:
    """Return the columns of the doubts. Objects, of all images, and classes that are seen count from 1; 0 is none."""
    first_object = np.cumsum([0, *(len(image.objects) for image in records)])
    kinds, own = list(Kind), [class_numbers[name] for name in doubts.class_names]
    found, nothing = doubts.doubts, Seen(-1, 0.0, (0.0,) * 4)
    seen = [doubt.seen or nothing for doubt in found]
    sides = [(records[doubt.image].height, records[doubt.image].width) * 2 for doubt in found]
    return {
        "about": [printable(line) for line in about(doubts)],
        "kinds": kinds,
        "kind": integers([kinds.index(doubt.kind) for doubt in found]),
        "score": floats([doubt.score for doubt in found]),
        "image": integers([doubt.image for doubt in found]),
        "object": integers(
            [0 if doubt.label is None else first_object[doubt.image] + doubt.label + 1 for doubt in found]
        ),
        "seen": integers([0 if one is nothing else own[one.cls] + 1 for one in seen]),
        "seen_score": floats([one.score for one in seen]),
        "seen_box": floats([np.divide(one.box, size) for one, size in zip(seen, sides, strict=True)]),
    }


def _fit(fit: AnchorFit, num_objects: int) -> Columns:
    """Return the columns of the anchors' shapes, and of the objects as the detector's input shows them."""
    if len(fit.best_iou) != num_objects:
        raise ValueError(
            f"The anchors were held against {len(fit.best_iou)} objects, the page has {num_objects}."
        )
    return {
        "anchors": len(fit.anchors),
        "threshold": fit.matched_threshold,
        "shape": floats(fit.shapes),
        "size": floats(fit.boxes[:, 2:] - fit.boxes[:, :2]),
        "iou": floats(fit.best_iou),
    }


def _links(records: Sequence[ImageRecord], findings: Iterable[Finding]) -> list[list[int]]:
    """Return for each finding the images that it is about: of the name it gives, else of its file's name."""
    images: dict[str, list[int]] = {}
    for number, image in enumerate(records):
        images.setdefault(printable(image.name), []).append(number)
    return [images.get(finding.image or finding.file, []) for finding in findings]
