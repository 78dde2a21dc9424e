import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from annotation_files import locations, read, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats import yolo
from boxtune.data.formats.yolo import FORMAT
from boxtune.data.image_record import Box, ImageRecord, ImageSource, Keypoint, ObjectRecord
from boxtune.data.label_map import Label, LabelMap
from boxtune.data.masks import Mask
from boxtune.errors import DataError
from voc_folder import image_file

BOX = "0 0.5 0.5 0.2 0.4\n"


@pytest.fixture
def folder(tmp_path):
    """Make a data set from texts by name; names of images give images."""

    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".jpg":
                Image.new("RGB", (4, 4)).save(path)
            else:
                path.write_text(text, encoding="utf-8")
        return tmp_path

    return make


def only(folder):
    """Return the one object of a data set."""
    [annotation], findings = read(FORMAT, folder)
    assert [finding for finding in findings if finding.kind is not kinds.FOREIGN] == []
    [found] = annotation.objects
    return found


# Real data, counted from the bytes of the files by an expression that shares nothing with the reader


@pytest.mark.shared
def test_a_real_data_set_is_read_to_the_last_box(shared):
    root = shared / "data" / "yolo" / "yolo_cells"
    files = sorted(root.glob("*/labels/*.txt"))
    boxes = [re.findall(rb"^0(?: \d\.\d+| \d){4}\r?$", path.read_bytes(), re.MULTILINE) for path in files]
    assert (len(files), sum(map(len, boxes))) == (38, 3947)

    annotations, findings = read(FORMAT, root)
    assert [len(annotation.objects) for annotation in annotations] == [len(found) for found in boxes]
    assert all(annotation.complete for annotation in annotations)
    assert {item.class_name for annotation in annotations for item in annotation.objects} == {"cells"}
    assert [(finding.kind, finding.file) for finding in findings] == [
        (kinds.FOREIGN, "README.dataset.txt"),
        (kinds.FOREIGN, "README.roboflow.txt"),
    ]
    assert recognised(FORMAT, root) == [path.name for path in files]


@pytest.mark.shared
def test_the_hints_at_real_images_are_their_paths(shared):
    root = shared / "data" / "yolo" / "yolo_cells"
    annotations, _ = read(FORMAT, root)
    images = sorted(path.relative_to(root).as_posix() for path in root.glob("*/images/*.jpg"))
    assert sorted(f"{annotation.filename}.jpg" for annotation in annotations) == images


# Lines


def test_a_box_is_its_centre_and_sides_as_fractions(folder):
    found = only(folder({"a.jpg": "", "a.txt": "3 0.5 0.25 0.2 0.5\n"}))
    assert found.edges == pytest.approx((0.4, 0, 0.6, 0.5))
    assert (found.class_name, found.location, found.mask, found.keypoints) == ("3", "line 1", None, ())


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.2 0.4 0.93",
        "0.0 .5 5e-1 0.2 0.4",
        "  0\t0.5  0.5 0.2 0.4  ",
        "\ufeff0 0.5 0.5 0.2 0.4\r\n",
    ],
)
def test_confidences_number_forms_blanks_and_line_ends_do_not_matter(folder, line):
    root = folder({"a.jpg": "", "a.txt": line})
    assert only(root).edges == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert recognised(FORMAT, root) == ["a.txt"]


def test_a_polygon_is_a_box_and_a_mask(folder):
    found = only(folder({"a.jpg": "", "a.txt": "0 0.5 0.1 0.9 0.7 0.2 0.4\n"}))
    assert (found.edges, found.mask) == (
        (0.2, 0.1, 0.9, 0.7),
        Mask(polygons=((0.5, 0.1, 0.9, 0.7, 0.2, 0.4),)),
    )


def test_an_empty_file_is_background(folder):
    root = folder({"a.jpg": "", "a.txt": "", "labels/b.txt": "\n"})
    annotations, findings = read(FORMAT, root)
    assert [(one.filename, one.objects, one.complete) for one in annotations] == [
        ("a", (), True),
        ("images/b", (), True),
    ]
    assert findings == []
    assert recognised(FORMAT, root) == []  # it could be anything


def test_what_cannot_be_used_is_reported_with_its_line(folder):
    lines = [
        "cat 0.5 0.5 0.2 0.4",
        "-1 0.5 0.5 0.2 0.4",
        "0.5 0.5 0.5 0.2 0.4",
        "0 0.5 0.5 0.2",
        "0 0.5 0.5 x 0.4",
    ]
    lines += ["0 0.5 nan 0.2 0.4", "0 1 2 3 4 5 6 7", "0", "", BOX]
    [annotation], findings = read(FORMAT, folder({"a.jpg": "", "a.txt": "\n".join(lines)}))
    assert [item.location for item in annotation.objects] == ["line 10"]
    assert not annotation.complete
    assert locations(findings) == [
        *[(kinds.OBJECT_WITHOUT_NAME, f"line {number}") for number in (1, 2, 3)],
        *[(kinds.OBJECT_WITHOUT_BOX, f"line {number}") for number in (4, 5, 6, 7, 8)],
    ]
    assert {finding.image for finding in findings} == {"a"}


