"""The labels that a model doubts, as text and for JSON."""

from collections.abc import Sequence
from typing import Any

from boxtune.data.image_record import ImageRecord, ObjectRecord
from boxtune.errors import printable, some
from boxtune.metrics.label_doubts import Doubt, LabelDoubts

_NUM_SHOWN = 10
_MOST_CLASSES = 5
_EDGES = ("ymin", "xmin", "ymax", "xmax")


def doubt_lines(doubts: LabelDoubts, images: Sequence[ImageRecord]) -> list[str]:
    """Return what a model doubts as lines: what was compared, and the strongest doubts.

    Args:
        doubts: about labels of `images`.
        images: of all parts, one part after another.
    """
    lines = ["", *about(doubts)]
    if doubts.doubts:
        lines.append("Most doubtful first; boxes are xmin, ymin, xmax, ymax in pixels:")
    lines += [
        f"  {_sentence(doubt, images[doubt.image], doubts.class_names)}"
        for doubt in doubts.doubts[:_NUM_SHOWN]
    ]
    if len(doubts.doubts) > _NUM_SHOWN:
        lines.append(
            f"  ... and {len(doubts.doubts) - _NUM_SHOWN:,} more: --page shows all of them, --report lists them"
        )
    return lines


def about(doubts: LabelDoubts) -> list[str]:
    """Return sentences about what was compared, and what was not."""
    who = some([printable(model) for model in doubts.models], _MOST_CLASSES)
    number = len(doubts.doubts)
    compared = f"{doubts.num_labels:,} labels in {doubts.num_images:,} images"
    sentences = [f"{who}: {number:,} doubt{'s' * (number != 1)} about {compared}."]
    if doubts.num_trained_on:
        sentences.append(
            f"{doubts.num_trained_on:,} of the images were trained on: a long training learns what is wrong there, "
            "too. A short one, or models of several folds, each with --model, find more."
        )
    if doubts.unknown:
        names = some(
            [f"{printable(name)} ({count:,})" for name, count in doubts.unknown.items()], _MOST_CLASSES
        )
        sentences.append(f"Objects of classes that the model does not know are left out: {names}.")
    return sentences


def doubts_json(doubts: LabelDoubts, images: Sequence[ImageRecord]) -> dict[str, Any]:
    """Return what a model doubts for JSON: all doubts, the strongest first; boxes are pixels."""
    return {
        "models": list(doubts.models),
        "compared_images": doubts.num_images,
        "compared_labels": doubts.num_labels,
        "images_trained_on": doubts.num_trained_on,
        "unknown_classes": dict(doubts.unknown),
        "labels": [_row(doubt, images[doubt.image], doubts.class_names) for doubt in doubts.doubts],
    }


def _row(doubt: Doubt, image: ImageRecord, names: Sequence[str]) -> dict[str, Any]:
    item, seen = _item(doubt, image), doubt.seen
    return {
        "kind": doubt.kind,
        "score": round(doubt.score, 4),
        "image": image.name,
        "file": image.annotation,
        "class": item.class_name if item else None,
        "box": dict(zip(_EDGES, _pixels(item, image), strict=True)) if item else None,
        "seen": {
            "class": names[seen.cls],
            "score": round(seen.score, 4),
            "box": dict(zip(_EDGES, (round(side, 1) for side in seen.box), strict=True)),
        }
        if seen
        else None,
    }


def _sentence(doubt: Doubt, image: ImageRecord, names: Sequence[str]) -> str:
    item, seen = _item(doubt, image), doubt.seen
    label = f"label {printable(item.class_name)} at {_at(_pixels(item, image))}" if item else "no label"
    sees = f"{printable(names[seen.cls])} ({seen.score:.2f}) at {_at(seen.box)}" if seen else "nothing"
    return f"{doubt.score:.2f} {doubt.kind}: {printable(image.name)}: {label}; the model sees {sees}"


def _item(doubt: Doubt, image: ImageRecord) -> ObjectRecord | None:
    return None if doubt.label is None else image.objects[doubt.label]


def _pixels(item: ObjectRecord, image: ImageRecord) -> list[float]:
    """Return a box in pixels, [ymin, xmin, ymax, xmax]."""
    sides = (image.height, image.width) * 2
    return [round(part * side, 1) for part, side in zip(item.box, sides, strict=True)]


def _at(box: Sequence[float]) -> str:
    ymin, xmin, ymax, xmax = (round(side) for side in box)
    return f"{xmin} {ymin} {xmax} {ymax}"
