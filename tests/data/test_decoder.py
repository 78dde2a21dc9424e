import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.data.decoder import class_parser, parser
from boxtune.data.label_map import Label, LabelMap
from boxtune.data.tfrecord import MAX_OBJECTS
from boxtune.errors import DataError

LABEL_MAP = LabelMap((Label(1, "cat", "Katze"), Label(2, "dog", "Hund"), Label(4, "bird")))
NUM_CLASSES = 4
BOXES = np.float32([[0.1, 0.2, 0.5, 0.6], [0.25, 0.5, 0.75, 1]])


def pixels(mode="RGB"):
    """An image 4 high and 6 wide, every value another."""
    bands = len(mode)
    values = np.arange(4 * 6 * bands, dtype=np.uint8).reshape(4, 6, bands)
    return Image.fromarray(values.squeeze(axis=-1) if bands == 1 else values)


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def feature(key, values):
    """As the API's dataset_util makes features of lists, each of one kind also where it is empty."""
    if key.endswith(("text", "encoded", "format", "filename", "source_id")):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if "bbox" in key or key.endswith(("weight", "area", "scores")):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def record(boxes=BOXES, **lists):
    """What generate_tfrecord.py writes at least; `lists` by the end of their keys, None to leave one out."""
    features = {
        "image/height": [4],
        "image/width": [6],
        "image/encoded": [encoded(pixels())],
        "image/format": [b"png"],
        "image/object/class/label": [1, 2],
    }
    features |= {
        f"image/object/bbox/{side}": boxes[:, column]
        for column, side in enumerate(["ymin", "xmin", "ymax", "xmax"])
    }
    known = {
        "label": "class/label", "text": "class/text", "weight": "weight",
        "is_crowd": "is_crowd", "difficult": "difficult", "group_of": "group_of", "area": "area", "ymin": "bbox/ymin",
    }  # fmt: skip
    for name, values in lists.items():
        key = f"image/object/{known[name]}" if name in known else f"image/{name}"
        features[key] = values
    chosen = {key: feature(key, values) for key, values in features.items() if values is not None}
    return tf.train.Example(features=tf.train.Features(feature=chosen)).SerializeToString()


def parse_eagerly(serialized):
    return {
        name: part.numpy() for name, part in parser(LABEL_MAP, NUM_CLASSES)(tf.constant(serialized)).items()
    }


@functools.cache
def traced(*, class_scores=False):
    """Return the graph that trainings read records by."""
    parse = parser(LABEL_MAP, NUM_CLASSES, class_scores=class_scores)
    return tf.function(parse, autograph=False, input_signature=[tf.TensorSpec([], tf.string)])


def parse_in_a_graph(serialized):
    return {name: part.numpy() for name, part in traced()(serialized).items()}


@pytest.fixture(params=[parse_eagerly, parse_in_a_graph], ids=["eagerly", "in a graph"])
def parse(request):
    return request.param


def test_the_keys_that_every_script_writes(parse):
    sample = parse(record())
    np.testing.assert_array_equal(sample["image"], np.asarray(pixels()))
    assert sample["image"].dtype == np.uint8
    np.testing.assert_array_equal(sample["boxes"], BOXES)
    np.testing.assert_array_equal(sample["classes"], [0, 1])
    assert sample["classes"].dtype == np.int32
    np.testing.assert_array_equal(sample["weights"], [1, 1])
    np.testing.assert_array_equal(sample["is_crowd"], [False, False])
    np.testing.assert_array_equal(sample["difficult"], [False, False])
    np.testing.assert_array_equal(sample["group_of"], [False, False])
    np.testing.assert_array_equal(sample["areas"], [0, 0])
    np.testing.assert_array_equal(sample["size"], [4, 6])
    assert (sample["filename"], sample["source_id"]) == (b"", b"")


