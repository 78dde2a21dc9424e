import gzip
import io
import math
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from annotation_files import read_file
from boxtune.data import findings as kinds
from boxtune.data import images, masks, record_writer
from boxtune.data.formats.tfrecord import FORMAT
from boxtune.data.image_record import Box, ImageRecord, ImageSource, Keypoint, ObjectRecord
from boxtune.data.label_map import Label, LabelMap, write_label_map
from boxtune.data.listing import Listing
from boxtune.data.masks import Mask
from boxtune.data.preparation import Options, prepare
from voc_folder import image_file

train = tf.train
LABEL_MAP = LabelMap((Label(2, "cat"), Label(7, "/m/dog", "Hündin")))


def feature(values):
    """Return a feature of the kind of its values."""
    values = list(values)
    if all(isinstance(value, bytes) for value in values):
        return train.Feature(bytes_list=train.BytesList(value=values))
    if all(isinstance(value, int) for value in values):
        return train.Feature(int64_list=train.Int64List(value=values))
    return train.Feature(float_list=train.FloatList(value=values))


# What the generate_tfrecord.py of tutorials writes for two boxes.
TUTORIAL = {
    "height": [20],
    "width": [40],
    "filename": [b"a.jpg"],
    "source_id": [b"a.jpg"],
    "encoded": [b"image"],
    "format": [b"jpg"],
    "object/bbox/xmin": [0.25, 0.0],
    "object/bbox/xmax": [0.5, 1.0],
    "object/bbox/ymin": [0.125, 0.0],
    "object/bbox/ymax": [0.75, 0.5],
    "object/class/text": [b"cat", b"dog"],
    "object/class/label": [2, 7],
}


def example(**changes):
    """Return a tutorial's record with some keys changed, given with two underscores for a slash."""
    values = TUTORIAL | {key.replace("__", "/"): value for key, value in changes.items()}
    features = {f"image/{key}": feature(value) for key, value in values.items() if value is not None}
    return train.Example(features=train.Features(feature=features)).SerializeToString()