# Which files are labels, and of which image


def test_only_labels_are_read(folder):
    root = folder(
        {
            "images/a.jpg": "",
            "labels/a.txt": BOX,
            "labels/classes.txt": "cat\ndog\n",
            "labels/lost.txt": BOX,
            "labels/notes.txt": "blurred\n",
            "README.txt": "cats\n",
            "train.txt": "images/a.jpg\n",
            "empty.txt": "",
            "photo.jpg": "",
            "photo.txt": "damaged",
        }
    )
    annotations, findings = read(FORMAT, root)
    assert [annotation.filename for annotation in annotations] == ["images/a", "images/lost", "photo"]
    assert [(finding.kind, finding.file) for finding in findings] == [
        (kinds.FOREIGN, "README.txt"),
        (kinds.FOREIGN, "empty.txt"),
        (kinds.FOREIGN, "labels/notes.txt"),
        (kinds.OBJECT_WITHOUT_NAME, "photo.txt"),
        (kinds.FOREIGN, "train.txt"),
    ]
    assert recognised(FORMAT, root) == ["a.txt", "lost.txt"]


def test_what_is_no_text_is_unreadable_if_it_should_have_been_labels(folder):
    root = folder({"a.jpg": "", "a.txt": "", "licence.txt": ""})
    for name in ("a.txt", "licence.txt"):
        (root / name).write_bytes(b"\xa9 2024")
    annotations, findings = read(FORMAT, root)
    assert annotations == []
    assert [(finding.kind, finding.file) for finding in findings] == [
        (kinds.ANNOTATION_UNREADABLE, "a.txt"),
        (kinds.FOREIGN, "licence.txt"),
    ]
    assert recognised(FORMAT, root) == []


def test_labels_are_recognised_wherever_they_lie(folder):
    root = folder({"numbers.txt": BOX, "obj_train_data/a.txt": f"frame\n{BOX}", "notes.txt": "5 of 7"})
    assert recognised(FORMAT, root) == ["numbers.txt", "a.txt"]
    assert [annotation.filename for annotation in read(FORMAT, root)[0]] == ["numbers", "obj_train_data/a"]


@pytest.mark.parametrize(
    "text", ["Car 0.88 3 -0.69 0.00 192.37", "0 12 13 40 50", "0 0.5", "0.5 0.5 0.5 0.5 0.5"]
)
def test_other_texts_beside_images_are_not_recognised(folder, text):
    assert recognised(FORMAT, folder({"a.jpg": "", "a.txt": text})) == []


@pytest.mark.parametrize(
    ("label", "filename"),
    [
        ("train/labels/a.txt", "train/images/a"),
        ("labels/train/a.txt", "images/train/a"),
        ("labels/labels/a.txt", "labels/images/a"),
        ("obj_train_data/a.txt", "obj_train_data/a"),
        ("labels/a.rf.0e0bd4.txt", "images/a.rf.0e0bd4"),
        ("labels/a.jpg.txt", "images/a.jpg"),
    ],
)
def test_images_are_in_the_parallel_folder_or_beside(folder, label, filename):
    image = filename if filename.endswith(".jpg") else filename + ".jpg"
    root = folder({label: BOX, image: ""})
    assert [annotation.filename for annotation in read(FORMAT, root)[0]] == [filename]
    assert recognised(FORMAT, root) == [label.rpartition("/")[2]]


# Names of classes


def names_by(folder, files):
    """Return the class names of a data set whose labels are of the classes 0 and 1, and the findings."""
    root = folder({"train/images/a.jpg": "", "train/labels/a.txt": BOX + BOX.replace("0 ", "1 ", 1)} | files)
    [annotation], findings = read(FORMAT, root)
    return [item.class_name for item in annotation.objects], [
        f for f in findings if f.kind is not kinds.FOREIGN
    ]


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat, dog]",
        "nc: 2\nnames:\n  - cat\n  - 'dog'\n",
        "names:\n  1: dog\n  0: cat\ntrain: C:\\Users\\me\\train\\images\n",
        '{"names": ["cat", "dog"]}',
        "base: &names [cat, dog]\nnames: *names\nevil: !!python/object/apply:os.system [exit]\n",
    ],
)
def test_names_come_from_yaml(folder, text):
    assert names_by(folder, {"data.yaml": text}) == (["cat", "dog"], [])


def test_names_in_yaml_stay_text(folder):
    assert names_by(folder, {"data.yml": "names: [no, 007]"}) == (["no", "007"], [])


