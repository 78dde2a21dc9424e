"""Where a box lies in a detector's input, through every resizer, in training and evaluation alike."""

import functools
import io
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.batching import evaluation_batches, training_batches, training_samples
from boxtune.data.input import Records
from boxtune.data.label_map import LabelMap

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

BOX = (0.25, 0.25, 0.75, 0.5)  # of an image: rows 15 to 45 and columns 20 to 40 of 60 x 80


def record(height, width, boxes=(BOX,)):
    """An image that is bright within its first box and dark elsewhere."""
    pixels = np.full([height, width, 3], 50, np.uint8)
    if boxes:
        ymin, xmin, ymax, xmax = np.round(boxes[0] * np.array([height, width] * 2)).astype(int)
        pixels[ymin:ymax, xmin:xmax] = 250
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[stream.getvalue()])),
        "image/object/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1] * len(boxes))),
        **{
            f"image/object/bbox/{side}": tf.train.Feature(
                float_list=tf.train.FloatList(value=[box[column] for box in boxes])
            )
            for column, side in enumerate(("ymin", "xmin", "ymax", "xmax"))
        },
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Makes Records of images of these sizes (height, width), the same ones once: what reads them is traced once."""

    @functools.cache
    def write(*sizes, boxes=(BOX,)):
        path = tmp_path_factory.mktemp("records") / "a.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for height, width in sizes:
                writer.write(record(height, width, boxes))
        return Records([path], LabelMap.from_names(["cat"]), 1)

    return write


@pytest.fixture(params=["training", "evaluation"])
def first_batch(request):
    """Returns the first Inputs of records, from the one maker of batches or the other."""

    def draw(records, text, batch_size):
        options = {
            "batch_size": batch_size,
            "image_resizer": text_format.Parse(text, pipeline_pb2.ImageResizer()),
        }
        if request.param == "training":
            batches = training_batches(training_samples(records, seed=0, shuffle=False), **options)
        else:
            batches = evaluation_batches(records, **options).map(lambda inputs, samples: inputs)
        return next(iter(batches.as_numpy_iterator()))

    return draw


def bright(image):
    """Return the box around what is bright in an input, in its frame."""
    rows, columns = np.nonzero(image[..., 0] > 150)
    height, width = image.shape[:2]
    return np.array([
        rows.min() / height, columns.min() / width, (rows.max() + 1) / height, (columns.max() + 1) / width
    ])  # fmt: skip


RESIZERS = [
    # Of 60 x 80 pixels, by hand: the size of the input, the part of it that is image, the box in the input.
    pytest.param(
        "fixed_shape_resizer { height: 32 width: 96 }",
        (32, 96), (32, 96), [0.25, 0.25, 0.75, 0.5],  # stretched: all of the input is image
        id="fixed",
    ),
    pytest.param(
        "keep_aspect_ratio_resizer { min_dimension: 30 max_dimension: 64 }",
        (30, 40), (30, 40), [0.25, 0.25, 0.75, 0.5],  # halved, as 60 becomes 30
        id="keep-aspect",
    ),
    pytest.param(
        "keep_aspect_ratio_resizer { min_dimension: 120 max_dimension: 120 }",
        (90, 120), (90, 120), [0.25, 0.25, 0.75, 0.5],  # by 1.5, as 80 must not pass 120
        id="keep-aspect that stops at its largest",
    ),
    pytest.param(
        "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 40 pad_to_max_dimension: true }",
        (40, 40), (30, 40), [0.1875, 0.25, 0.5625, 0.5],  # rows 7.5 to 22.5 of 40, columns 10 to 20 of 40
        id="keep-aspect padded",
    ),
    pytest.param(
        "keep_aspect_ratio_resizer { min_dimension: 30 max_dimension: 64 pad_to_max_dimension: true "
        "per_channel_pad_value: [1, 2, 3] }",
        (64, 64), (30, 40), [7.5 / 64, 10 / 64, 22.5 / 64, 20 / 64],
        id="keep-aspect padded on both sides",
    ),
    pytest.param(
        "identity_resizer {}",
        (60, 80), (60, 80), [0.25, 0.25, 0.75, 0.5],
        id="identity",
    ),
    pytest.param(
        "conditional_shape_resizer { condition: GREATER size_threshold: 40 }",
        (30, 40), (30, 40), [0.25, 0.25, 0.75, 0.5],  # 80 is greater than 40: halved
        id="conditional, greater",
    ),
    pytest.param(
        "conditional_shape_resizer { condition: GREATER size_threshold: 80 }",
        (60, 80), (60, 80), [0.25, 0.25, 0.75, 0.5],
        id="conditional, not greater",
    ),
    pytest.param(
        "conditional_shape_resizer { condition: SMALLER size_threshold: 120 }",
        (120, 160), (120, 160), [0.25, 0.25, 0.75, 0.5],  # 60 is smaller than 120: doubled
        id="conditional, smaller",
    ),
    pytest.param(
        "conditional_shape_resizer { condition: SMALLER size_threshold: 60 }",
        (60, 80), (60, 80), [0.25, 0.25, 0.75, 0.5],
        id="conditional, not smaller",
    ),
    pytest.param(
        "pad_to_multiple_resizer { multiple: 32 }",
        (64, 96), (60, 80), [15 / 64, 20 / 96, 45 / 64, 40 / 96],
        id="pad to multiple",
    ),
    pytest.param(
        "pad_to_multiple_resizer { multiple: 20 }",
        (60, 80), (60, 80), [0.25, 0.25, 0.75, 0.5],  # multiples already
        id="pad to multiple, nothing to do",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "input_size", "size", "box"), RESIZERS)
def test_one_image(records, first_batch, text, input_size, size, box):
    """With two objects, of which the other is the whole image: it ends where the padding starts."""
    inputs = first_batch(records((60, 80), boxes=(BOX, (0, 0, 1, 1))), text, batch_size=1)
    assert inputs["images"].shape == (1, *input_size, 3)
    np.testing.assert_array_equal(inputs["sizes"], [size])
    assert inputs["sizes"].dtype == np.int32
    truth = inputs["groundtruth"]
    np.testing.assert_array_equal(truth["valid"], [[True, True, False]])
    whole = [0, 0, size[0] / input_size[0], size[1] / input_size[1]]
    np.testing.assert_allclose(truth["boxes"][0, :2], [box, whole], rtol=1e-6)
    # That is where the object is seen, but for a pixel that is mixed with its neighbours.
    np.testing.assert_allclose(bright(inputs["images"][0]), box, atol=1.01 / min(input_size))


def test_images_of_three_sizes_are_padded_to_the_largest(records, first_batch):
    # 60 x 80 is the widest and 100 x 40 the highest: the input is 100 x 80.
    three = records((60, 80), (100, 40), (30, 50))
    inputs = first_batch(three, "identity_resizer {}", batch_size=3)
    assert inputs["images"].shape == (3, 100, 80, 3)
    np.testing.assert_array_equal(inputs["sizes"], [[60, 80], [100, 40], [30, 50]])
    for image, (height, width) in zip(inputs["images"], inputs["sizes"], strict=True):
        assert (image[:height, :width] >= 50).all()
        assert not image[height:].any()
        assert not image[:, width:].any()
    boxes = inputs["groundtruth"]["boxes"]
    np.testing.assert_allclose(
        boxes[:, 0],
        [
            [0.15, 0.25, 0.45, 0.5],  # rows 15 to 45 of 100, columns 20 to 40 of 80
            [0.25, 0.125, 0.75, 0.25],  # rows 25 to 75 of 100, columns 10 to 20 of 80
            [0.075, 0.15625, 0.225, 0.3125],  # rows 7.5 to 22.5 of 100, columns 12.5 to 25 of 80
        ],
        rtol=1e-6,
    )
    for image, box in zip(inputs["images"], boxes[:, 0], strict=True):
        np.testing.assert_allclose(bright(image), box, atol=0.011)


@pytest.mark.parametrize(
    ("text", "input_size", "sizes"),
    [
        # 60 x 80, 100 x 40 and 30 x 50, by hand.
        pytest.param(
            "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 64 }",
            (64, 64), [(40, 53), (64, 26), (38, 64)],  # by 2/3, 0.64 and 1.28, rounded
            id="keep-aspect",
        ),
        pytest.param(
            "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 64 pad_to_max_dimension: true }",
            (64, 64), [(40, 53), (64, 26), (38, 64)],
            id="keep-aspect padded",
        ),
        pytest.param(
            "conditional_shape_resizer { condition: GREATER size_threshold: 60 }",
            (60, 60), [(45, 60), (60, 24), (30, 50)],  # by 0.75, 0.6 and 1
            id="conditional, greater",
        ),
        pytest.param(
            "conditional_shape_resizer { condition: SMALLER size_threshold: 60 }",
            (150, 100), [(60, 80), (150, 60), (60, 100)],  # by 1, 1.5 and 2
            id="conditional, smaller",
        ),
        pytest.param(
            "pad_to_multiple_resizer { multiple: 32 }",
            (128, 96), [(60, 80), (100, 40), (30, 50)],
            id="pad to multiple",
        ),
        pytest.param(
            "fixed_shape_resizer { height: 32 width: 64 }",
            (32, 64), [(32, 64)] * 3,
            id="fixed",
        ),
    ],
)  # fmt: skip
def test_a_batch_of_three_sizes(records, first_batch, text, input_size, sizes):
    inputs = first_batch(records((60, 80), (100, 40), (30, 50)), text, batch_size=3)
    assert inputs["images"].shape == (3, *input_size, 3)
    np.testing.assert_array_equal(inputs["sizes"], sizes)
    for box, size in zip(inputs["groundtruth"]["boxes"][:, 0], sizes, strict=True):
        fractions = [Fraction(part, whole) for part, whole in zip(size, input_size, strict=True)]
        expected = [
            float(Fraction(side) * fraction) for side, fraction in zip(BOX, fractions * 2, strict=True)
        ]
        np.testing.assert_allclose(box, expected, rtol=1e-6)


def test_training_and_evaluation_see_the_same(records):
    three = records((60, 80), (100, 40), (30, 50))
    resizer = text_format.Parse(
        "keep_aspect_ratio_resizer { min_dimension: 40 max_dimension: 64 }", pipeline_pb2.ImageResizer()
    )
    options = {"batch_size": 3, "image_resizer": resizer, "row_multiple": 4}
    trained = next(iter(training_batches(training_samples(three, seed=0, shuffle=False), **options)))
    evaluated, _ = next(iter(evaluation_batches(three, **options)))
    tf.nest.assert_same_structure(trained, evaluated)
    for one, other in zip(tf.nest.flatten(trained), tf.nest.flatten(evaluated), strict=True):
        np.testing.assert_array_equal(one, other)


def test_truth_of_evaluation_beside_its_inputs_stays_in_the_frame_of_the_image(records):
    three = records((60, 80), (100, 40), (30, 50))
    section = text_format.Parse("identity_resizer {}", pipeline_pb2.ImageResizer())
    _, samples = next(iter(evaluation_batches(three, batch_size=3, image_resizer=section)))
    np.testing.assert_allclose(samples["boxes"], [[BOX]] * 3, rtol=1e-6)
    np.testing.assert_array_equal(samples["size"], [[60, 80], [100, 40], [30, 50]])