def written(path, *payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return path


@pytest.fixture
def read(tmp_path):
    """Write records and read them; return the annotations, and kind and place of each finding."""

    def read(*payloads):
        annotations, findings = read_file(FORMAT, written(tmp_path / "train.record", *payloads))
        return annotations, [(item.kind, item.location) for item in findings]

    return read


# Reading


def test_what_tutorials_write_is_read(read, tmp_path):
    [annotation], findings = read(example())
    assert findings == []
    assert (annotation.filename, annotation.size, annotation.location) == ("a.jpg", (40, 20), "record 0")
    assert annotation.normalized
    assert annotation.complete
    assert images.read_bytes(annotation.source) == b"image"
    seen = [(item.class_name, item.edges, item.location) for item in annotation.objects]
    assert seen == [
        ("cat", (0.25, 0.125, 0.5, 0.75), "record 0, object 0"),
        ("dog", (0.0, 0.0, 1.0, 0.5), "record 0, object 1"),
    ]
    first = annotation.objects[0]
    assert (first.difficult, first.truncated, first.is_crowd, first.group_of, first.view) == (
        *[False] * 4,
        "",
    )
    assert (first.weight, first.area, first.mask, first.keypoints) == (1, None, None, ())


def test_every_record_has_its_image(read):
    payloads = [
        example(filename=[b"%d.jpg" % n], source_id=None, encoded=[b"image %d" % n]) for n in range(3)
    ]
    annotations, _ = read(*payloads)
    assert [annotation.filename for annotation in annotations] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [images.read_bytes(one.source) for one in annotations] == [
        b"image 0",
        b"image 1",
        b"image 2",
    ]


NO_OBJECTS = {f"object__bbox__{side}": [] for side in ("xmin", "xmax", "ymin", "ymax")}


def test_a_record_without_objects_is_background(read):
    [annotation], findings = read(example(**NO_OBJECTS, object__class__text=[], object__class__label=[]))
    assert (annotation.objects, annotation.complete, findings) == ((), True, [])
    [annotation], _ = read(
        example(**dict.fromkeys(NO_OBJECTS), object__class__text=None, object__class__label=None)
    )
    assert (annotation.objects, annotation.complete) == ((), True)


@pytest.mark.parametrize(
    ("filename", "source_id", "name"),
    [
        (b"a.jpg", b"photos/a.jpg", "photos/a.jpg"),
        (b"a.jpg", b"139", "a.jpg"),
        (b"train\\a.jpg", b"0", "train/a.jpg"),
        (b"", b"139", "139"),
        (b"caf\xe9.jpg", b"", "caf\udce9.jpg"),
        (b"", b"", "train.record/0"),
    ],
)
def test_the_name_of_a_image(read, filename, source_id, name):
    [annotation], _ = read(example(filename=[filename], source_id=[source_id]))
    assert annotation.filename == name


@pytest.mark.parametrize("size", [{"height": [0]}, {"height": None}, {"width": [-40]}, {"width": [1.5]}])
def test_a_size_that_is_none_is_left_out(read, size):
    [annotation], _ = read(example(**size))
    assert annotation.size is None


def test_rare_keys(read):
    [annotation], findings = read(
        example(
            object__difficult=[0, 1],
            object__truncated=[0.0, 0.3],  # KITTI's is a share
            object__is_crowd=[1, 0],
            object__group_of=[0, 1],
            object__view=[b"Left", b""],
            object__weight=[0.5, -1.0],
            object__area=[7.5, float("nan")],
        )
    )
    assert findings == []
    flags = [(item.difficult, item.truncated, item.is_crowd, item.group_of) for item in annotation.objects]
    assert flags == [(False, False, True, False), (True, True, False, True)]
    rest = [(item.view, item.weight, item.area) for item in annotation.objects]
    assert rest == [("Left", 0.5, 7.5), ("", 1.0, None)]


# Classes


@pytest.mark.parametrize("texts", [None, [], [b"", b""], [b"cat"]])
def test_numbers_are_looked_up_in_the_label_map_beside(tmp_path, texts):
    path = written(tmp_path / "train.record", example(object__class__text=texts))
    label_map = tmp_path / "label_map.pbtxt"
    write_label_map(LABEL_MAP, label_map)
    [annotation], findings = read_file(FORMAT, path, label_map)
    assert findings == []
    assert [item.class_name for item in annotation.objects] == ["cat", "/m/dog"]


def test_text_takes_precedence_over_numbers(tmp_path):
    path = written(tmp_path / "train.record", example(object__class__label=[7, 7]))
    label_map = tmp_path / "label_map.pbtxt"
    write_label_map(LABEL_MAP, label_map)
    [annotation], findings = read_file(FORMAT, path, label_map)
    assert (findings, [item.class_name for item in annotation.objects]) == ([], ["cat", "dog"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1],
            "the labels of its objects count from 0 and those of the label map from 1: each is taken for the class"
            " before its own. Write the records again with 1 added to each, or give --rename 'class 0=cat' --rename"
            " 'cat=big dog'.",
        ),
        ([0, 2], "the label map names 1 cat, 2 big dog."),
        ([5, 1], "the label map names 1 cat, 2 big dog."),
    ],
)
def test_numbers_that_the_label_map_lacks(tmp_path, labels, message):
    path = written(tmp_path / "train.record", example(object__class__text=None, object__class__label=labels))
    write_label_map(LabelMap((Label(1, "cat"), Label(2, "big dog"))), tmp_path / "map.pbtxt")
    _, findings = read_file(FORMAT, path, tmp_path / "map.pbtxt")
    assert [(f.kind, f.location, f.message) for f in findings] == [
        (kinds.CLASS_UNNAMED, f"class {labels[0]}", message)
    ]


