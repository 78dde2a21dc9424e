"""The scripts of the tutorials: from photographs with XML to the records that training reads."""

import csv

import pytest

from boxtune.data import tfrecord
from boxtune.data.label_map import LabelMap, write_label_map
from object_detection.dataset_tools import generate_tfrecord, partition_dataset, xml_to_csv
from voc_folder import annotated, annotation, element, image_file


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Folders images/train (a cat and a dog on a, a cat on b) and images/test (a dog on c) in the current folder."""
    monkeypatch.chdir(tmp_path)
    annotated(tmp_path / "images" / "train", "a", element("cat", 4, 2, 20, 12), element("dog"))
    annotated(tmp_path / "images" / "train", "b", element("cat"))
    annotated(tmp_path / "images" / "test", "c", element("dog"))
    return tmp_path


def features_of(path):
    """Return the features of each record, by the image's name."""
    with tfrecord.RecordIndex([path]) as index:
        found = [tfrecord.parse_example(index.read(i)).features.feature for i in range(len(index))]
    return {features["image/filename"].bytes_list.value[0].decode(): features for features in found}


def written(path):
    """Return id and name of the objects of each image."""
    return {
        image_file: [
            (number, text.decode())
            for number, text in zip(
                features["image/object/class/label"].int64_list.value,
                features["image/object/class/text"].bytes_list.value,
                strict=True,
            )
        ]
        for image_file, features in features_of(path).items()
    }


def boxes(path):
    """Return ymin, xmin, ymax and xmax of the objects of each image, in pixels."""
    found = {}
    for name, features in features_of(path).items():
        height, width = (features[f"image/{side}"].int64_list.value[0] for side in ("height", "width"))
        sides = {"ymin": height, "xmin": width, "ymax": height, "xmax": width}
        fractions = [features[f"image/object/bbox/{side}"].float_list.value for side in sides]
        scaled = (
            [round(fraction * size, 3) for fraction in of_side]
            for of_side, size in zip(fractions, sides.values(), strict=True)
        )
        found[name] = list(zip(*scaled, strict=True))
    return found


def test_records_from_xml_with_a_label_map(photos):
    write_label_map(LabelMap.from_names(["ant", "cat", "dog"]), photos / "label_map.pbtxt")
    status = generate_tfrecord.main(
        ["-x", "images/train", "-l", "label_map.pbtxt", "-o", "out/train.record", "-c", "out/train.csv"]
    )
    assert status == 0
    assert written(photos / "out" / "train.record") == {
        "a.jpg": [(2, "cat"), (3, "dog")],
        "b.jpg": [(2, "cat")],
    }
    assert (photos / "out" / "train.csv").read_text().count("\n") == 4  # a header and three boxes
    assert not (photos / "out" / "label_map.pbtxt").exists()


def test_images_may_be_elsewhere(photos):
    annotation(photos / "xml" / "a.xml", element("dog"))
    assert generate_tfrecord.main(["-x", "xml", "-i", "images/train", "-o", "train.record"]) == 0
    assert written(photos / "train.record") == {"a.jpg": [(1, "dog")]}


def test_records_from_the_csv_that_xml_to_csv_writes(photos, capsys):
    assert xml_to_csv.main([]) == 0
    for part in ("train", "test"):
        flags = [f"--csv_input=images/{part}_labels.csv", f"--image_dir=images/{part}"]
        assert generate_tfrecord.main([*flags, f"--output_path={part}.record"]) == 0
    assert "label_map.pbtxt: 1 cat, 2 dog" in capsys.readouterr().out
    assert written(photos / "train.record") == {"a.jpg": [(1, "cat"), (2, "dog")], "b.jpg": [(1, "cat")]}
    # Numbered by itself, test would have only dogs, with the id 1.
    assert written(photos / "test.record") == {"c.jpg": [(2, "dog")]}


def test_a_class_that_the_label_map_beside_the_output_lacks_is_refused(photos, capsys):
    assert generate_tfrecord.main(["-x", "images/test", "-o", "test.record"]) == 0
    assert generate_tfrecord.main(["-x", "images/train", "-o", "train.record"]) == 2
    assert 'label_map.pbtxt: The label map has no class "cat"' in capsys.readouterr().err
    assert not (photos / "train.record").exists()


