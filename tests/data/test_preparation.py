import json

import numpy as np
import pytest
from PIL import Image

from boxtune import cli
from boxtune.check import CheckResult
from boxtune.data.label_map import Label, LabelMap, write_label_map
from boxtune.data.preparation import Options, prepare, too_few_to_validate
from boxtune.errors import DataError
from voc_folder import annotation, element, image_file


@pytest.fixture
def photos(tmp_path):
    """Ten images, all different: a cat in each, dogs in two."""
    folder = tmp_path / "photos"
    for number in range(10):
        image_file(folder / f"{number}.jpg", seed=number)
        annotation(folder / f"{number}.xml", element("cat"), *[element("dog", xmin=8)] * (number in (3, 7)))
    return folder


def made_ready(folder, **options):
    return prepare(folder, Options(num_workers=1, **options))


def kinds(prepared):
    return [finding.kind.name for finding in prepared.findings]


def label_file(folder, *labels):
    write_label_map(LabelMap(tuple(Label(*label) for label in labels)), folder / "labels.pbtxt")
    return folder / "labels.pbtxt"


def test_classes_are_numbered_in_the_order_of_their_names(photos):
    assert made_ready(photos).label_map.names == ["cat", "dog"]


def test_a_class_that_the_label_map_lacks_is_refused_once_with_the_flag_to_copy(photos, tmp_path):
    prepared = made_ready(photos, label_map=label_file(tmp_path, (1, "cat"), (2, "dogs")))
    (unknown,) = [one for one in prepared.findings if one.kind.name == "class not in the label map"]
    assert (unknown.file, unknown.image) == ("3.xml", "3.jpg")
    assert "It is the class of 2 objects in 2 images" in unknown.message
    assert 'no class "dog". Did you mean "dogs"?' in prepared.refusal
    assert prepared.refusal.endswith("To copy: --rename dog=dogs")


def test_the_flags_of_all_wrong_names_are_one_line_to_copy(photos, tmp_path):
    for number in range(4):
        annotation(photos / f"{number}.xml", element("Big Cat"), element("kow", xmin=8), element("zzz"))
    labels = label_file(tmp_path, (1, "big cat"), (2, "cow"), (3, "cat"), (4, "dog"))
    prepared = made_ready(photos, label_map=labels)
    unknown = [one for one in prepared.findings if one.kind.name == "class not in the label map"]
    # Nothing is like "zzz".
    assert [one.flags for one in unknown] == ["--rename 'Big Cat=big cat'", "--rename kow=cow", ""]
    text = str(CheckResult(prepared))
    assert "error: class not in the label map (3): refuse." in text
    assert "  to copy: --rename 'Big Cat=big cat' --rename kow=cow\n" in text
    names = {"Big Cat": "big cat", "kow": "cow"}
    assert made_ready(photos, label_map=labels, rename=names, drop=["zzz"]).refusal == ""


def test_a_class_can_be_renamed(photos, tmp_path):
    labels = label_file(tmp_path, (1, "cat"), (2, "dogs"))
    prepared = made_ready(photos, label_map=labels, rename={"dog": "dogs"})
    assert prepared.refusal == ""
    assert sum(item.class_name == "dogs" for image in prepared.reading.images for item in image.objects) == 2
    with pytest.raises(DataError, match=r'class "dgo".*Did you mean "dog"'):
        made_ready(photos, rename={"dgo": "dogs"})


def test_a_class_can_be_left_out(photos):
    prepared = made_ready(photos, drop=["dog"])
    assert prepared.label_map.names == ["cat"]
    assert [(f.kind.name, f.message) for f in prepared.findings] == [
        ("class left out", '2 objects of the class "dog".')
    ]
    with pytest.raises(DataError, match=r'class "dgo".*Did you mean "dog"'):
        made_ready(photos, drop=["dgo"])


def test_spellings_are_reported_and_never_folded(photos):
    annotation(photos / "0.xml", element("Cat"), element("CAT ", xmin=5), element("c-a-t", xmin=6))
    prepared = made_ready(photos)
    (finding,) = [f for f in prepared.findings if f.kind.name == "class spelled in several ways"]
    assert '"CAT" and "Cat" and "c-a-t" and "cat"' in finding.message
    # Most are called "cat".
    assert finding.flags == "--rename CAT=cat --rename Cat=cat --rename c-a-t=cat"
    assert prepared.label_map.names == ["CAT", "Cat", "c-a-t", "cat", "dog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item { id: 3 name: 'dog' } item { id: 1 name: 'cat' }", "3, 1"),
        ("item { id: 2 name: 'dog' } item { id: 1 name: 'cat' }", "2, 1"),
        ("item { id: 1 name: 'cat' } item { id: 3 name: 'dog' }", "1, 3"),
        ("item { id: 0 name: 'background' } item { id: 1 name: 'cat' } item { id: 2 name: 'dog' }", None),
    ],
)
def test_label_ids_with_gaps_or_out_of_order_are_reported(photos, tmp_path, text, message):
    (tmp_path / "labels.pbtxt").write_text(text)
    also = [
        finding.message
        for finding in made_ready(photos, label_map=tmp_path / "labels.pbtxt").findings
        if finding.kind.name.startswith("label ids")
    ]
    assert also == ([f"the ids are {message}."] if message else [])