def test_all_keys(parse):
    flags = {"is_crowd": [0, 1], "difficult": [1, 0], "group_of": [0, 1]}
    sample = parse(record(weight=[0.5, 2.0], area=[3.5, 2.0], filename=[b"a.png"], source_id=[b"7"], **flags))
    np.testing.assert_array_equal(sample["weights"], [0.5, 2])
    np.testing.assert_array_equal(sample["is_crowd"], [False, True])
    np.testing.assert_array_equal(sample["difficult"], [True, False])
    np.testing.assert_array_equal(sample["group_of"], [False, True])
    np.testing.assert_array_equal(sample["areas"], [3.5, 2])
    assert (sample["filename"], sample["source_id"]) == (b"a.png", b"7")


@pytest.mark.parametrize(
    ("text", "label", "classes"),
    [
        pytest.param([b"dog", b"bird"], [1, 1], [1, 3], id="text goes before label"),
        pytest.param([b"dog", b"bird"], None, [1, 3], id="text alone"),
        pytest.param(None, [4, 2], [3, 1], id="label alone"),
        pytest.param([], [4, 2], [3, 1], id="no text written"),
        pytest.param([b"Hund", b"Katze"], [1, 1], [1, 0], id="display names"),
        pytest.param([b"zebra", b"cat"], [4, 4], [3, 0], id="an unknown text falls back to the label"),
        pytest.param([b"", b""], [4, 2], [3, 1], id="empty texts"),
        pytest.param([b"cat", b"dog"], [9], [0, 1], id="text alone counts where labels are too few"),
    ],
)
def test_classes(parse, text, label, classes):
    np.testing.assert_array_equal(parse(record(text=text, label=label))["classes"], classes)


@pytest.mark.parametrize("lists", [{"label": [], "text": []}, {"label": None}])
def test_a_image_without_objects(parse, lists):
    sample = parse(record(boxes=np.zeros([0, 4]), **lists))
    assert sample["boxes"].shape == (0, 4)
    for name in ("classes", "weights", "areas", "is_crowd", "difficult", "group_of"):
        assert sample[name].shape == (0,), name


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_images_are_decoded_by_content(parse, mode):
    image = pixels(mode)
    sample = parse(record(encoded=[encoded(image, "PNG")], format=[b"jpg"]))
    # Grey is repeated for each color; transparency is left out.
    expected = np.asarray(image)
    expected = np.stack([expected] * 3, axis=-1) if mode == "L" else expected[..., :3]
    np.testing.assert_array_equal(sample["image"], expected)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("BMP", "RGB"), ("GIF", "RGB")])
def test_other_kinds_of_images(parse, kind, mode):
    flat = Image.new(mode, (6, 4), 200 if mode == "L" else (200, 200, 200))
    sample = parse(record(encoded=[encoded(flat, kind)]))
    np.testing.assert_allclose(sample["image"], np.full([4, 6, 3], 200), atol=2)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        pytest.param({"label": [1, 5]}, "above num_classes", id="label above num_classes"),
        pytest.param({"label": [1, 0]}, "not in the label map", id="label 0"),
        pytest.param({"text": [b"zebra", b"cat"], "label": None}, "not in the label map", id="unknown text"),
        pytest.param({"label": [1]}, "a class for every box", id="too few labels"),
        pytest.param({"label": [1, 2, 2]}, "a class for every box", id="too many labels"),
        pytest.param({"label": None}, "a class for every box", id="no classes"),
        pytest.param({"ymin": [0.5]}, "one value for every box", id="box lists of several lengths"),
        pytest.param({"weight": [1.0]}, "weight: one value for every box", id="too few weights"),
        pytest.param({"is_crowd": [0, 1, 0]}, "is_crowd: one value for every box", id="too many flags"),
        pytest.param({"ymin": [0.1, 0.9]}, "min above max", id="min above max"),
        pytest.param({"encoded": [b"no image"]}, "no image of a known format", id="no image"),
        pytest.param({"encoded": None}, "the file is empty", id="no image at all"),
        pytest.param({"encoded": [encoded(pixels())[:60]]}, "damaged PNG", id="half an image"),
    ],
)
def test_unusable_records(parse, lists, message):
    # Pillow's errors become TensorFlow's only in a graph.
    with pytest.raises((tf.errors.OpError, DataError), match=message):
        parse(record(**lists))


