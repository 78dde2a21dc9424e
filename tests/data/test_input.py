import io
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.input import Records, evaluation_batches, naming_faults, training_batches
from boxtune.data.label_map import LabelMap
from boxtune.errors import ConfigError, DataError

LABEL_MAP = LabelMap.from_names(["cat", "dog", "owl"])
RESIZER = text_format.Parse("fixed_shape_resizer { height: 8 width: 8 }", pipeline_pb2.ImageResizer())
PADDED = text_format.Parse(
    "keep_aspect_ratio_resizer { min_dimension: 8 max_dimension: 8 pad_to_max_dimension: true }",
    pipeline_pb2.ImageResizer(),
)
AUGMENTATIONS = [
    text_format.Parse(text, pipeline_pb2.PreprocessingStep())
    for text in ("random_horizontal_flip { }", "ssd_random_crop { }")
]


def encode(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def noise(number, height=12, width=16):
    """A picture whose every value but the first, its number, is drawn."""
    array = np.random.default_rng(number).integers(0, 255, [height, width, 3], np.uint8)
    array[0, 0] = number
    return array


def record(number, *, num_boxes=1, label=1, encoded=None):
    features = {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[encoded or encode(noise(number))])
        ),
        "image/filename": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[f"picture{number}.png".encode()])
        ),
        "image/object/class/label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[label] * num_boxes)
        ),
        # A last byte of 0 must not be taken for the end of a string.
        "image/zero": tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
    } | {
        f"image/object/bbox/{side}": tf.train.Feature(
            float_list=tf.train.FloatList(value=[value / (1 + row) for row in range(num_boxes)])
        )
        for side, value in {"ymin": 0.0, "xmin": 0.25, "ymax": 0.75, "xmax": 1.0}.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


@pytest.fixture
def records(tmp_path):
    """Makes Records of serialized ones, in two files."""

    def write(serialized, **options):
        paths = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"]
        half = len(serialized) // 2
        for path, part in zip(paths, (serialized[:half], serialized[half:]), strict=True):
            with tf.io.TFRecordWriter(str(path)) as writer:
                for one in part:
                    writer.write(one)
        return Records(paths, LABEL_MAP, 3, **options)

    return write


@pytest.fixture
def seven(records):
    return records([record(number, num_boxes=number % 3) for number in range(7)])


def batches(records, count, **options):
    """Return the first `count` batches as pairs of numpy arrays and dicts of them."""
    options = {"batch_size": 1, "seed": 0, "image_resizer": RESIZER} | options
    return list(training_batches(records, **options).take(count).as_numpy_iterator())


def numbers(drawn):
    """Return which pictures are in batches that were not augmented: their first value says it."""
    return [int(image[0, 0, 0]) for images, _ in drawn for image in images]


def assert_same(one, other):
    for (images, truth), (other_images, other_truth) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images, other_images)
        assert truth.keys() == other_truth.keys()
        for name in truth:
            np.testing.assert_array_equal(truth[name], other_truth[name], err_msg=name)


class TestOrder:
    def test_of_the_files_unless_shuffled(self, seven):
        assert numbers(batches(seven, 14, shuffle=False)) == [*range(7), *range(7)]

    def test_each_epoch_sees_each_record_once(self, seven):
        seen = numbers(batches(seven, 21))
        epochs = [seen[:7], seen[7:14], seen[14:]]
        assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_another_seed_is_another_order(self, seven):
        assert len({tuple(numbers(batches(seven, 7, seed=seed))) for seed in range(4)}) == 4

    def test_batches_run_over_the_end_of_an_epoch(self, seven):
        assert numbers(batches(seven, 7, batch_size=3)) == numbers(batches(seven, 21))

    def test_a_batch_may_be_larger_than_all_records(self, seven):
        assert numbers(batches(seven, 1, batch_size=16)) == numbers(batches(seven, 16))

    def test_a_single_record(self, records):
        assert numbers(batches(records([record(5)]), 3)) == [5, 5, 5]

    def test_one_of_n(self, records):
        every_third = records([record(number) for number in range(7)], one_of_n=3)
        assert len(every_third) == 3
        assert numbers(batches(every_third, 4, shuffle=False)) == [0, 3, 6, 0]