def test_problems_of_the_data_are_reported(photos, capsys):
    annotation(photos / "images" / "train" / "lost.xml", element("cat"))
    assert generate_tfrecord.main(["-x", "images/train", "-o", "train.record"]) == 0
    assert "image not found (1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x", "a", "--csv_input", "b", "-o", "x.record"], "not allowed with argument"),
        (["-x", "images/train"], "required: -o/--output_path"),
    ],
)
def test_invalid_flags(photos, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        generate_tfrecord.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.record"], "Give --xml_dir or --csv_input"),
        (["-x", "absent", "-o", "x.record"], "absent is not a folder"),
        (["--csv_input", "absent.csv", "-i", "images", "-o", "x.record"], "absent.csv"),
        (["--csv_input", "a.csv", "-c", "b.csv", "-o", "x.record"], "leave --csv_path out"),
        (["-x", "images/train", "-l", "absent.pbtxt", "-o", "x.record"], "absent.pbtxt"),
    ],
)
def test_missing_files_are_reported_in_a_line(photos, capsys, arguments, message):
    assert generate_tfrecord.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_csv_has_the_content_of_the_xml(tmp_path, capsys):
    folder = tmp_path / "mine"
    annotation(folder / "a.xml", element("cat", 1.5, 2, 20, 12), element("a, b"), filename="IMG 1.JPG")
    annotation(folder / "b.xml", element("dog"), filename="", size=None)
    annotation(folder / "c.xml")
    annotation(folder / "d.xml", element("dog", "left"), element("cat"))
    assert xml_to_csv.main([str(folder)]) == 0
    with (tmp_path / "mine_labels.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"],
            ["IMG 1.JPG", "40", "20", "cat", "1.5", "2", "20", "12"],
            ["IMG 1.JPG", "40", "20", "a, b", "4", "2", "20", "12"],
            ["b", "", "", "dog", "4", "2", "20", "12"],
            ["d.jpg", "40", "20", "cat", "4", "2", "20", "12"],
        ]
    output = capsys.readouterr().out
    assert "object without box (1)" in output
    assert "4 boxes of 4 annotations" in output
    assert "1 have none" in output


def test_folders_without_xml(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert xml_to_csv.main([]) == 2
    assert "train is not a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert xml_to_csv.main(["empty"]) == 2
    assert "holds no annotations" in capsys.readouterr().err


@pytest.fixture
def eleven(tmp_path):
    """Eleven images with XML, and one more below, which is not the folder's own."""
    for number in range(11):
        annotated(tmp_path / "images", f"{number:02d}")
    image_file(tmp_path / "images" / "more" / "below.png")
    return tmp_path / "images"


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_tenth_rounded_up_goes_to_test(eleven, tmp_path):
    assert partition_dataset.main(["-x", "-i", str(eleven), "-o", str(tmp_path / "out")]) == 0
    train, test = names(tmp_path / "out" / "train"), names(tmp_path / "out" / "test")
    assert (len(train), len(test)) == (18, 4)  # images and XML files
    assert train | test == {f"{number:02d}.{kind}" for number in range(11) for kind in ("jpg", "xml")}
    assert {name[:2] for name in train}.isdisjoint(name[:2] for name in test)
    copied = next(iter(sorted(test)))
    assert (tmp_path / "out" / "test" / copied).read_bytes() == (eleven / copied).read_bytes()
    assert names(eleven) == train | test | {"more"}


def test_the_same_images_are_sampled_each_time(eleven, tmp_path):
    for output in ("one", "two"):
        assert partition_dataset.main(["-i", str(eleven), "-o", str(tmp_path / output), "-r", "0.5"]) == 0
    assert names(tmp_path / "one" / "test") == names(tmp_path / "two" / "test")
    assert len(names(tmp_path / "one" / "test")) == 6


def test_beside_the_images_by_default_and_never_twice(eleven, capsys):
    assert partition_dataset.main(["-i", str(eleven)]) == 0
    before = names(eleven / "train")
    image_file(eleven / "new.jpg")
    assert partition_dataset.main(["-i", str(eleven)]) == 2
    assert "train is not empty" in capsys.readouterr().err
    assert names(eleven / "train") == before


def test_images_without_xml_are_reported(tmp_path, capsys):
    annotated(tmp_path, "a")
    image_file(tmp_path / "b.png")
    assert partition_dataset.main(["-x", "-r", "0", "-i", str(tmp_path)]) == 0
    assert "1 image without an XML file" in capsys.readouterr().out
    assert names(tmp_path / "train") == {"a.jpg", "a.xml", "b.png"}
    assert names(tmp_path / "test") == set()


def test_links_to_other_folders_are_not_followed(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    image_file(tmp_path / "images" / "a.jpg")
    (tmp_path / "images" / "b.jpg").symlink_to(secret)
    assert partition_dataset.main(["-i", str(tmp_path / "images")]) == 0
    assert names(tmp_path / "images" / "train") | names(tmp_path / "images" / "test") == {"a.jpg"}


def test_nothing_to_partition(tmp_path, capsys):
    assert partition_dataset.main(["-i", str(tmp_path)]) == 2
    assert "holds no images" in capsys.readouterr().err
    assert partition_dataset.main(["-i", str(tmp_path / "absent")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        partition_dataset.main(["-r", "2"])
    assert "2.0 is not in 0 to 1" in capsys.readouterr().err


@pytest.mark.shared
def test_real_photographs_are_the_same_by_way_of_csv(shared, tmp_path, capsys):
    folder = shared / "data" / "voc" / "raccoon"
    where = ["-i", str(folder / "images")]
    table = ["-c", str(tmp_path / "labels.csv")]
    straight, detour = tmp_path / "straight.record", tmp_path / "detour.record"
    xml = ["-x", str(folder / "annotations")]
    assert generate_tfrecord.main([*xml, *where, *table, "-o", str(straight)]) == 0
    assert generate_tfrecord.main(["--csv_input", table[1], *where, "-o", str(detour)]) == 0
    assert capsys.readouterr().out.count("Wrote 200 images with 217 objects") == 2
    assert boxes(straight) == boxes(detour)
    assert boxes(straight)["raccoon-1.jpg"] == [(88, 81, 408, 522)]  # as its XML says
