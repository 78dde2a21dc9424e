"""Which of the formats in a folder is read."""

import json

import pytest

from boxtune.data import reading, recognition
from boxtune.data.findings import Findings
from boxtune.data.listing import list_files
from voc_folder import annotation, element, image_file


def read(folder, **options):
    return reading.read(folder, num_workers=1, **options)


def photos(folder, count=6):
    for number in range(count):
        image_file(folder / f"{number}.jpg")


def label(folder, *numbers):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.4\n")


def test_what_covers_most_images_is_read_and_the_others_are_named(tmp_path):
    photos(tmp_path)
    label(tmp_path, *range(6))
    for number in (1, 2):
        annotation(tmp_path / f"{number}.xml", element())
    found = read(tmp_path)
    assert (found.format_names, len(found.images)) == (["yolo"], 6)
    assert [(f.kind.name, f.message) for f in found.findings] == [
        (
            "annotations in another format",
            "Pascal VOC XML is there too, for 2 images; YOLO labels is read, for 6.",
        )
    ]
    assert read(tmp_path, format_name="voc").format_names == ["voc"]


def test_of_equals_the_first_of_the_table_is_read(tmp_path):
    photos(tmp_path)
    label(tmp_path, *range(6))
    for number in range(6):
        annotation(tmp_path / f"{number}.xml", element())
    assert read(tmp_path).format_names == ["voc"]


def test_one_file_about_many_images_counts_as_many(tmp_path):
    photos(tmp_path)
    annotation(tmp_path / "1.xml", element())
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(6)],
        "annotations": [{"image_id": n, "category_id": 1, "bbox": [4, 2, 16, 10]} for n in range(6)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(document))
    assert read(tmp_path).format_names == ["coco"]


@pytest.mark.parametrize("folder", ["obj_train_data", "annotations", "."])
def test_labels_apart_from_their_images_are_recognised(tmp_path, folder):
    photos(tmp_path / "images")
    label(tmp_path / folder, *range(6))
    found = read(tmp_path)
    assert (found.format_names, len(found.images)) == (["yolo"], 6)


def test_numbers_that_are_about_no_image_are_not_in_the_way(tmp_path):
    photos(tmp_path, 1)
    annotation(tmp_path / "0.xml", element())
    (tmp_path / "numbers.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    found = read(tmp_path)
    assert (found.format_names, found.findings) == (["voc"], ())


def test_one_annotation_among_many_other_files_is_found(tmp_path):
    for number in range(200):
        (tmp_path / f"{number:03}.xml").write_text("<project/>")
    image_file(tmp_path / "077.jpg")
    annotation(tmp_path / "077.xml", element())
    listing = list_files(tmp_path, Findings(tmp_path))
    assert [one.name for one in recognition.recognise(listing)] == ["voc"]