def test_a_number_is_named_by_renaming_it(tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    texts = {"object__class__text": None, "object__class__label": [0, 1], "encoded": [image.getvalue()]}
    written(tmp_path / "train.record", *[example(**texts)] * 3)
    write_label_map(LabelMap((Label(1, "cat"), Label(2, "dog"))), tmp_path / "map.pbtxt")
    rename = {"class 0": "cat", "cat": "dog"}
    refused, renamed, dropped = (
        prepare(tmp_path, Options(num_workers=1, validation_fraction=0.0, **options))
        for options in ({}, {"rename": rename}, {"drop": ["class 0"]})
    )
    assert "class 0: the labels of its objects count from 0" in refused.refusal
    assert (renamed.refusal, renamed.label_map.names) == ("", ["cat", "dog"])
    assert (dropped.refusal, dropped.label_map.names) == ("", ["cat"])


def test_numbers_that_nothing_names_are_reported_once_each(read):
    annotations, findings = read(*[example(object__class__text=None)] * 2)
    assert findings == [(kinds.CLASS_UNNAMED, "class 2"), (kinds.CLASS_UNNAMED, "class 7")]
    assert [item.class_name for one in annotations for item in one.objects] == ["class 2", "class 7"] * 2


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["data/records", "data", "annotations"], "data/records"),
        (["data", "annotations"], "data"),
        (["annotations"], "annotations"),
        (["annotations", "other"], "class 2"),
    ],
)
def test_the_nearest_label_map_counts(tmp_path, folders, name):
    (tmp_path / "data/records").mkdir(parents=True)
    path = written(tmp_path / "data/records/a.record", example(object__class__text=None))
    paths = [tmp_path / folder / "map.pbtxt" for folder in folders]
    for folder, label_map in zip(folders, paths, strict=True):
        label_map.parent.mkdir(exist_ok=True)
        write_label_map(LabelMap((Label(2, folder), Label(7, "dog"))), label_map)
    [annotation], _ = read_file(FORMAT, path, *paths)
    assert annotation.objects[0].class_name == name


def test_what_is_no_label_map_is_reported(tmp_path):
    path = written(tmp_path / "a.record", example())
    graph, one, two = (tmp_path / name for name in ("graph.pbtxt", "one.pbtxt", "two.pbtxt"))
    graph.write_text("node { name: 'x' }")
    write_label_map(LABEL_MAP, one)
    write_label_map(LabelMap((Label(1, "x"),)), two)
    _, findings = read_file(FORMAT, path, graph, one, two)
    assert [(item.kind, item.file) for item in findings] == [
        (kinds.FOREIGN, "graph.pbtxt"),
        (kinds.NOT_READ, "two.pbtxt"),
    ]


# Masks and keypoints


def png(array):
    return masks.to_png(masks.from_array(array), *array.shape)


HALVES = np.repeat([[1, 0]], 20, axis=0).repeat(20, axis=1)


def test_masks_are_read(read):
    [annotation], findings = read(example(object__mask=[png(HALVES), png(1 - HALVES)]))
    assert findings == []
    for item, expected in zip(annotation.objects, (HALVES, 1 - HALVES), strict=True):
        np.testing.assert_array_equal(masks.to_array(item.mask, 20, 40), expected)


def test_masks_of_numbers_are_read(read):
    numbers = [*map(float, HALVES.ravel()), *map(float, 1 - HALVES.ravel())]
    [annotation], findings = read(example(object__mask=numbers))
    assert findings == []
    for item, expected in zip(annotation.objects, (HALVES, 1 - HALVES), strict=True):
        np.testing.assert_array_equal(masks.to_array(item.mask, 20, 40), expected)


def test_a_mask_of_no_weight_is_none(read):
    [annotation], _ = read(example(object__mask=[png(HALVES)] * 2, object__mask__weight=[0.0, 1.0]))
    assert [item.mask is None for item in annotation.objects] == [True, False]


def test_a_mask_that_cannot_be_drawn_is_left_out_and_reported(read):
    [annotation], findings = read(example(object__mask=[b"PNG?", png(HALVES)]))
    assert findings == [(kinds.MASK_UNREADABLE, "record 0, object 0")]
    assert [item.mask is None for item in annotation.objects] == [True, False]


KEYPOINTS = {
    "object__keypoint__x": [0.25, 0.5, 0.0, float("nan")],
    "object__keypoint__y": [0.5, 1.0, 0.0, 0.0],
}


def test_keypoints_are_read(read):
    [annotation], findings = read(
        example(
            **KEYPOINTS,
            object__keypoint__visibility=[1, 2, 0, 9],
            object__keypoint__text=[b"eye", b"ear"] * 2,
            object__keypoint__num=[2, 1],
        )
    )
    assert findings == []
    assert [item.keypoints for item in annotation.objects] == [
        (Keypoint("eye", 0.5, 0.25, 1), Keypoint("ear", 1.0, 0.5, 2)),
        (Keypoint("eye", 0.0, 0.0, 0), Keypoint("ear", 0.0, 0.0, 0)),
    ]


def test_keypoints_without_names_are_numbered_and_seen(read):
    [annotation], findings = read(example(**KEYPOINTS))
    assert findings == []
    assert annotation.objects[0].keypoints == (Keypoint("0", 0.5, 0.25, 2), Keypoint("1", 1.0, 0.5, 2))
    assert [point.visibility for point in annotation.objects[1].keypoints] == [2, 0]


