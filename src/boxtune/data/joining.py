"""Several annotations of one image: joined where that is certain, else one of them is used.

Joining is certain unless two of them draw one object differently, which would make it two objects, or one is the file
of the image's own name and the other is that of another image. What is then left out is counted, object by object.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from boxtune.data import findings as kinds
from boxtune.data.annotations import Annotation
from boxtune.data.findings import Finding, Findings
from boxtune.data.image_record import ImageRecord, ObjectRecord, overlap
from boxtune.data.splits import part_of_folder

_SAME_OBJECT = 0.5  # overlap from which two boxes of a class show one object
_SAME_EDGE = 0.5  # pixels by which edges of equal boxes may differ, where one file has whole numbers only


class Entry(NamedTuple):
    """An annotation, whose objects may be left out, what became of it, and findings; no record if it is unusable."""

    annotation: Annotation
    record: ImageRecord | None
    findings: Sequence[Finding]


@dataclass
class Joiner:
    """Makes one entry of several about one image; counts by class the objects that were left out."""

    findings: Findings
    lost: Counter[str] = field(default_factory=Counter)

    def joined(self, entries: Sequence[Entry]) -> Entry:
        """Return the entry of an image; the one of its own name, else the first, comes first."""
        first, *others = sorted(entries, key=lambda entry: not _has_own_name(entry.annotation))
        if not others:
            return first
        records, used = [first.record] if first.record else [], [first]
        for other in others:
            if not other.record or self._fits(first, other, records):
                used.append(other)
                records += [other.record] if other.record else []
            else:
                self._leave_out(first, other, records)
        return self._united(used, records)

    def note_lost_classes(self, records: Iterable[ImageRecord]) -> None:
        """Report each class of which nothing is left."""
        kept = {item.class_name for record in records for item in record.objects}
        for name, count in sorted(self.lost.items()):
            if name not in kept:
                message = f'all objects of "{name}" ({count}) are in annotations that are left out.'
                self.findings.add(kinds.CLASS_LOST, self.findings.root, message)

    def _fits(self, first: Entry, other: Entry, records: Sequence[ImageRecord]) -> bool:
        """Say whether the objects of another entry can be added to those of `records`."""
        is_of_another_image = not other.annotation.location and not _has_own_name(other.annotation)
        if _has_own_name(first.annotation) and is_of_another_image:
            return False
        known = [(item, record) for record in records for item in record.objects]
        return other.record is None or not any(
            _is_one_object(item, one) and not _is_equal(item, one, record)
            for item in other.record.objects
            for one, record in known
        )

    def _leave_out(self, first: Entry, other: Entry, records: Sequence[ImageRecord]) -> None:
        """Report an entry that is not used, and each of its objects that the others do not show."""
        assert other.record
        known = [one for record in records for one in record.objects]
        lost = [item for item in other.record.objects if not any(_is_one_object(item, one) for one in known)]
        self.lost.update(item.class_name for item in lost)
        name, path, location = other.record.name, other.annotation.path, other.annotation.location
        by_class = ", ".join(f"{key} {n}" for key, n in Counter(item.class_name for item in lost).items())
        other_file = self.findings.name(first.annotation.path)
        message = f"{name} is already annotated by {other_file}. Only here: {by_class or 'nothing'}."
        self.findings.add(kinds.ANNOTATION_TWICE, path, message, location=location, image=name)
        for item in lost:
            message = f"{item.class_name} {[round(side, 4) for side in item.box]} is only here."
            self.findings.add(kinds.OBJECT_LEFT_OUT, path, message, location=location, image=name)

    def _united(self, used: Sequence[Entry], records: Sequence[ImageRecord]) -> Entry:
        """Return one entry of several whose objects can be added; an image that lost all of them is not background."""
        lost_all = any(entry.record is None for entry in used)
        items, num_equal = _without_equals(records)
        untrue = (
            {kinds.NO_OBJECT, kinds.NO_USABLE_OBJECT} if items else {kinds.NO_OBJECT} if lost_all else set()
        )
        findings = [one for entry in used for one in entry.findings if one.kind not in untrue]
        if not records or (lost_all and not items):
            return used[0]._replace(record=None, findings=list(dict.fromkeys(findings)))
        if len(used) > 1:
            where, name = used[1].annotation, records[0].name
            message = f"{name} has {len(used)} entries; equal objects: {num_equal}."
            kind, location = kinds.ANNOTATION_JOINED, where.location
            self.findings.add(kind, where.path, message, location=location, image=name)
            self._note_parts(used, name)
        subset = next((one.subset for one in records if part_of_folder(one.subset) is not None), "")
        record = replace(records[0], objects=tuple(items), subset=subset)
        return used[0]._replace(record=record, findings=list(dict.fromkeys(findings)))

    def _note_parts(self, entries: Sequence[Entry], name: str) -> None:
        """Report an image that its annotations put into several parts of the data set."""
        named = [entry.annotation for entry in entries if part_of_folder(entry.annotation.subset) is not None]
        for other in named[1:]:
            if part_of_folder(other.subset) != part_of_folder(named[0].subset):
                message = f'its part "{other.subset}" is not used: "{named[0].subset}" stands before it.'
                self.findings.add(kinds.NOT_READ, other.path, message, location=other.location, image=name)


def _has_own_name(annotation: Annotation) -> bool:
    """Say whether the file is named like the image."""
    assert annotation.source
    return annotation.path.stem == annotation.source.path.stem


def _is_one_object(one: ObjectRecord, other: ObjectRecord) -> bool:
    return (one.class_name, one.is_crowd) == (other.class_name, other.is_crowd) and (
        overlap(one.box, other.box) >= _SAME_OBJECT
    )


def _is_equal(one: ObjectRecord, other: ObjectRecord, image: ImageRecord) -> bool:
    sides = (image.height, image.width, image.height, image.width)
    edges = zip(one.box, other.box, sides, strict=True)
    return one.class_name == other.class_name and all(abs(a - b) * side <= _SAME_EDGE for a, b, side in edges)


def _without_equals(records: Sequence[ImageRecord]) -> tuple[list[ObjectRecord], int]:
    """Return the objects of all records, equal ones of different records once, and how many of those there were.

    An object gets the mask, keypoints and area of its equal where it has none itself.
    """
    items: list[ObjectRecord] = []
    num_equal = 0
    for record in records:
        earlier = len(items)
        for item in record.objects:
            equal = next((n for n in range(earlier) if _is_equal(items[n], item, record)), None)
            if equal is None:
                items.append(item)
            else:
                num_equal += 1
                known = items[equal]
                items[equal] = replace(
                    known,
                    mask=known.mask or item.mask,
                    keypoints=known.keypoints or item.keypoints,
                    area=item.area if known.area is None else known.area,
                )
    return items, num_equal
