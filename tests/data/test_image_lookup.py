from pathlib import Path

import pytest

from boxtune.data.annotations import Annotation
from boxtune.data.findings import Findings, SkipError
from boxtune.data.image_lookup import ImageFiles


def found(images, annotation, filename, location=""):
    root = Path("set")
    findings = Findings(root)
    one = Annotation(root / annotation, filename, (), location=location)
    path = ImageFiles([root / name for name in images]).of(one, findings)
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