# What is wrong


@pytest.mark.parametrize(
    "change",
    [
        {"object/bbox/xmin": [0.25]},
        {"object/bbox/xmin": [1.0, 2.0, 3.0]},
        {"object/class/text": [b"cat"], "object/class/label": [1]},
        {"object/class/text": None, "object/class/label": None},
        {"object/weight": [1.0]},
        {"object/difficult": [1, 0, 0]},
        {"object/view": [b"Left"]},
        {"object/mask": [b"PNG?"]},
        {"object/mask": [0.0] * 10},
        {"object/keypoint/x": [0.5] * 3, "object/keypoint/y": [0.5] * 3},
        {"object/keypoint/x": [0.5] * 4, "object/keypoint/y": [0.5] * 2},
        {"object/keypoint/x": [0.5] * 2, "object/keypoint/y": [0.5] * 2, "object/keypoint/text": [b"eye"]},
    ],
)
def test_lists_that_do_not_agree_are_reported(read, change):
    annotations, findings = read(example(**change), example())
    assert findings == [(kinds.ANNOTATION_UNREADABLE, "record 0")]
    assert [annotation.location for annotation in annotations] == ["record 1"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"object/bbox/xmin": [float("nan"), 0.0]}, kinds.OBJECT_WITHOUT_BOX),
        ({"object/class/text": [b" ", b"dog"], "object/class/label": None}, kinds.OBJECT_WITHOUT_NAME),
    ],
)
def test_an_object_that_cannot_be_used_is_reported(read, change, kind):
    [annotation], findings = read(example(**change))
    assert findings == [(kind, "record 0, object 0")]
    assert [item.class_name for item in annotation.objects] == ["dog"]
    assert not annotation.complete


@pytest.mark.parametrize("encoded", [None, [], [b""]])
def test_a_record_without_a_image_is_reported(read, encoded):
    annotations, findings = read(example(), example(encoded=encoded))
    assert (len(annotations), findings) == (1, [(kinds.IMAGE_UNREADABLE, "record 1")])


def test_a_damaged_record_is_reported_and_the_others_are_read(tmp_path):
    path = written(tmp_path / "train.record", example(), example(), b"\xff\xff", example())
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    annotations, findings = read_file(FORMAT, path)
    assert [annotation.location for annotation in annotations] == ["record 0", "record 1"]
    assert [(item.kind, item.location) for item in findings] == [
        (kinds.ANNOTATION_UNREADABLE, "record 2"),
        (kinds.ANNOTATION_UNREADABLE, "record 3"),
    ]
    assert "is damaged" in findings[1].message


def test_keys_of_another_type_are_read_and_reported(read):
    changes = {"filename": [7], "object/bbox/xmin": [0, 0], "object/class/label": [2.0, 7.0]}
    ([annotation], findings), whole = read(example(**changes)), read(example(filename=[b"7"]))[0][0]
    assert annotation.filename == "7" == whole.filename.rpartition("/")[2]
    assert [item.edges[0] for item in annotation.objects] == [0, 0]
    assert findings == [(kinds.RECORD_TYPES, "record 0")] * 3


@pytest.mark.parametrize("label", [1.5, math.inf, math.nan, 2.0**63])  # the largest int64 is 2**63 - 1
def test_values_of_no_use_are_reported(read, label):
    _, findings = read(example(**{"object/class/label": [label, 2.0]}), example())
    assert findings == [(kinds.ANNOTATION_UNREADABLE, "record 0")]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "train.record",
            gzip.compress(b"anything", mtime=0),
            "it is compressed with gzip. Unpack it (in its folder: mv",
        ),
        ("train.record", zlib.compress(b"anything"), "it is compressed with zlib"),
        ("train.tfrecord-00000-of-00002", b"anything else", "it is not a TFRecord file"),
        ("LICENSE", b"anything else", ""),
    ],
)
def test_complaints(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content)
    assert FORMAT.complaint(path).startswith(complaint)
    assert bool(FORMAT.complaint(path)) == bool(complaint)


