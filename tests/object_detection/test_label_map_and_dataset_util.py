"""The API's helpers as scripts and notebooks use them."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.data.decoder import parser
from boxtune.data.label_map import read_label_map
from boxtune.errors import DataError
from object_detection.utils import dataset_util, label_map_util
from voc_folder import annotated, element

ANIMALS = """
item { id: 2 name: "/m/cat" display_name: "cat" }
item { id: 4 name: "dog" }
"""


@pytest.fixture
def animals(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(ANIMALS, encoding="utf-8")
    return path


@pytest.fixture
def label_map(tmp_path):
    """Read a label map from text."""

    def load(text, **options):
        path = tmp_path / "of_test.pbtxt"
        path.write_text(text, encoding="utf-8")
        return label_map_util.load_labelmap(str(path), **options)

    return load


def test_features_hold_numbers_and_bytes():
    def values(feature):
        return list(getattr(feature, feature.WhichOneof("kind")).value)

    assert values(dataset_util.int64_feature(3)) == [3]
    assert values(dataset_util.int64_list_feature(np.array([1, 2]))) == [1, 2]
    assert values(dataset_util.bytes_feature(b"x")) == [b"x"]
    assert values(dataset_util.bytes_list_feature([b"x", b""])) == [b"x", b""]
    assert values(dataset_util.float_feature(0.5)) == [0.5]
    assert values(dataset_util.float_list_feature([0.5, 2])) == [0.5, 2.0]


def test_examples_are_the_first_words_of_lines(tmp_path):
    path = tmp_path / "trainval.txt"
    path.write_text("a 1\nb -1 3\n\nc\n", encoding="utf-8")
    assert dataset_util.read_examples_list(str(path)) == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"absent\.txt"):
        dataset_util.read_examples_list(tmp_path / "absent.txt")


XML = (
    "<annotation><!-- by hand --><filename>a.jpg</filename><size><width>4</width></size><note/>"
    "<object><name>cat</name></object><object><name>dog</name></object></annotation>"
)


@pytest.mark.parametrize("library", ["xml.etree.ElementTree", "lxml.etree"])
def test_xml_becomes_a_dict_with_a_list_of_objects(library):
    etree = pytest.importorskip(library)
    assert dataset_util.recursive_parse_xml_to_dict(etree.fromstring(XML)) == {
        "annotation": {
            "filename": "a.jpg",
            "size": {"width": "4"},
            "note": None,
            "object": [{"name": "cat"}, {"name": "dog"}],
        }
    }


def test_xml_of_any_depth_is_answered():
    deep = ElementTree.fromstring("<a>" * 2000 + "</a>" * 2000)
    with pytest.raises(DataError, match="100 deep"):
        dataset_util.recursive_parse_xml_to_dict(deep)


def test_ids_by_name(animals):
    assert label_map_util.get_label_map_dict(str(animals)) == {"/m/cat": 2, "dog": 4}
    assert label_map_util.get_label_map_dict(animals, use_display_name=True) == {"cat": 2, "dog": 4}
    label_map = label_map_util.load_labelmap(animals)
    assert label_map_util.get_label_map_dict(label_map) == {"/m/cat": 2, "dog": 4}
    filled = {"/m/cat": 2, "dog": 4, "background": 0, "1": 1, "3": 3}
    assert label_map_util.get_label_map_dict(label_map, fill_in_gaps_and_background=True) == filled
    assert label_map_util.get_max_label_map_index(label_map) == 4


def test_categories_of_a_file(animals):
    cat, dog = {"id": 2, "name": "cat"}, {"id": 4, "name": "dog"}
    assert label_map_util.create_categories_from_labelmap(str(animals)) == [cat, dog]
    assert label_map_util.create_category_index_from_labelmap(str(animals)) == {2: cat, 4: dog}
    by_name = label_map_util.create_category_index_from_labelmap(str(animals), use_display_name=False)
    assert by_name[2]["name"] == "/m/cat"


def test_categories_up_to_a_number_of_classes(animals):
    label_map = label_map_util.load_labelmap(str(animals))
    convert = label_map_util.convert_label_map_to_categories
    assert convert(label_map, max_num_classes=3, use_display_name=True) == [{"id": 2, "name": "cat"}]
    assert convert(None, max_num_classes=2) == [
        {"id": 1, "name": "category_1"},
        {"id": 2, "name": "category_2"},
    ]
    assert label_map_util.create_category_index([{"id": 7, "name": "x"}]) == {7: {"id": 7, "name": "x"}}
    assert label_map_util.create_class_agnostic_category_index() == {1: {"id": 1, "name": "object"}}


def test_the_first_of_two_classes_of_one_id_is_taken(label_map):
    twice = label_map("item { id: 0 name: 'background' } item { id: 1 name: 'a' } item { id: 1 name: 'b' }")
    assert label_map_util.convert_label_map_to_categories(twice, 9) == [{"id": 1, "name": "a"}]


def test_what_else_a_class_may_have(label_map):
    person = label_map(
        "item { id: 1 name: 'person' frequency: COMMON instance_count: 3"
        " keypoints { id: 5 label: 'nose' } keypoints { id: 6 label: 'knee' } }"
    )
    assert label_map_util.convert_label_map_to_categories(person, 1) == [
        {
            "id": 1,
            "name": "person",
            "frequency": "c",
            "instance_count": 3,
            "keypoints": {"nose": 5, "knee": 6},
        }
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("item { id: -1 name: 'a' }", '"a".*id -1'), ("item { id: 0 name: 'a' }", '"a".*id 0')],
)
def test_ids_that_no_class_can_have(label_map, text, message):
    with pytest.raises(DataError, match=message):
        label_map(text)
    with pytest.raises(ValueError, match=message):  # what the API raises
        label_map(text)
    assert label_map(text, validator=lambda _: None).item[0].name == "a"


HIERARCHY = """
item { id: 1 name: "animal" descendant_ids: [3, 4] }
item { id: 3 name: "cat" ancestor_ids: 1 }
item { id: 4 name: "dog" ancestor_ids: 1 }
"""


def test_what_is_above_and_below_each_class(label_map):
    above, below = label_map_util.get_label_map_hierarchy_lut(label_map(HIERARCHY))
    expected = np.zeros((4, 4), np.int64)
    expected[2, 0] = expected[3, 0] = 1
    np.testing.assert_array_equal(above, expected)
    np.testing.assert_array_equal(below, expected.T)
    assert above.dtype == below.dtype == np.int64
    both = label_map_util.get_label_map_hierarchy_lut(label_map(HIERARCHY), include_identity=True)
    np.testing.assert_array_equal(both[0], expected + np.eye(4, dtype=int))
    with pytest.raises(ValueError, match=r'"a".*class 9'):
        label_map_util.get_label_map_hierarchy_lut(label_map("item { id: 1 name: 'a' ancestor_ids: 9 }"))


def test_a_label_map_without_classes(label_map):
    with pytest.raises(ValueError, match="no classes"):
        label_map_util.get_max_label_map_index(label_map(""))


def test_two_keypoints_of_one_id(label_map):
    twice = label_map(
        "item { id: 1 name: 'a' keypoints { id: 5 label: 'x' } keypoints { id: 5 label: 'y' } }"
    )
    with pytest.raises(ValueError, match="keypoints of one id"):
        label_map_util.convert_label_map_to_categories(twice, 1)


def users_script(folder: Path, label_map_path: str, output_path: str) -> None:
    """Write the records of a VOC folder as scripts in the wild do: image/format is jpg whatever the image is."""
    etree = pytest.importorskip("lxml.etree")
    ids = label_map_util.get_label_map_dict(label_map_path)
    writer = tf.compat.v1.python_io.TFRecordWriter(output_path)
    for xml_path in sorted(folder.glob("*.xml")):
        with tf.io.gfile.GFile(str(xml_path), "r") as file:
            data = dataset_util.recursive_parse_xml_to_dict(etree.fromstring(file.read()))["annotation"]
        encoded = (folder / data["filename"]).read_bytes()
        width, height = Image.open(io.BytesIO(encoded)).size
        objects = data.get("object", [])
        names = [item["name"] for item in objects]
        edges = {
            side: [float(item["bndbox"][side]) / (width if side[0] == "x" else height) for item in objects]
            for side in ("xmin", "ymin", "xmax", "ymax")
        }
        feature = {
            "image/height": dataset_util.int64_feature(height),
            "image/width": dataset_util.int64_feature(width),
            "image/filename": dataset_util.bytes_feature(data["filename"].encode()),
            "image/source_id": dataset_util.bytes_feature(data["filename"].encode()),
            "image/encoded": dataset_util.bytes_feature(encoded),
            "image/format": dataset_util.bytes_feature(b"jpg"),
            "image/object/class/text": dataset_util.bytes_list_feature([name.encode() for name in names]),
            "image/object/class/label": dataset_util.int64_list_feature([ids[name] for name in names]),
        }
        for side, values in edges.items():
            feature[f"image/object/bbox/{side}"] = dataset_util.float_list_feature(values)
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        writer.write(example.SerializeToString())
    writer.close()


def test_a_users_own_script_writes_what_training_reads(tmp_path):
    annotated(tmp_path / "photos", "a", element("dog", 4, 2, 20, 12), element("cat", 0, 0, 40, 20))
    (tmp_path / "map.pbtxt").write_text(
        "item { id: 1 name: 'cat' } item { id: 2 name: 'dog' }", encoding="utf-8"
    )
    users_script(tmp_path / "photos", str(tmp_path / "map.pbtxt"), str(tmp_path / "train.record"))

    parse = parser(read_label_map(tmp_path / "map.pbtxt"), num_classes=2)
    [sample] = tf.data.TFRecordDataset(str(tmp_path / "train.record")).map(parse)
    # 40 x 20 pixels: [ymin, xmin, ymax, xmax] = [2/20, 4/40, 12/20, 20/40] and the whole image
    np.testing.assert_allclose(sample["boxes"], [[0.1, 0.1, 0.6, 0.5], [0, 0, 1, 1]], rtol=1e-6)
    assert sample["classes"].numpy().tolist() == [1, 0]
    assert sample["image"].shape == (20, 40, 3)