class TestStartStep:
    def test_a_run_repeats_itself_from_any_step_on(self, seven):
        # Over several epochs of seven records: steps 1 to 8 of three records each.
        options = {"batch_size": 3, "augmentation_options": AUGMENTATIONS}
        whole = batches(seven, 8, **options)
        for start_step in (0, 5):
            rest = whole[start_step:]
            assert_same(batches(seven, len(rest), start_step=start_step, **options), rest)

    def test_each_epoch_and_seed_augments_anew(self, records):
        one = records([record(5)])
        drawn = batches(one, 12, augmentation_options=AUGMENTATIONS)
        drawn += batches(one, 12, augmentation_options=AUGMENTATIONS, seed=1)
        # Now and then the whole picture is kept, as it is or mirrored.
        assert len({images.tobytes() for images, _ in drawn}) > 15

    def test_far_into_a_run(self, seven):
        far = batches(seven, 1, start_step=10**9, batch_size=8, augmentation_options=AUGMENTATIONS)
        assert far[0][0].shape == (8, 8, 8, 3)


MIXING = {"mosaic_probability": 0.5, "mixup_probability": 0.3, "copy_paste_probability": 0.5}


def flat(number, *, boxes=1, label=1):
    """A record of a picture of one value, by which it is known again."""
    return record(
        number, num_boxes=boxes, label=label, encoded=encode(np.full((12, 16, 3), number, np.uint8))
    )


class TestMixing:
    def test_of_four_pictures(self, records):
        four = records([flat(number) for number in (10, 20, 30, 40)])
        for images, truth in batches(four, 6, batch_size=2, mosaic_probability=1):
            for image, valid in zip(images, truth["valid"], strict=True):
                corners = image[[0, 0, -1, -1], [0, -1, 0, -1], 0]
                assert set(corners) <= {10, 20, 30, 40}
                assert 1 <= valid.sum() <= 4

    def test_blends(self, records):
        two = records([flat(0), flat(200)])
        drawn = batches(two, 30, mixup_probability=1)
        values = {round(float(images[0, 0, 0, 0])) for images, _ in drawn}
        assert len(values - {0, 200}) > 8
        for _, truth in drawn:
            assert truth["weights"].sum() == pytest.approx(1)

    def test_pasted_objects(self, records):
        two = records([flat(0, boxes=0), flat(200)])
        drawn = batches(two, 10, copy_paste_probability=1, shuffle=False)
        # To every other picture, the empty one, one or none of the other's objects is added.
        counts = [int(truth["valid"].sum()) for _, truth in drawn[::2]]
        assert set(counts) == {0, 1}
        for images, truth in drawn[::2]:
            assert images.any() == truth["valid"].any()

    def test_a_run_repeats_itself_from_any_step_on(self, seven):
        options = {"batch_size": 3, "class_balance": 0.5} | MIXING
        whole = batches(seven, 8, **options)
        assert_same(batches(seven, 3, start_step=5, **options), whole[5:])

    def test_threads_make_no_difference(self, seven):
        drawn = []
        for threads in (1, 8):
            options = tf.data.Options()
            options.threading.private_threadpool_size = threads
            options.threading.max_intra_op_parallelism = threads
            dataset = training_batches(
                seven,
                batch_size=4,
                seed=0,
                image_resizer=RESIZER,
                augmentation_options=AUGMENTATIONS[:1],
                class_balance=1,
                mosaic_probability=0.5,
            )
            drawn.append(list(dataset.with_options(options).take(6).as_numpy_iterator()))
        assert_same(*drawn)

    @pytest.mark.parametrize("name", MIXING)
    def test_probabilities_that_cannot_be(self, seven, name):
        with pytest.raises(ConfigError, match=f"boxtune.{name} is 2; it must be in"):
            batches(seven, 1, **{name: 2})

    def test_a_fault_in_what_is_mixed_in_is_named(self, records):
        bad = records([record(0), record(1, encoded=b"no picture")])
        with pytest.raises(DataError, match=r"picture1\.png"), naming_faults(bad):
            batches(bad, 8, mosaic_probability=1)