CONTEXT = train.Example(features=train.Features(feature={"label": feature([1])})).SerializeToString()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("train.record", b"", kinds.ANNOTATION_UNREADABLE),
        ("train.tfrecord", b"anything else", kinds.ANNOTATION_UNREADABLE),
        ("train.record-00000-of-00002", gzip.compress(b"anything", mtime=0), kinds.ANNOTATION_UNREADABLE),
        ("LICENSE", b"Permission is hereby granted", kinds.FOREIGN),
    ],
)
def test_what_is_no_tfrecord(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    annotations, [finding] = read_file(FORMAT, path)
    assert (annotations, finding.kind) == ([], kind)
    assert str(tmp_path) not in finding.message
    assert not FORMAT.recognises(path)


def test_records_of_something_else_are_foreign(tmp_path):
    path = written(tmp_path / "train.record", CONTEXT)
    annotations, [finding] = read_file(FORMAT, path)
    assert (annotations, finding.kind) == ([], kinds.FOREIGN)
    assert not FORMAT.recognises(path)


def test_a_file_that_is_cut_short_is_recognised_and_reported(tmp_path):
    path = written(tmp_path / "train.record", example(), example())
    path.write_bytes(path.read_bytes()[:-10])
    annotations, [finding] = read_file(FORMAT, path)
    assert (annotations, finding.kind) == ([], kinds.ANNOTATION_UNREADABLE)
    assert "cut short: record 1" in finding.message
    assert FORMAT.recognises(path)


@pytest.mark.parametrize("name", ["train.record", "train.tfrecord", "records"])
def test_a_tfrecord_is_recognised(tmp_path, name):
    path = written(tmp_path / name, example())
    assert FORMAT.recognises(path)
    assert Listing(tmp_path, (path,)).ending(FORMAT.suffixes) == [path]
    assert not FORMAT.recognises(tmp_path)
    assert not FORMAT.recognises(tmp_path / "absent")


VALUES = st.one_of(
    st.lists(st.integers(-9, 9), max_size=3),
    st.lists(st.floats(width=32), max_size=3),
    st.lists(st.binary(max_size=3), max_size=3),
)
SOME_KEYS = [
    *TUTORIAL,
    *(f"object/{key}" for key in ("weight", "area", "view", "mask", "mask/weight", "is_crowd")),
]
SOME_KEYS += [f"object/keypoint/{key}" for key in ("x", "y", "visibility", "text")]


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(SOME_KEYS), VALUES))
def test_no_value_of_any_key_is_a_surprise(tmp_path_factory, changes):
    path = written(tmp_path_factory.getbasetemp() / "any.record", example(), example(**changes))
    for one in read_file(FORMAT, path)[0]:
        assert all(item.class_name and np.isfinite(item.edges).all() for item in one.objects)


# There and back


def test_what_is_written_is_read_back(tmp_path):
    path = image_file(tmp_path / "a.jpg")
    cat = ObjectRecord(
        "cat",
        Box(0.125, 0.25, 0.5, 1.0),
        difficult=True,
        truncated=True,
        is_crowd=True,
        group_of=True,
        view="Left",
        weight=0.5,
        area=7.5,
        mask=Mask(polygons=((0, 0, 0.5, 0, 0.5, 1, 0, 1),)),
        keypoints=(Keypoint("eye", 0.5, 0.25, 1),),
    )
    plain = ObjectRecord("/m/dog", Box(0, 0, 1, 0.5))
    record = ImageRecord("photos/a.jpg", ImageSource(path), "", 40, 20, (cat, plain))
    record_writer.write_file([record], LABEL_MAP, tmp_path / "a.tfrecord")
    [annotation], findings = read_file(FORMAT, tmp_path / "a.tfrecord")
    assert findings == []
    assert (annotation.filename, annotation.size) == ("photos/a.jpg", (40, 20))
    assert images.read_bytes(annotation.source) == path.read_bytes()
    one, other = annotation.objects
    for key in (
        "class_name",
        "difficult",
        "truncated",
        "is_crowd",
        "group_of",
        "view",
        "weight",
        "area",
        "keypoints",
    ):
        assert getattr(one, key) == getattr(cat, key)
    assert one.edges == (0.25, 0.125, 1.0, 0.5)
    np.testing.assert_array_equal(masks.to_array(one.mask, 20, 40), HALVES)
    # The other has the area of its box, 20 x 20 pixels, and no mask; the keypoint that it lacks is absent.
    assert (other.area, other.mask, other.keypoints) == (400, None, (Keypoint("eye", 0, 0, 0),))