@pytest.mark.parametrize("extra", [0, 1])
def test_objects_are_refused_and_never_cut(parse, extra):
    serialized = record(np.tile(BOXES[:1], (MAX_OBJECTS + extra, 1)), label=[1] * (MAX_OBJECTS + extra))
    if not extra:
        assert len(parse(serialized)["boxes"]) == MAX_OBJECTS
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 5000 boxes take too much memory"):
        parse(serialized)


@pytest.mark.parametrize(("scale", "is_refused"), [(1.09, False), (1.11, True), (300, True)])
def test_boxes_in_pixels(parse, scale, is_refused):
    boxes = BOXES.copy()
    boxes[1, 2:] = scale
    if not is_refused:
        np.testing.assert_array_equal(parse(record(boxes))["boxes"], boxes)
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match="fractions of the image, not pixels"):
        parse(record(boxes))


def test_no_record(parse):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Example"):
        parse(b"no record")


class TestClassScores:
    """The label map has four classes."""

    SCORES = np.float32([[0.5, 0.25, 0, 0.25], [0, 0, 1, 0]])

    def parsed(self, boxes=BOXES, **lists):
        """Return the class scores, read in a graph; the objects are of the classes 0 and 1 by their labels."""
        lists = {name.replace("__", "/"): values for name, values in lists.items()}
        return traced(class_scores=True)(record(boxes, **lists))["class_scores"]

    def test_a_row_for_each_object(self):
        np.testing.assert_array_equal(
            self.parsed(object__class__multiclass_scores=self.SCORES.ravel()), self.SCORES
        )

    @pytest.mark.parametrize("lists", [{}, {"object__class__multiclass_scores": []}])
    def test_without_any_the_class_is_certain(self, lists):
        np.testing.assert_array_equal(self.parsed(**lists), [[1, 0, 0, 0], [0, 1, 0, 0]])

    def test_without_objects(self):
        assert self.parsed(np.zeros([0, 4]), label=[]).shape == (0, 4)

    @pytest.mark.parametrize("count", [4, 7, 12])
    def test_the_wrong_number_is_refused(self, count):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="num_classes scores for each box are needed"
        ):
            self.parsed(object__class__multiclass_scores=[0.5] * count)

    def test_a_score_that_is_nan_is_refused(self):
        with pytest.raises(tf.errors.InvalidArgumentError, match="a score is not finite"):
            self.parsed(object__class__multiclass_scores=[float("nan")] * 8)


class TestClassesAlone:
    @pytest.mark.parametrize(
        "lists",
        [
            {},
            {"text": [b"dog", b"Katze"]},
            {"text": [b"dog", b"Katze"], "label": []},
            {"text": [b"what", b"bird"], "label": [2, 1]},
            {"boxes": np.zeros((0, 4)), "label": []},
        ],
    )
    def test_are_those_of_the_whole_record(self, lists):
        serialized = record(**lists)
        alone = class_parser(LABEL_MAP, NUM_CLASSES)(serialized)
        np.testing.assert_array_equal(alone, parser(LABEL_MAP, NUM_CLASSES)(serialized)["classes"])
        assert alone.dtype == tf.int32

    def test_need_no_image(self):
        alone = class_parser(LABEL_MAP, NUM_CLASSES)(record(encoded=[b"no image"]))
        np.testing.assert_array_equal(alone, [0, 1])

    @pytest.mark.parametrize("label", [0, 5])
    def test_outside_of_the_label_map(self, label):
        with pytest.raises(tf.errors.InvalidArgumentError, match="label"):
            class_parser(LABEL_MAP, NUM_CLASSES)(record(label=[1, label]))