def test_classes_that_cannot_be_learnt_or_measured_are_reported(photos, tmp_path):
    (tmp_path / "list.txt").write_text("3\n7\n")
    annotation(photos / "0.xml", element("cow"))
    labels = label_file(tmp_path, (1, "cat"), (2, "dog"), (3, "cow"), (4, "emu"))
    prepared = made_ready(photos, label_map=labels, validation_files=tmp_path / "list.txt")
    assert [(f.kind.name, f.message) for f in prepared.findings] == [
        ("class not in training", 'there is no "dog".'),
        ("class not in validation", 'there is no "cow".'),
        ("class without objects", 'there is no "emu".'),
    ]


def test_a_class_of_crowds_only_is_reported(tmp_path):
    boxes = {"a": [(1, 0), (1, 0), (2, 1)], "b": [(1, 0), (2, 1), (2, 1)]}
    names = list(boxes)
    annotations = [
        {"image_id": names.index(name), "category_id": number, "bbox": [row, 2, 9, 9], "iscrowd": crowd}
        for name, objects in boxes.items()
        for row, (number, crowd) in enumerate(objects)
    ]
    document = {
        "images": [{"id": names.index(name), "file_name": f"{name}.jpg"} for name in names],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "flock"}],
        "annotations": annotations,
    }
    for name in names:
        image_file(tmp_path / f"{name}.jpg")
    (tmp_path / "a.json").write_text(json.dumps(document))
    prepared = made_ready(tmp_path, validation_fraction=0.0)
    found = [f.message for f in prepared.findings if f.kind.name == "class of crowds only"]
    assert found == ['every object of "flock" is a crowd (3).']


def test_a_split_that_lost_images_make_impossible_is_a_refusal_beside_the_findings(tmp_path):
    for name in ("a", "b"):
        annotation(tmp_path / f"{name}.xml", element())
    image_file(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"<html></html>")
    prepared = made_ready(tmp_path, max_unusable=0.6)
    assert kinds(prepared) == ["unreadable image"]
    assert (
        "Skipped: unreadable image 1. For example b.xml: b.jpg: it cannot be decoded: it is a web page (HTML),"
        " not an image. Get the image itself."
    ) in prepared.refusal
    (tmp_path / "b.xml").unlink()
    alone = made_ready(tmp_path)
    assert "too few usable images: 1" in alone.refusal
    assert len(alone.parts["train"]) == 1


def test_what_was_found_is_shown_where_a_split_is_not_possible(tmp_path, capsys):
    image_file(tmp_path / "a.jpg")
    annotation(tmp_path / "a.xml", element("cat"), element("cat", xmin=-9))
    assert cli.main(["check", str(tmp_path)]) == 1
    page = capsys.readouterr().out
    assert page.index("box beyond the image (1)") < page.index("There are too few usable images")


def test_what_may_be_the_cause_of_the_rest_is_named_first(tmp_path):
    for number in range(4):
        image_file(tmp_path / f"{number}.jpg", width=200, height=100)
        annotation(tmp_path / f"{number}.xml", element("cat", 0.1, 0.2, 0.3 + number / 10, 0.4))
    path = label_file(tmp_path.parent, (1, "dog"))
    prepared = made_ready(tmp_path, label_map=path)
    assert "--boxes normalized" in prepared.refusal
    page = str(CheckResult(prepared))
    assert page.index("boxes written in another way") < page.index("no usable object")
    skipped = Options(num_workers=1, boxes="normalized,sides", label_map=path)
    assert 'no class "cat"' in prepare(tmp_path, skipped).refusal


def test_folders_of_the_data_set_are_its_split(tmp_path):
    for number in range(6):
        part = "valid" if number < 2 else "train"
        image_file(tmp_path / part / f"{number}.jpg", seed=number)
        annotation(tmp_path / part / f"{number}.xml", element())
    prepared = made_ready(tmp_path)
    assert {part: len(images) for part, images in prepared.parts.items()} == {"train": 4, "validation": 2}
    image_file(tmp_path / "more.jpg", seed=9)
    annotation(tmp_path / "more.xml", element())
    assert [(f.kind.name, f.image) for f in made_ready(tmp_path).findings] == [
        ("image in none of the parts", "more.jpg")
    ]
    (tmp_path / "more.xml").unlink()
    drawn = made_ready(tmp_path, validation_fraction=0.5)
    assert {part: len(images) for part, images in drawn.parts.items()} == {"train": 3, "validation": 3}


