"""The split that a data set's own lists and subsets say."""

import pytest

from boxtune.data.preparation import Options, prepare
from voc_folder import annotation, element, image_file

ALL = [f"{number}" for number in range(8)]


def prepared(folder, **options):
    return prepare(folder, Options(num_workers=1, **options))


def voc(folder, names=ALL, images="JPEGImages", annotations="Annotations"):
    for name in names:
        image_file(folder / images / f"{name}.jpg")
        annotation(folder / annotations / f"{name}.xml", element())


def yolo(folder, names=ALL, images="images", labels="labels"):
    for name in names:
        image_file(folder / images / f"{name}.jpg")
        path = folder / labels / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 0.5 0.5 0.2 0.4\n")


def lists(folder, **lines):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in content))


def parts(ready):
    return {
        part: [image.name.rpartition("/")[2][:-4] for image in images] for part, images in ready.parts.items()
    }


def kinds(ready):
    return [finding.kind.name for finding in ready.findings]


# Pascal VOC


def test_image_sets_decide(tmp_path):
    voc(tmp_path / "VOC2012")
    main = tmp_path / "VOC2012" / "ImageSets" / "Main"
    lists(
        main, train=ALL[:3], val=ALL[3:5], trainval=ALL[:5], test=ALL[5:], cat_train=[f"{n} -1" for n in ALL]
    )
    lists(main.parent / "Layout", train=ALL[5:], val=ALL[:2])
    ready = prepared(tmp_path)
    assert parts(ready) == {"train": ALL[:3], "validation": ALL[3:5], "test": ALL[5:]}
    assert ready.findings == ()


@pytest.mark.parametrize(
    "written",
    [
        {"trainval": ALL[:6], "test": ALL[6:]},
        {"cat_train": [f"{n}  1" for n in ALL[:6]], "cat_val": [f"{n} -1" for n in ALL[6:]]},
        {"val": ALL[6:]},
    ],
)
def test_other_image_sets(tmp_path, written):
    voc(tmp_path)
    lists(tmp_path / "ImageSets" / "Main", **written)
    ready = prepared(tmp_path)
    assert parts(ready) == {"train": ALL[:6], "validation": ALL[6:]}
    assert ready.findings == ()


def test_lists_are_about_the_images_near_them(tmp_path):
    for year, name in (("VOC2007", "val"), ("VOC2012", "train")):
        voc(tmp_path / year, ALL[:3])
        lists(tmp_path / year / "ImageSets" / "Main", **{name: ALL[:3]})
    sides = {part: {image.name[:7] for image in images} for part, images in prepared(tmp_path).parts.items()}
    assert sides == {"train": {"VOC2012"}, "validation": {"VOC2007"}}


# Lists of paths


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("train", "val"), "./images/{}.jpg"),
        (("Train", "Validation"), "data/images/{}.jpg"),
        (("train_list", "test_list"), "/home/me/elsewhere/{}.jpg"),
        (("2012_train", "2012_val"), "images\\{}.jpg"),
        (("train", "valid"), "{}"),
    ],
)
def test_lists_of_paths_decide(tmp_path, names, pattern):
    yolo(tmp_path)
    content = ([pattern.format(n) for n in part] for part in (ALL[:5], ALL[5:]))
    lists(tmp_path, **dict(zip(names, content, strict=True)))
    ready = prepared(tmp_path)
    assert parts(ready) == {"train": ALL[:5], "validation": ALL[5:]}
    assert kinds(ready) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("obj.data", "classes = 1\ntrain  = data/a.txt\nvalid = data/b.txt\n"),
        ("data.yaml", "names: [cat]\ntrain: a.txt\nval: ./b.txt\n"),
        ("data.yaml", "names: [cat]\ntrain: [a.txt]\nval: [b.txt]\n"),
    ],
)
def test_settings_name_the_lists(tmp_path, file, text):
    yolo(tmp_path)
    lists(tmp_path, a=[f"images/{n}.jpg" for n in ALL[:5]], b=[f"images/{n}.jpg" for n in ALL[5:]])
    (tmp_path / file).write_text(text)
    assert parts(prepared(tmp_path)) == {"train": ALL[:5], "validation": ALL[5:]}


def test_images_in_no_list_are_for_training_and_reported(tmp_path):
    yolo(tmp_path)
    lists(tmp_path, train=[f"{n}.jpg" for n in ALL[:3]], val=[f"{n}.jpg" for n in ALL[6:]])
    ready = prepared(tmp_path)
    assert parts(ready) == {"train": ALL[:6], "validation": ALL[6:]}
    assert kinds(ready) == ["image in none of the parts"] * 3


def test_unknown_images_are_an_error_with_their_number_unless_another_split_is_asked_for(tmp_path):
    yolo(tmp_path)
    lists(tmp_path, train=[f"{n}.jpg" for n in ALL[:5]], val=["6.jpg", "gone.jpg", "7.jpg", "lost.jpg"])
    refusal = prepared(tmp_path).refusal
    assert "val.txt, line 2: 2 of the 4 images that it names are not there" in refusal
    assert '"gone.jpg"' in refusal
    assert prepared(tmp_path, validation_fraction=0.25).refusal == ""


def test_an_image_on_both_sides_is_an_error(tmp_path):
    yolo(tmp_path)
    lists(tmp_path, train=[f"{n}.jpg" for n in ALL[:6]], val=[f"{n}.jpg" for n in ALL[4:]])
    assert "2 images listed for training and for something else" in prepared(tmp_path).refusal


