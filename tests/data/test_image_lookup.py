from pathlib import Path

import pytest

from boxtune.data.annotations import Annotation
from boxtune.data.findings import Findings, SkipError
from boxtune.data.image_lookup import ImageFiles


def found(images, annotation, filename, location="", subset="", trusted=""):
    root = Path("set")
    findings = Findings(root)
    one = Annotation(root / annotation, filename, (), location=location, subset=subset)
    path = ImageFiles([root / name for name in images], trusted).of(one, findings)
    return path.relative_to(root).as_posix(), [finding.kind.name for finding in findings.items]


@pytest.mark.parametrize(
    ("images", "annotation", "filename", "expected"),
    [
        # YOLO: parallel folders, names without extension
        (["images/train/1.jpg", "images/val/1.jpg"], "labels/val/1.txt", "1", "images/val/1.jpg"),
        (["train/images/1.jpg", "valid/images/1.jpg"], "valid/labels/1.txt", "1", "valid/images/1.jpg"),
        # COCO: folders that are written
        (["train/1.jpg", "val/1.jpg"], "annotations.json", "val/1.jpg", "val/1.jpg"),
        (["a/train/1.jpg", "b/train/1.jpg"], "x.json", "/data/b/train/1.jpg", "b/train/1.jpg"),
        # beside the annotation
        (["1.jpg", "old/1.jpg"], "1.xml", "1.jpg", "1.jpg"),
        (["1.jpg", "old/1.jpg"], "old/1.xml", "1.jpg", "old/1.jpg"),
    ],
)
def test_of_several_the_nearest_is_taken(images, annotation, filename, expected):
    assert found(images, annotation, filename)[0] == expected


def test_a_name_without_extension_is_no_finding():
    assert found(["1.jpg"], "1.txt", "1") == ("1.jpg", [])
    assert found(["1.jpg"], "1.txt", "1.png") == ("1.jpg", ["image of a similar name"])


def test_two_equally_near_are_not_guessed():
    with pytest.raises(SkipError, match="could both be") as error:
        found(["a/1.jpg", "b/1.jpg"], "x.json", "1.jpg")
    assert error.value.kind.name == "image ambiguous"


def test_the_own_name_of_a_file_about_many_images_says_nothing():
    with pytest.raises(SkipError, match=r'named "gone\.jpg"'):
        found(["labels.jpg"], "labels.json", "gone.jpg", location="images[0]")
    assert found(["labels.jpg"], "labels.xml", "gone.jpg")[0] == "labels.jpg"


# Names that are written in other ways


@pytest.mark.parametrize(
    ("image", "written"),
    [
        ("a.png.jpg", "a.png"),  # as YOLO's labels name it
        ("a.png.jpg", "a.png.jpeg"),
        ("a.tif.png", "a.tif"),
        ("a.jpg", "a.jpg.jpg"),
        ("a.jpg", "a.jpg.png"),
        ("my cat (1).jpg", "my%20cat%20(1).jpg"),
        ("my cat.jpg", "my%2520cat.jpg"),
        ("Füchsin.jpg", "F%C3%BCchsin.jpg"),
        ("my%20cat.jpg", "my cat.jpg"),
        ("100%.jpg", "100%25.jpg"),
        ("cat.jpg", "1a2b3c4d-cat.jpg"),
        ("1a2b3c4d-cat.jpg", "cat.jpg"),
        ("my cat.jpg", "/data/upload/7/1a2b3c4d-my_cat.jpg"),
        ("a.jpg", "s3://bucket/my%20cats/a.jpg?version=3"),
        ("my cats/a.jpg", "https://host/o/my%20cats%2Fa.jpg?alt=media&token=1"),
        ("my cats/a.jpg", "/data/local-files/?d=my%20cats%2Fa.jpg"),
        ("a.jpg", "http://localhost:8080/data/local-files/?d=cats/a.jpg"),
        ("1.jpg", "?d=1.jpg"),
        ("a.jpg", "a.jpg?d=200"),
        ("a.jpg", "b'cats/a.jpg'"),
        ("cats\\a.jpg", "cats/a.jpg"),  # written with a backslash, too
        ("cats\\a.jpg", "a.png"),
    ],
)
def test_a_name_that_is_not_there_is_looked_up_in_other_spellings(image, written):
    assert found([image, "other.jpg"], "x.json", written, location="[0]")[0] == image