class TestClassBalance:
    def test_rare_classes_are_seen_more_often(self, records):
        # Eight records of class 1 and two of class 2: evenly, that is five records of each in an epoch of ten.
        ten = records([flat(number, label=1 + (number >= 8)) for number in range(10)])
        shown = numbers(batches(ten, 10, class_balance=1))
        assert sum(number >= 8 for number in shown) == 5
        assert set(shown) >= {8, 9}
        assert sorted(numbers(batches(ten, 10))) == list(range(10))

    def test_copies_of_a_record_are_augmented_each_for_itself(self, records):
        ten = records([record(number, label=1 + (number == 9)) for number in range(10)])
        drawn = batches(ten, 10, class_balance=1, augmentation_options=AUGMENTATIONS)
        assert len({images.tobytes() for images, _ in drawn}) == 10

    def test_classes_of_records(self, seven):
        assert [list(one) for one in seven.classes] == [[], [0], [0, 0], [], [0], [0, 0], []]

    def test_classes_of_one_of_n(self, records):
        every_third = records([flat(number, label=1 + number % 3) for number in range(7)], one_of_n=3)
        assert [list(one) for one in every_third.classes] == [[0], [0], [0]]

    def test_a_record_without_a_known_class_is_named(self, records):
        bad = records([record(0), record(1, label=4)])
        with pytest.raises(DataError, match=r"record 1 .*picture1.png.*label id above num_classes"):
            batches(bad, 1, class_balance=0.5)

    def test_exponents_that_cannot_be(self, seven):
        with pytest.raises(ConfigError, match="class_balance is 2"):
            batches(seven, 1, class_balance=2)


class TestGroundTruth:
    def test_rows_of_padding_are_not_valid(self, records):
        # Pictures with no, one and two objects: two rows, and one of padding behind them.
        three = records([record(number, num_boxes=number, label=number + 1) for number in range(3)])
        _, truth = batches(three, 1, batch_size=3, shuffle=False)[0]
        np.testing.assert_array_equal(truth["valid"], [[0, 0, 0], [1, 0, 0], [1, 1, 0]])
        np.testing.assert_array_equal(truth["weights"], truth["valid"])
        np.testing.assert_array_equal(truth["classes"], [[0, 0, 0], [1, 0, 0], [2, 2, 0]])
        np.testing.assert_array_equal(truth["boxes"][1], [[0, 0.25, 0.75, 1], [0] * 4, [0] * 4])
        assert {name: part.dtype.name for name, part in truth.items()} == {
            "boxes": "float32",
            "classes": "int32",
            "weights": "float32",
            "valid": "bool",
        }

    def test_a_batch_without_objects(self, records):
        empty = records([record(number, num_boxes=0) for number in range(2)])
        _, truth = batches(empty, 1, batch_size=2, augmentation_options=AUGMENTATIONS)[0]
        assert truth["boxes"].shape == (2, 1, 4)
        assert not truth["valid"].any()

    def test_rows_in_multiples_are_of_few_shapes(self, seven):
        for (_, plain), (_, padded) in zip(
            batches(seven, 4, batch_size=2), batches(seven, 4, batch_size=2, row_multiple=5), strict=True
        ):
            assert padded["boxes"].shape == (2, 5, 4)
            for name, part in plain.items():
                np.testing.assert_array_equal(padded[name][:, : part.shape[1]], part)
                assert not np.any(padded[name][:, part.shape[1] :])

    def test_rows_in_multiples_cut_nothing(self, records):
        crowded = records([record(0, num_boxes=7), record(1, num_boxes=1)])
        ((_, truth),) = batches(crowded, 1, batch_size=2, row_multiple=4)
        assert truth["boxes"].shape == (2, 8, 4)
        assert sorted(truth["valid"].sum(axis=1)) == [1, 7]

    def test_shapes_are_known_beforehand(self, seven):
        dataset = training_batches(seven, batch_size=2, seed=0, image_resizer=RESIZER)
        images, truth = dataset.element_spec
        assert images.shape.as_list()[1:] == [8, 8, 3]
        assert images.dtype == tf.float32
        assert truth["boxes"].shape.as_list()[2:] == [4]

    def test_images_that_are_padded(self, seven):
        images, _ = batches(seven, 1, batch_size=2, image_resizer=PADDED)[0]
        # 12 x 16 becomes 6 x 8.
        assert images.shape == (2, 8, 8, 3)
        assert images[:, :6].any()
        assert not images[:, 6:].any()