def test_a_list_of_one_side_only_is_reported(tmp_path):
    yolo(tmp_path)
    lists(tmp_path, train=[f"{n}.jpg" for n in ALL])
    ready = prepared(tmp_path)
    assert len(ready.parts["validation"]) == 2
    assert (ready.refusal, kinds(ready)) == ("", ["lists without validation"])


def test_what_only_sounds_like_a_list_is_none(tmp_path):
    voc(tmp_path)
    (tmp_path / "train.txt").write_text("We trained on the first of May.\nIt went well.\n")
    (tmp_path / "val.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    ready = prepared(tmp_path)
    assert len(ready.parts["validation"]) == 2
    assert kinds(ready) == ["annotations in another format"] * kinds(ready).count(
        "annotations in another format"
    )


def test_subsets_of_cvat_decide(tmp_path):
    rows = []
    for name in ALL:
        image_file(tmp_path / f"{name}.jpg")
        subset = "Train" if name < "6" else "Validation"
        box = '<box label="cat" xtl="4" ytl="2" xbr="20" ybr="12"/>'
        rows.append(f'<image name="{name}.jpg" subset="{subset}" width="40" height="20">{box}</image>')
    (tmp_path / "annotations.xml").write_text(f"<annotations>{''.join(rows)}</annotations>")
    assert parts(prepared(tmp_path)) == {"train": ALL[:6], "validation": ALL[6:]}


# Tables


def table(folder, header, *rows, names=ALL):
    for name in names:
        image_file(folder / f"{name}.jpg", seed=int(name))
    (folder / "labels.csv").write_text("".join(f"{row}\n" for row in (*header, *rows)))


def test_the_parts_of_automl_decide(tmp_path):
    words = ["TRAIN", "TRAIN", "VALIDATION", "test", "UNASSIGNED", "TRAIN", "validate", ""]
    rows = [f"{word},gs://b/{name}.jpg,cat,0,0,,,1,1,," for word, name in zip(words, ALL, strict=True)]
    table(tmp_path, [], *rows)
    ready = prepared(tmp_path)
    assert parts(ready) == {"train": ["0", "1", "4", "5", "7"], "validation": ["2", "6"], "test": ["3"]}
    unassigned = [(f.file, f.message) for f in ready.findings if f.kind.name.startswith("image in none")]
    assert unassigned == [
        ("4.jpg", 'its part "UNASSIGNED" is none that is known.'),
        ("7.jpg", "nothing names its part."),
    ]


@pytest.mark.parametrize("column", ["split", "Set", "subset", "ml_use"])
def test_a_column_of_a_table_decides(tmp_path, column):
    words = ["train", "Train", "valid", "val", "training", "train", "testing", "train"]
    rows = [f"{word},{name}.jpg,cat,1,1,9,9" for word, name in zip(words, ALL, strict=True)]
    table(tmp_path, [f"{column},filename,class,xmin,ymin,xmax,ymax"], *rows)
    ready = prepared(tmp_path)
    assert parts(ready) == {"train": ["0", "1", "4", "5", "7"], "validation": ["2", "3"], "test": ["6"]}
    assert parts(prepared(tmp_path, validation_fraction=0.0)) == {"train": ALL}


def test_parts_without_validation_are_reported(tmp_path):
    rows = [f"train,{name}.jpg,cat,1,1,9,9" for name in ALL]
    table(tmp_path, ["split,filename,class,xmin,ymin,xmax,ymax"], *rows)
    ready = prepared(tmp_path)
    assert [len(images) for images in ready.parts.values()] == [6, 2]
    (message,) = [f.message for f in ready.findings if f.kind.name == "lists without validation"]
    assert message == "of 8 images the annotations put into parts: train 8."


def test_an_image_whose_rows_name_two_parts_keeps_all_of_them_in_the_first(tmp_path):
    rows = [f"{'val' if name > '5' else 'train'},{name}.jpg,cat,1,1,9,9" for name in ALL]
    table(tmp_path, ["split,filename,class,xmin,ymin,xmax,ymax"], *rows, "train,7.jpg,dog,2,5,30,20")
    ready = prepared(tmp_path)
    assert parts(ready)["validation"] == ["6", "7"]
    assert [item.class_name for item in ready.parts["validation"][1].objects] == ["cat", "dog"]
    (finding,) = [f for f in ready.findings if f.kind.name == "not read"]
    assert (finding.location, finding.message) == (
        "line 10",
        'its part "train" is not used: "val" stands before it.',
    )


def test_equal_names_in_two_parts_are_two_images(tmp_path):
    header, rows = "split,filename,class,xmin,ymin,xmax,ymax", []
    for number, part in enumerate(("train", "train", "val")):
        image_file(tmp_path / part / f"{number % 2}.jpg", seed=number)
        rows.append(f"{part},{number % 2}.jpg,class-{number},1,1,9,9")
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]))
    ready = prepared(tmp_path)
    classes = {
        image.name: [item.class_name for item in image.objects]
        for part in ready.parts.values()
        for image in part
    }
    assert classes == {"train/0.jpg": ["class-0"], "train/1.jpg": ["class-1"], "val/0.jpg": ["class-2"]}


def test_names_with_backslashes_are_found_in_lists_and_labels(tmp_path):
    for name in ALL:
        image_file(tmp_path / rf"photos\{name}.jpg", seed=int(name))
        (tmp_path / rf"photos\{name}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    lists(
        tmp_path, train=[rf"photos\{name}.jpg" for name in ALL[:5]], val=[f"photos/{n}.jpg" for n in ALL[5:]]
    )
    ready = prepared(tmp_path)
    assert {part: len(images) for part, images in ready.parts.items()} == {"train": 5, "validation": 3}
    assert kinds(ready) == []
