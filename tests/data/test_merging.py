"""Several folders as one data set: formats mixed, classes merged by name, names within the common folder."""

import json
import os

import pytest

from boxtune import cli
from boxtune.data import findings as kinds
from boxtune.data.files import read_text
from boxtune.data.merging import read_folders
from boxtune.data.preparation import Options, prepare
from boxtune.errors import DataError
from voc_folder import annotated, annotation, element, image_file


@pytest.fixture
def folders(tmp_path):
    """`first` is Pascal VOC with a cat and a dog, `second` COCO with a cat and a bird; both have a file a.jpg."""
    annotated(tmp_path / "first", "a", element("cat"))
    annotated(tmp_path / "first", "b", element("dog"))
    image_file(tmp_path / "second" / "images" / "a.jpg", seed=1)
    image_file(tmp_path / "second" / "images" / "c.jpg", seed=2)
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "c.jpg"}],
        "categories": [{"id": 7, "name": "bird"}, {"id": 8, "name": "cat"}],
        "annotations": [
            {"image_id": 1, "category_id": 8, "bbox": [4, 2, 16, 10]},
            {"image_id": 2, "category_id": 7, "bbox": [0, 0, 20, 10]},
        ],
    }
    (tmp_path / "second" / "all.json").write_text(json.dumps(document))
    return tmp_path / "first", tmp_path / "second"


def read(*folders):
    return read_folders(folders, num_workers=1)


def test_images_of_both_are_there_with_their_classes_and_names_within_the_common_folder(folders, tmp_path):
    found = read(*folders)
    assert found.root == tmp_path
    assert [(image.name, image.objects[0].class_name) for image in found.images] == [
        ("first/a.jpg", "cat"),
        ("first/b.jpg", "dog"),
        ("second/images/a.jpg", "cat"),
        ("second/images/c.jpg", "bird"),
    ]
    assert [image.annotation for image in found.images] == [
        "first/a.xml",
        "first/b.xml",
        *["second/all.json"] * 2,
    ]
    assert found.format_names == ["voc", "coco"]
    assert found.num_annotations == 4
    assert len(set(found.digests)) == len({row.tobytes() for row in found.fingerprints}) == 4


def test_the_order_of_the_folders_changes_no_image(folders):
    forth, back = read(*folders), read(*reversed(folders))
    assert (forth.images, forth.digests) == (back.images, back.digests)
    assert (forth.fingerprints == back.fingerprints).all()


def test_signatures_stay_with_their_images(folders):
    together, second = read(*folders), read(folders[1])
    of_name = dict(zip((image.name for image in together.images), together.digests, strict=True))
    assert [of_name[f"second/{image.name}"] for image in second.images] == list(second.digests)


def test_findings_name_files_within_the_common_folder(folders):
    annotation(folders[0] / "lost.xml", element())
    (finding,) = read(*folders).findings
    assert finding.file == "first/lost.xml"


def test_relative_folders_give_relative_names(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read(*(folder.relative_to(tmp_path) for folder in folders))
    mixed = read(folders[0].relative_to(tmp_path), folders[1])
    names = [[image.name for image in one.images] for one in (found, mixed, read(*folders))]
    assert names[0] == names[1] == names[2]
    assert not found.root.is_absolute()


def test_a_copy_in_the_other_folder_is_found_and_stays_on_the_same_side(folders):
    image_file(folders[1] / "images" / "a.jpg")  # the bytes of first/a.jpg
    prepared = prepare(folders, Options(num_workers=1))
    (copy,) = [one for one in prepared.findings if one.kind == kinds.IMAGE_TWICE]
    assert (copy.file, copy.message) == ("second/images/a.jpg", "first/a.jpg is the same image.")
    (part,) = {
        part for part, images in prepared.parts.items() for image in images if image.name.endswith("a.jpg")
    }
    assert part in ("train", "validation")


def test_folders_named_train_and_valid_are_the_split(tmp_path):
    annotated(tmp_path / "train", "a")
    annotated(tmp_path / "valid", "b")
    parts = prepare([tmp_path / "valid", tmp_path / "train"], Options(num_workers=1)).parts
    assert {part: [image.name for image in images] for part, images in parts.items()} == {
        "train": ["train/a.jpg"],
        "validation": ["valid/b.jpg"],
    }


def test_the_lists_of_each_folder_count_for_its_own_images(tmp_path):
    for folder in ("one", "two"):
        for name in "abc":
            image_file(
                tmp_path / folder / f"{name}.jpg", seed=ord(name) + 26 * len(folder) * (folder == "two")
            )
            annotation(tmp_path / folder / f"{name}.xml", element())
        (tmp_path / folder / "train.txt").write_text("a\nb\n" if folder == "one" else "b\nc\n")
        (tmp_path / folder / "val.txt").write_text("c\n" if folder == "one" else "a\n")
    prepared = prepare([tmp_path / "one", tmp_path / "two"], Options(num_workers=1))
    assert [image.name for image in prepared.parts["validation"]] == ["one/c.jpg", "two/a.jpg"]
    assert {one.kind for one in prepared.findings}.isdisjoint((kinds.LIST_WRONG, kinds.LISTS_INCOMPLETE))


@pytest.mark.parametrize("inner", [".", "below"])
def test_a_folder_within_another_is_refused(tmp_path, inner):
    annotated(tmp_path / "photos", "a")
    annotated(tmp_path / "photos" / inner, "b")
    with pytest.raises(DataError, match=r"is within .*photos: give .*photos alone"):
        read(tmp_path / "photos", tmp_path / "photos" / inner)


def test_annotations_elsewhere_go_with_one_folder(folders, tmp_path):
    with pytest.raises(DataError, match="goes with one folder of images, not with 2"):
        read_folders(folders, annotations=tmp_path)


def test_a_folder_without_annotations_is_named(folders, tmp_path):
    os.mkdir(tmp_path / "empty")
    with pytest.raises(DataError, match=r"empty holds no annotations"):
        read(*folders, tmp_path / "empty")


def test_the_commands_take_several_folders(folders, tmp_path, capsys):
    assert cli.main(["check", *map(str, folders)]) == 0
    first, second = folders
    assert f"Pascal VOC XML of {first} and COCO JSON of {second}" in capsys.readouterr().out
    assert cli.main(["convert", *map(str, folders), "--output_dir", str(tmp_path / "records")]) == 0
    assert read_text(tmp_path / "records" / "label_map.pbtxt").count("item") == 3
    assert json.loads(read_text(tmp_path / "records" / "report.json"))["format"] == "voc, coco"