def scene(path, seed, **options):
    """Save an image of large shapes, annotated."""
    path.parent.mkdir(exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((320, 240)).save(path, **options)
    annotation(path.with_suffix(".xml"), element(), size=(320, 240))


def test_the_same_image_on_both_sides_is_reported(tmp_path):
    for number in range(4):
        scene(tmp_path / "train" / f"{number}.jpg", number)
    scene(tmp_path / "valid" / "again.jpg", 2, quality=60)
    prepared = made_ready(tmp_path)
    leaks = [finding for finding in prepared.findings if finding.kind.name == "same image in two parts"]
    assert [(leak.image, leak.message) for leak in leaks] == [
        ("valid/again.jpg", "train/2.jpg is the same image.")
    ]
    drawn = made_ready(tmp_path, validation_fraction=0.4)
    assert kinds(drawn) == ["same image twice"]
    sides = [{image.name for image in part} for part in drawn.parts.values()]
    assert sum({"train/2.jpg", "valid/again.jpg"} <= side for side in sides) == 1


def test_everything_can_be_for_training(photos):
    prepared = made_ready(photos, validation_fraction=0.0)
    assert list(prepared.parts) == ["train"]
    assert len(prepared.parts["train"]) == 10


def test_folds_partition_the_set(photos):
    names = [
        image.name
        for fold in (1, 2, 3)
        for image in made_ready(photos, folds=3, fold=fold).parts["validation"]
    ]
    assert sorted(names) == [f"{number}.jpg" for number in range(10)]
    assert "--fold says which of the 3 folds" in made_ready(photos, folds=3).refusal


def test_versions_that_roboflow_made_of_a_image_stay_together(tmp_path):
    for number in range(12):
        version = tmp_path / f"{number % 4}_jpg.rf.{number:032x}.jpg"
        image_file(version)
        annotation(version.with_suffix(".xml"), element())
    for seed in range(3):
        parts = made_ready(tmp_path, seed=seed, validation_fraction=0.25).parts
        sources = [{image.name[0] for image in part} for part in parts.values()]
        assert len(sources[0]) == 3
        assert sources[0].isdisjoint(sources[1])


def test_boxes_that_a_new_name_makes_equal_count_once(tmp_path):
    for number in range(4):
        image_file(tmp_path / f"{number}.jpg", seed=number)
        boxes = [element("cup"), element("Cup"), element("Cup", xmin=8)]
        annotation(tmp_path / f"{number}.xml", *boxes)
    ready = made_ready(tmp_path, rename={"Cup": "cup"})
    assert [[item.class_name for item in image.objects] for image in ready.parts["train"]] == [
        ["cup", "cup"]
    ] * 3
    assert kinds(ready).count("box drawn twice") == 4


def test_letters_of_another_script_and_without_width_are_told_apart(photos):
    annotation(photos / "0.xml", element("c\u0430t"), element("cat\u200b", xmin=5), element("Cat", xmin=6))
    (finding,) = [f for f in made_ready(photos).findings if f.kind.name == "class spelled in several ways"]
    assert finding.message.endswith("these look alike and are not: 'cat' and 'cat\\u200b' and 'c\\u0430t'.")


def test_names_that_only_look_alike_are_reported(tmp_path):
    for number, name in enumerate(("caf\u00e9", "cafe\u0301")):
        image_file(tmp_path / f"{number}.jpg", seed=number)
        annotation(tmp_path / f"{number}.xml", element(name))
    found = [f for f in made_ready(tmp_path).findings if f.kind.name == "class spelled in several ways"]
    assert len(found) == 1
    assert found[0].message.endswith("these look alike and are not: 'cafe\\u0301' and 'caf\\xe9'.")
    assert "e\\u0301" in found[0].message


def test_images_taken_right_after_each_other_are_on_one_side(tmp_path):
    """Five series of four images, one second apart, and ten single ones."""
    names = [f"20200101_12{minute:02}{second:02}.jpg" for minute in range(5) for second in range(4)]
    names += [f"{'x' * number}.jpg" for number in range(1, 11)]
    for number, name in enumerate(names):
        image_file(tmp_path / name, seed=number)
        annotation((tmp_path / name).with_suffix(".xml"), element("cat"))
    prepared = made_ready(tmp_path)
    (note,) = [
        finding for finding in prepared.findings if finding.kind.name == "images right after each other"
    ]
    assert note.message == "20 images in 5 series; 4 from 20200101_120000.jpg on."
    validation = {image.name for image in prepared.parts["validation"]}
    assert len(validation) == 6
    for minute in range(5):
        assert len(validation & set(names[4 * minute : 4 * minute + 4])) in (0, 4)


def test_few_images_to_validate_on_are_told(photos):
    """Of ten images, two are for validation: few, and few of each class. Of 200, 40 are enough."""
    few = too_few_to_validate(made_ready(photos, validation_fraction=0.2))
    assert few == (
        "2 images to validate on are few; classes in fewer than 5 images to validate on: cat 2, dog 1"
    )
    assert too_few_to_validate(made_ready(photos, validation_fraction=0.0)) == ""
    for number in range(10, 200):
        image_file(photos / f"{number}.jpg", seed=number)
        annotation(photos / f"{number}.xml", element("cat"), element("dog", xmin=8))
    assert too_few_to_validate(made_ready(photos, validation_fraction=0.2)) == ""
