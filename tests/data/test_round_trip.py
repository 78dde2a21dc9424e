"""Any set of valid records survives the way through every format that is written."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.data import record_writer
from boxtune.data.findings import Action
from boxtune.data.formats import coco, label_studio, voc, yolo
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.data.image_writer import write_images
from boxtune.data.label_map import LabelMap, write_label_map
from boxtune.data.reading import read
from voc_folder import image_file

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=8)
CLASSES = NAMES.map(str.strip).filter(bool)


@st.composite
def boxes(draw, width, height):
    """Return a box whose sides are at least three pixels, on whole pixels or anywhere."""
    number = st.integers if draw(st.booleans()) else st.floats
    left, top = draw(number(0, width - 3)), draw(number(0, height - 3))
    right, bottom = draw(number(left + 3, width)), draw(number(top + 3, height))
    return Box(top / height, left / width, bottom / height, right / width)


def _rounded(box):
    return tuple(round(side, 3) for side in box)


@st.composite
def image_records(draw, number):
    width, height = draw(st.integers(8, 600)), draw(st.integers(8, 600))
    locations = draw(st.lists(boxes(width, height), max_size=4, unique_by=_rounded))
    objects = tuple(ObjectRecord(draw(CLASSES), box) for box in locations)
    return ImageRecord(f"sub/{number}.png", ImageSource(Path()), "", width, height, objects)


@st.composite
def sets(draw):
    return [draw(image_records(number)) for number in range(draw(st.integers(1, 3)))]


def written(writer, records, folder, label_map):
    """Write a data set in a format and read it again."""
    names = write_images(records, folder / writer.IMAGES_FOLDER, num_workers=1)
    writer.write(records, names, folder, label_map)
    return read_again(folder, writer.FORMAT.name)


def recorded(records, folder, label_map):
    folder.mkdir()
    record_writer.write_file(records, label_map, folder / "all.tfrecord")
    write_label_map(label_map, folder / "label_map.pbtxt")
    return read_again(folder, "tfrecord")


def read_again(folder, format_name):
    found = read(folder, format_name=format_name, num_workers=1)
    assert {finding.kind.action for finding in found.findings} <= {Action.KEEP}, found.findings
    return found.images


@settings(max_examples=25, deadline=None)
@given(sets())
def test_voc_tfrecord_coco_yolo_label_studio_voc(records):
    label_map = LabelMap.from_names(
        [item.class_name for record in records for item in record.objects] or ["x"]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for record in records:
            image_file(folder / "start" / record.name, width=record.width, height=record.height, mode="L")
        voc.write(records, [record.name for record in records], folder / "start", label_map)
        first = read_again(folder / "start", "voc")
        second = recorded(first, folder / "records", label_map)
        third = written(coco, second, folder / "coco", label_map)
        fourth = written(yolo, third, folder / "yolo", label_map)
        fifth = written(label_studio, fourth, folder / "studio", label_map)
        last = written(voc, fifth, folder / "voc", label_map)
    for before, after in zip(records, last, strict=True):
        assert (before.width, before.height) == (after.width, after.height)
        assert [item.class_name for item in before.objects] == [item.class_name for item in after.objects]
        # VOC keeps a thousandth of a pixel (twice here), TFRecord float32.
        for item, again in zip(before.objects, after.objects, strict=True):
            assert again.box.ymin == pytest.approx(item.box.ymin, abs=0.0011 / before.height)
            assert again.box.xmin == pytest.approx(item.box.xmin, abs=0.0011 / before.width)
            assert again.box.ymax == pytest.approx(item.box.ymax, abs=0.0011 / before.height)
            assert again.box.xmax == pytest.approx(item.box.xmax, abs=0.0011 / before.width)
