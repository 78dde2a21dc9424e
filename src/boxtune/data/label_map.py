"""Label maps: which class has which number. Only here and in TFRecords do classes count from 1."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from boxtune import config
from boxtune.config.pipeline_pb2 import LVISFrequency, StringIntLabelMapItem
from boxtune.data.files import write_text
from boxtune.errors import DataError, did_you_mean, to_copy

MAX_ID = 10_000  # of a class: a detector has an output for each number up to the highest
_MOST_NAMED = 3
_log = logging.getLogger("boxtune")
_FREQUENCIES = ("", "f", "c", "r")
"""By the numbers that they have in a label map."""


@dataclass(frozen=True, slots=True)
class Label:
    """A class: its number from 1 on, its name, the name to show if that differs, and ids and names of its keypoints.

    `ancestors` and `descendants` are the ids of the classes above and below it in a hierarchy; `frequency` is LVIS'
    letter, `r`, `c` or `f`, or nothing.
    """

    id: int
    name: str
    display_name: str = ""
    keypoints: tuple[tuple[int, str], ...] = ()
    ancestors: tuple[int, ...] = ()
    descendants: tuple[int, ...] = ()
    frequency: str = ""


@dataclass(frozen=True)
class LabelMap:
    """The classes in the order of their numbers, which need not be without gaps."""

    labels: tuple[Label, ...]

    @classmethod
    def from_names(cls, names: Iterable[str]) -> "LabelMap":
        """Number class names from 1 on in the order of their bytes."""
        ordered = sorted(set(names), key=str.encode)
        return cls(tuple(Label(number, name) for number, name in enumerate(ordered, start=1)))

    @classmethod
    def from_items(cls, items: Iterable[StringIntLabelMapItem], path: Path) -> "LabelMap":
        """Return the classes of the items of a file; one of id 0 named "background", which some have, is left out.

        Raises DataError if there is none, or a number or name is unusable or occurs twice.
        """
        labels = [
            Label(
                item.id,
                item.name or item.display_name,
                item.display_name,
                tuple((point.id, point.label) for point in item.keypoints),
                tuple(item.ancestor_ids),
                tuple(item.descendant_ids),
                _FREQUENCIES[item.frequency],
            )
            for item in items
            if not (item.id == 0 and "background" in (item.name, item.display_name))
        ]
        if not labels:
            raise DataError(f"{path} has no classes. A label map holds item {{ id: 1 name: 'x' }} for each.")
        seen: set[int | str] = set()
        for label in labels:
            if label.id < 1:
                raise DataError(f'{path}: class "{label.name}" has the id {label.id}. Ids count from 1.')
            if label.id > MAX_ID:
                raise DataError(
                    f'{path}: class "{label.name}" has the id {label.id}; at most {MAX_ID} can be trained. Number the'
                    " classes from 1 on."
                )
            if not label.name.strip():
                raise DataError(f"{path}: the class of id {label.id} has no name.")
            for key in (label.id, label.name):
                if key in seen:
                    fault = f'{path}: "{key}" occurs twice; every id and every name must be unique.'
                    raise DataError(fault + _how_to_merge(labels, label.id))
                seen.add(key)
        counts = Counter(label.display_name or label.name for label in labels)
        if shared := [name for name, count in counts.items() if count > 1]:
            _log.warning(
                "%s: %d display_name%s of several classes: %s.",
                path, len(shared), "s are" if len(shared) > 1 else " is", ", ".join(shared[:_MOST_NAMED]),
            )  # fmt: skip
        return cls(tuple(sorted(labels, key=lambda label: label.id)))

    @property
    def names(self) -> list[str]:
        """The names in the order of their numbers."""
        return [label.name for label in self.labels]

    def label(self, name: str) -> Label:
        """Return the class of that name, else of that display name; raise DataError if there is neither."""
        if found := self.by_any_name.get(name):
            return found
        raise DataError(f'The label map has no class "{name}".{did_you_mean(name, self.by_any_name)}')

    @property
    def shown_names(self) -> dict[int, str]:
        """The name to show of each class, 0-based."""
        return {label.id - 1: label.display_name or label.name for label in self.labels}

    def ancestors(self, num_classes: int) -> list[list[int]]:
        """Return for each of `num_classes` classes, 0-based, itself and the classes above it in the hierarchy.

        Raises:
            DataError: if there is no hierarchy, or it names a class that is not there.
        """
        return self._with_related({label.id: label.ancestors for label in self.labels}, num_classes)

    def descendants(self, num_classes: int) -> list[list[int]]:
        """Return for each of `num_classes` classes, 0-based, itself and the classes below it, as `ancestors` does."""
        return self._with_related({label.id: label.descendants for label in self.labels}, num_classes)

    def _with_related(self, related: dict[int, tuple[int, ...]], num_classes: int) -> list[list[int]]:
        if not any(label.ancestors or label.descendants for label in self.labels):
            raise DataError(
                "expand_labels_hierarchy: the label map has no hierarchy; give its items ancestor_ids and "
                "descendant_ids, or leave the field out."
            )
        for number, others in related.items():
            for other in others:
                if other not in related or other > num_classes:
                    fault = f"The label map relates class {number} to class {other}, which is not there."
                    raise DataError(fault)
        return [
            sorted({number - 1, *(other - 1 for other in related.get(number, ()))})
            for number in range(1, num_classes + 1)
        ]

    def to_text(self) -> str:
        """Return the label map as the text of a .pbtxt file."""
        return "\n".join(map(_item_text, self.labels))

    @cached_property
    def by_any_name(self) -> dict[str, Label]:
        """The classes by their names, and by their display names where no other class has that as its name."""
        shown = {label.display_name: label for label in self.labels if label.display_name}
        return shown | {label.name: label for label in self.labels}


def _how_to_merge(labels: Iterable[Label], number: int) -> str:
    """Return how to make one class of those that share a number, "" if none do."""
    first, *others = (label.name for label in labels if label.id == number)
    if not others:
        return ""
    flags = renaming(dict.fromkeys(others, first))
    names = ", ".join([first, *others])
    return f" To make one class of {names}, leave one item of that id, and convert with {flags}."


def renaming(names: Mapping[str, str]) -> str:
    """Return the flags that give classes other names, old to new."""
    return " ".join(to_copy("--rename", f"{old}={new}") for old, new in names.items())


def class_names(label_map: LabelMap, num_classes: int) -> list[str]:
    """Return the names to show of `num_classes` classes, 0-based; each is there once."""
    names = [label_map.shown_names.get(number, f"class {number + 1}") for number in range(num_classes)]
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({number})" for number, name in enumerate(names, start=1)]


def read_label_map(path: Path) -> LabelMap:
    """Read a .pbtxt label map; raise DataError if it cannot be read, or as `LabelMap.from_items`."""
    return LabelMap.from_items(config.read_label_map(path).item, path)


def require_numbers_of_model(given: Path, own: Path | None) -> None:
    """Raise DataError if a label map gives classes other numbers than the model's own, if that is known.

    Other names are no fault: they may be translations. Nor is an own label map that cannot be read, which another
    replaces.
    """
    try:
        numbers = {label.name: label.id for label in read_label_map(own).labels} if own else {}
    except DataError:
        return
    moved = [
        f'"{label.name}" is {label.id} there and {numbers[label.name]} here'
        for label in read_label_map(given).labels
        if numbers.get(label.name, label.id) != label.id
    ]
    if moved:
        more = "; ..." if len(moved) > _MOST_NAMED else ""
        raise DataError(
            f"{given}: its classes have other numbers than in the model's own label map, {own}, so that detections "
            f"would get wrong names: {'; '.join(moved[:_MOST_NAMED])}{more}. Leave "
            "--label_map out: the model's own is taken then."
        )


def write_label_map(label_map: LabelMap, path: Path) -> None:
    """Write a .pbtxt label map."""
    write_text(path, label_map.to_text())


def _item_text(label: Label) -> str:
    shown = f"  display_name: '{_escaped(label.display_name)}'\n" if label.display_name else ""
    points = "".join(
        f"  keypoints {{\n    id: {number}\n    label: '{_escaped(name)}'\n  }}\n"
        for number, name in label.keypoints
    )
    related = "".join(f"  ancestor_ids: {number}\n" for number in label.ancestors)
    related += "".join(f"  descendant_ids: {number}\n" for number in label.descendants)
    if label.frequency:
        related += f"  frequency: {LVISFrequency.Name(_FREQUENCIES.index(label.frequency))}\n"
    return f"item {{\n  id: {label.id}\n  name: '{_escaped(label.name)}'\n{shown}{points}{related}}}\n"


def _escaped(text: str) -> str:
    escapes = {"\\": r"\\", "'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return "".join(escapes.get(character, character) for character in text)