@pytest.mark.parametrize(
    "name",
    [
        "classes.txt",
        "train/labels/classes.txt",
        "obj.names",
        "data/obj.names",
        "train/labels/_darknet.labels",
    ],
)
def test_names_come_from_lists(folder, name):
    assert names_by(folder, {name: "cat\r\ndog\r\n\r\n"}) == (["cat", "dog"], [])


def test_without_a_list_classes_are_called_by_their_numbers(folder):
    assert names_by(folder, {"settings.yaml": "names_of_nothing: 1", "empty.names": ""}) == (["0", "1"], [])


def test_a_class_that_the_list_does_not_name_is_reported(folder):
    names, findings = names_by(folder, {"classes.txt": "cat\n"})
    assert names == ["cat"]
    assert locations(findings) == [(kinds.OBJECT_WITHOUT_NAME, "line 2")]
    assert findings[0].message == "its class is 1, and classes.txt names 1, counted from 0."


def test_the_yaml_that_trains_counts_before_other_lists_which_are_reported(folder):
    files = {
        "data.yaml": "names: [cat, dog]",
        "a.yaml": "names: [x, y]",
        "train/labels/classes.txt": "person\ncar\n",
        "obj.names": "cat\ndog\n",
    }
    names, findings = names_by(folder, files)
    assert names == ["cat", "dog"]
    assert [(finding.kind, finding.file) for finding in findings] == [
        (kinds.NOT_READ, "a.yaml"),
        (kinds.NOT_READ, "train/labels/classes.txt"),
    ]
    assert findings[0].message == "its names of classes differ from those of data.yaml, which are used."


def test_the_nearest_list_counts(folder):
    assert names_by(folder, {"train/data.yaml": "names: [cat, dog]", "data.yaml": "names: [x, y]"})[0] == [
        "cat",
        "dog",
    ]
    assert names_by(folder, {"other/data.yaml": "names: [u, v]"})[0] == ["cat", "dog"]


def test_lists_elsewhere_that_disagree_name_nothing(folder):
    assert names_by(folder, {"one/obj.names": "cat\ndog\n", "two/obj.names": "dog\ncat\n"}) == (
        ["0", "1"],
        [],
    )


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat",
        "names: " + "[" * 5000,
        "names: {cat: 0}",
        "names: [cat, dog]\nkpt_shape: [17]",
        "names: [cat, dog]\nkpt_shape: [2, 4]",
        "names: [cat]\n---\nnames: [dog]",
        "#" * 2**20 + "names",
    ],
)
def test_yaml_that_cannot_be_read_is_reported(folder, text):
    names, findings = names_by(folder, {"data.yaml": text})
    assert names == ["0", "1"]
    assert [(finding.kind, finding.file) for finding in findings] == [(kinds.NOT_READ, "data.yaml")]


def test_references_in_yaml_are_not_multiplied(folder):
    bomb = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join(9 * [f'*a{n - 1}'])}]}}" for n in range(1, 30))
    assert names_by(folder, {"data.yaml": f"a0: &a0 {{k: v}}\n{bomb}\nnames: [cat, dog]"}) == (
        ["cat", "dog"],
        [],
    )


def test_halves_of_surrogate_pairs_do_not_get_into_names(folder):
    names, _ = names_by(folder, {"data.yaml": 'names: ["\\uD800", "dog"]'})
    assert [name.encode() for name in names] == ["\N{REPLACEMENT CHARACTER}".encode(), b"dog"]


# Key points


def test_poses_are_read_with_visibility(folder):
    files = {
        "data.yaml": "kpt_shape: [2, 3]\nkpt_names:\n  0: [nose, tail]\nnames: [cat]",
        "a.jpg": "",
        "a.txt": "0 0.5 0.5 0.2 0.4 0.1 0.2 2 0.3 0.4 1\n",
    }
    found = only(folder(files))
    assert found.edges == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert found.keypoints == (Keypoint("nose", 0.2, 0.1, 2), Keypoint("tail", 0.4, 0.3, 1))
    assert found.mask is None


def test_poses_are_read_without_visibility(folder):
    files = {
        "data.yaml": "kpt_shape: [2, 2]\nnames: [cat]",
        "a.jpg": "",
        "a.txt": "0 0.5 0.5 0.2 0.4 0.1 0.2 0 0\n",
    }
    assert only(folder(files)).keypoints == (Keypoint("0", 0.2, 0.1, 2), Keypoint("1", 0, 0, 0))


# Writing


def record(*objects):
    return ImageRecord("x", ImageSource("x"), "x.xml", 40, 30, objects)


def item(class_name="cat", box=(0.3, 0.4, 0.7, 0.6)):
    return ObjectRecord(class_name, Box(*box))


MAP = LabelMap((Label(2, "cat"), Label(5, "no: 'dog'", "Dog")))