@pytest.mark.parametrize(
    ("images", "written", "expected"),
    [
        (["a.jpg", "a.png.jpg"], "a.png", "a.png.jpg"),
        (["my cat.jpg", "my%20cat.jpg"], "my%20cat.jpg", "my%20cat.jpg"),
        (["cat.jpg", "1a2b3c4d-cat.jpg"], "1a2b3c4d-cat.jpg", "1a2b3c4d-cat.jpg"),
        (["1.jpg", "q?d=1.jpg"], "q?d=1.jpg", "q?d=1.jpg"),
        (["cats\\a.jpg", "dogs\\a.jpg"], "dogs/a.jpg", "dogs\\a.jpg"),
        (["cats\\a.jpg", "a.jpg"], "a.jpg", "a.jpg"),
    ],
)
def test_the_spelling_that_is_written_comes_first(images, written, expected):
    assert found(images, "x.json", written, location="[0]")[0] == expected


def test_two_uploads_of_one_name_are_two_images():
    with pytest.raises(SkipError) as error:
        found(["5e6f7a8b-cat.jpg"], "x.json", "1a2b3c4d-cat.jpg", location="[0]")
    assert error.value.kind.name == "image not found"


# Equal names in several folders

BOTH = ("images/Train/1.jpg", "images/Validation/1.jpg")


@pytest.mark.parametrize(
    ("images", "annotation", "subset", "expected"),
    [
        (BOTH, "annotations/instances_Train.json", "", BOTH[0]),
        (BOTH, "annotations/instances_val.json", "", BOTH[1]),
        (BOTH, "images/validation_labels.csv", "", BOTH[1]),
        (BOTH, "annotations/train/all.json", "", BOTH[0]),
        (BOTH, "annotations.xml", "Validation", BOTH[1]),
        (BOTH, "Train.xml", "Validation", BOTH[1]),
        (BOTH, "annotations.xml", "val", BOTH[1]),
        (("cam1/1.jpg", "cam2/1.jpg"), "boxes_cam2.json", "", "cam2/1.jpg"),
        (("cam1/1.jpg", "cam2/1.jpg"), "labels-cam2/all.json", "", "cam2/1.jpg"),
        (("train2017/1.jpg", "val2017/1.jpg"), "annotations/instances_val2017.json", "", "val2017/1.jpg"),
    ],
)
def test_equal_names_are_told_apart_by_file_folder_and_subset(images, annotation, subset, expected):
    assert found(images, annotation, "1.jpg", location="[0]", subset=subset)[0] == expected


def test_words_that_say_nothing_are_no_guess():
    with pytest.raises(SkipError, match="could both be"):
        found(BOTH, "annotations/instances_default.json", "1.jpg", location="[0]")


# A file that names another image than its own name


def test_an_image_of_the_files_own_name_contradicts_what_is_written():
    images = ["1.jpg", "2.jpg"]
    with pytest.raises(SkipError, match=r'names "2.jpg", which is there, and so is 1.jpg') as error:
        found(images, "1.xml", "2.jpg")
    assert error.value.kind.name == "name of another image"
    assert found(images, "1.xml", "2.jpg", trusted="own")[0] == "1.jpg"
    assert found(images, "1.xml", "2.jpg", trusted="written")[0] == "2.jpg"
    with pytest.raises(SkipError, match="own name"):
        found(["images/1.jpg", "images/2.jpg"], "annotations/1.json", "2.png")


@pytest.mark.parametrize(
    ("images", "annotation", "written", "expected"),
    [
        (["2.jpg"], "1.xml", "2.jpg", "2.jpg"),
        (["train/2.jpg", "test/1.jpg"], "train/1.xml", "2.jpg", "train/2.jpg"),
        (["1.jpg", "2.jpg"], "1.xml", "1.png", "1.jpg"),
        (["1.jpg", "2.jpg"], "1.xml", "gone.jpg", "1.jpg"),
    ],
)
def test_what_is_written_counts_where_nothing_contradicts_it(images, annotation, written, expected):
    assert found(images, annotation, written)[0] == expected
    assert found(images, annotation, written, trusted="written")[0] == expected