class TestEvaluation:
    def test_every_record_once_and_in_order(self, seven):
        found = list(evaluation_batches(seven, batch_size=3, image_resizer=PADDED).as_numpy_iterator())
        assert [len(images) for images, _, _ in found] == [3, 3, 1]
        names = itertools.chain(*(samples["filename"] for _, _, samples in found))
        assert list(names) == [f"picture{number}.png".encode() for number in range(7)]
        counts = itertools.chain(*(samples["count"] for _, _, samples in found))
        assert list(counts) == [number % 3 for number in range(7)]

    def test_extents_and_sizes(self, seven):
        images, extents, samples = next(
            iter(evaluation_batches(seven, batch_size=2, image_resizer=PADDED).as_numpy_iterator())
        )
        assert images.shape == (2, 8, 8, 3)
        np.testing.assert_array_equal(extents, [[0.75, 1]] * 2)
        np.testing.assert_array_equal(samples["size"], [[12, 16]] * 2)
        assert "image" not in samples


class TestFaults:
    def test_none(self, seven):
        assert seven.find_fault() is None

    @pytest.mark.parametrize(
        ("faulty", "reason"),
        [
            pytest.param({"encoded": b"no picture"}, "cannot be decoded", id="no picture"),
            pytest.param({"encoded": encode(noise(1))[:100]}, "cannot be decoded", id="half a picture"),
            pytest.param({"label": 4}, "label id above num_classes", id="label above num_classes"),
            pytest.param({"label": 0}, "not in the label map", id="label 0"),
        ],
    )
    def test_are_named(self, records, faulty, reason):
        bad = records([record(0), record(1), record(2), record(3, **faulty)])
        with pytest.raises(tf.errors.OpError):
            batches(bad, 4)
        fault = bad.find_fault()
        assert isinstance(fault, DataError)
        # The second record of the second file; positions count through all files.
        assert "b.tfrecord: record 3 at byte " in str(fault)
        assert "(image picture3.png)" in str(fault)
        assert reason in str(fault)

    def test_bytes_that_are_no_record(self, records):
        fault = records([record(0), b"no record"]).find_fault()
        assert "b.tfrecord: record 1 at byte " in str(fault)
        assert "(not a tf.train.Example)" in str(fault)


def test_a_record_that_is_no_example_is_named_whatever_its_bytes(records):
    damaged = records([record(0), record(1), b"\xff\xfe\x80 not an example", record(3)])
    fault = damaged.find_fault()
    assert fault is not None
    assert "record 2" in str(fault)
    with pytest.raises(DataError, match="record 2"), naming_faults(damaged):
        list(evaluation_batches(damaged, batch_size=2, image_resizer=RESIZER))


def inverted(number):
    example = tf.train.Example.FromString(record(number))
    example.features.feature["image/object/bbox/ymin"].float_list.value[0] = 0.9
    return example.SerializeToString()


def test_an_inverted_box_is_named(records):
    fault = records([record(0), inverted(1)]).find_fault()
    assert re.search(
        r"picture1.png.*image/object/bbox: a box without a number, or with min above max", str(fault)
    )