def test_labels_and_names_are_written(tmp_path):
    records = [record(item(), item("Dog", (0.0, 0.0, 1.0, 0.5))), record()]
    yolo.write(records, ["a.jpg", "sub/b.v1.png"], tmp_path, MAP)
    assert (
        tmp_path / "labels" / "a.txt"
    ).read_text() == "0 0.5 0.5 0.19999999999999996 0.39999999999999997\n1 0.25 0.5 0.5 1.0\n"
    assert (tmp_path / "labels" / "sub" / "b.v1.txt").read_text() == ""
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert data == {"train": "images", "val": "images", "nc": 2, "names": ["cat", "no: 'dog'"]}
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "a.txt",
        "b.v1.txt",
        "classes.txt",
        "data.yaml",
    ]
    assert (tmp_path / "labels" / "classes.txt").read_text() == "cat\nno: 'dog'\n"


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (["train", "val"], {"train": "images/train", "val": "images/val"}),
        (
            ["train", "validation", "test"],
            {"train": "images/train", "val": "images/validation", "test": "images/test"},
        ),
        (["train"], {"train": "images/train", "val": "images/train"}),
        (["cats", "dogs"], {"train": "images", "val": "images"}),
    ],
)
def test_folders_called_like_parts_are_parts(tmp_path, folders, parts):
    yolo.write([record() for _ in folders], [f"{name}/a.jpg" for name in folders], tmp_path, MAP)
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert {key: data[key] for key in data if key not in ("nc", "names")} == parts


def test_images_that_would_share_labels_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would share the labels a\.txt"):
        yolo.write([record(), record()], ["a.jpg", "a.png"], tmp_path, MAP)
    assert list(tmp_path.iterdir()) == []


def test_classes_outside_the_label_map_and_full_disks_are_refused(tmp_path):
    with pytest.raises(DataError, match="cow"):
        yolo.write([record(item("cow"))], ["a.jpg"], tmp_path, MAP)
    (tmp_path / "labels" / "a.txt").mkdir()
    with pytest.raises(DataError, match=r"a\.txt cannot be written"):
        yolo.write([record()], ["a.jpg"], tmp_path, MAP)


SHARES = st.floats(0, 1, width=32)


NAMES = st.lists(st.text(min_size=1).filter(lambda name: name == name.strip()), min_size=1)


@given(st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), max_size=5), NAMES)
@example([(0.0, 0.0, 1.0, 1.0)], ["0\x850", "a\u2028b"])
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory, boxes, names):
    root = tmp_path_factory.mktemp("yolo")
    label_map = LabelMap.from_names(names)
    objects = [item(label_map.names[-1], box) for box in boxes]
    yolo.write([record(*objects)], ["a.jpg"], root, label_map)
    [annotation], findings = read(FORMAT, root)
    assert findings == []
    for found, (ymin, xmin, ymax, xmax) in zip(annotation.objects, boxes, strict=True):
        assert found.class_name == label_map.names[-1]
        assert found.edges == pytest.approx((xmin, ymin, xmax, ymax), abs=1e-15)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "0 65 55 50 50",
            "line 1: 65 55 50 50 are no fractions of the image. If they are pixels, give --format yolo --boxes pixels.",
        ),
        ("0 0,25 0,5 0,1 0,1", "line 1: its coordinates hold '0,25', which is not a finite number."),
        ("cup 0.25 0.5 0.1 0.1", 'line 1: its class is "cup", which is not a class number.'),
        ("0 0.25 0.5", "line 1: behind its class are 2 numbers; a box has 4."),
        ("0 0.25 0.5 0.1 0.1", ""),
        ("", ""),
    ],
)
def test_complaints(tmp_path, line, complaint):
    image_file(tmp_path / "images" / "a.jpg")
    for name in ("images/a.txt", "labels/a.txt", "notes/a.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(line + "\n")
        assert FORMAT.complaint(path) == ("" if name.startswith("notes") else complaint)


@pytest.mark.parametrize(
    ("name", "text"),
    [("data.yaml", "names: [pen, cup, cup, pen, cup]"), ("classes.txt", "pen\ncup\ncup \npen\ncup\n")],
)
def test_numbers_of_one_name_are_one_class_which_is_said(folder, name, text):
    lines = "".join(BOX.replace("0", str(number), 1) for number in range(5))
    [annotation], findings = read(FORMAT, folder({"a.jpg": "", "a.txt": lines, name: text}))
    assert [item.class_name for item in annotation.objects] == ["pen", "cup", "cup", "pen", "cup"]
    shared = [(item.file, item.message) for item in findings if item.kind is kinds.CLASS_NUMBERS]
    assert shared == [(name, 'numbers 0, 3 are all "pen".'), (name, 'numbers 1, 2, 4 are all "cup".')]
