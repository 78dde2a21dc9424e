import io
import itertools
import re
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune.config import pipeline_pb2
from boxtune.data.augmentation.mixing import Mixing
from boxtune.data.batching import evaluation_batches, training_batches, training_samples
from boxtune.data.input import Records, doubt_about_both, doubts_about, naming_faults, open_records
from boxtune.data.label_map import LabelMap
from boxtune.data.resize import resizer
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.matching import ArgMaxMatcher, assign_targets
from boxtune.errors import ConfigError, DataError

LABEL_MAP = LabelMap.from_names(["cat", "dog", "owl"])
RESIZER = text_format.Parse("fixed_shape_resizer { height: 8 width: 8 }", pipeline_pb2.ImageResizer())
PADDED = text_format.Parse(
    "keep_aspect_ratio_resizer { min_dimension: 8 max_dimension: 8 pad_to_max_dimension: true }",
    pipeline_pb2.ImageResizer(),
)
pytestmark = pytest.mark.usefixtures("graphs_as_traced")

CROP = (
    "operations {{ min_object_covered: {} min_aspect_ratio: 0.5 max_aspect_ratio: 2 min_area: 0.1 max_area: 1 "
    "overlap_thresh: 0.3 random_coef: 0.15 }} "
)
AUGMENTATIONS = [
    text_format.Parse(text, pipeline_pb2.PreprocessingStep())
    for text in (
        "random_horizontal_flip { }",
        f"ssd_random_crop {{ {''.join(map(CROP.format, (0.1, 0.5)))} }}",  # each takes a while to trace
    )
]


def encode(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def noise(number, height=12, width=16):
    """An image whose every value but the first, its number, is drawn."""
    array = np.random.default_rng(number).integers(0, 255, [height, width, 3], np.uint8)
    array[0, 0] = number
    return array


def record(number, *, num_boxes=1, label=1, encoded=None, scores=None):
    features = {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[encoded or encode(noise(number))])
        ),
        "image/filename": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[f"image{number}.png".encode()])
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
    if scores is not None:
        values = tf.train.FloatList(value=np.ravel(scores))
        features["image/object/class/multiclass_scores"] = tf.train.Feature(float_list=values)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


@pytest.fixture
def records(tmp_path):
    """Makes Records of serialized ones, in two files."""
    return partial(records_in, tmp_path)


def records_in(folder, serialized, **options):
    paths = [folder / "a.tfrecord", folder / "b.tfrecord"]
    half = len(serialized) // 2
    for path, part in zip(paths, (serialized[:half], serialized[half:]), strict=True):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for one in part:
                writer.write(one)
    return Records(paths, LABEL_MAP, 3, **options)


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Records for all tests: what reads them is traced once."""
    serialized = [record(number, num_boxes=number % 3) for number in range(7)]
    return records_in(tmp_path_factory.mktemp("seven"), serialized)


@pytest.fixture(scope="module")
def three_epochs(seven):
    """The numbers of the images of three epochs of the seven records."""
    return numbers(batches(seven, 21))


def samples(records, positions, **options):
    """Return the Samples of training at `positions`, without a graph: it takes longer to make than a few samples."""
    sample_at = training_samples(records, **{"seed": 0} | options)
    return [
        {name: np.asarray(part) for name, part in sample_at(tf.constant(position, tf.int64)).items()}
        for position in positions
    ]


def shown(records, positions, **options):
    """Return which images a training shows at `positions`."""
    return [int(sample["image"][0, 0, 0]) for sample in samples(records, positions, **options)]


def batches(records, count, **options):
    """Return the first `count` batches: Inputs of numpy arrays."""
    return list(dataset(records, **options).take(count).as_numpy_iterator())


def dataset(records, **options):
    """Return the endless Inputs of training, with the options of samples and of batches in one."""
    of_batches = {
        name: options.pop(name)
        for name in ("batch_size", "image_resizer", "start_step", "row_multiple")
        if name in options
    }
    sample_at = training_samples(records, **{"seed": 0} | options)
    return training_batches(sample_at, **{"batch_size": 1, "image_resizer": RESIZER} | of_batches)


def numbers(drawn):
    """Return which images are in batches that were not augmented: their first value says it."""
    return [int(image[0, 0, 0]) for inputs in drawn for image in inputs["images"]]


def assert_same(one, other):
    for inputs, other_inputs in zip(one, other, strict=True):
        tf.nest.assert_same_structure(inputs, other_inputs)
        for part, other_part in zip(tf.nest.flatten(inputs), tf.nest.flatten(other_inputs), strict=True):
            np.testing.assert_array_equal(part, other_part)


class TestOrder:
    def test_of_the_files_unless_shuffled(self, seven):
        assert shown(seven, range(14), shuffle=False) == [*range(7), *range(7)]

    def test_each_epoch_sees_each_record_once(self, three_epochs):
        epochs = [three_epochs[:7], three_epochs[7:14], three_epochs[14:]]
        assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_another_seed_is_another_order(self, seven):
        assert len({tuple(shown(seven, range(7), seed=seed)) for seed in range(4)}) == 4

    def test_batches_run_over_the_end_of_an_epoch(self, seven, three_epochs):
        assert numbers(batches(seven, 7, batch_size=3)) == three_epochs

    def test_a_batch_may_be_larger_than_all_records(self, seven, three_epochs):
        assert numbers(batches(seven, 1, batch_size=16)) == three_epochs[:16]

    def test_a_single_record(self, records):
        assert shown(records([record(5)]), range(3)) == [5, 5, 5]

    def test_one_of_n(self, records):
        every_third = records([record(number) for number in range(7)], one_of_n=3)
        assert len(every_third) == 3
        assert shown(every_third, range(4), shuffle=False) == [0, 3, 6, 0]


class TestStartStep:
    def test_a_run_repeats_itself_from_any_step_on(self, seven):
        # Over several epochs of seven records: steps 1 to 8 of three records each.
        options = {"batch_size": 3, "augmentation_options": AUGMENTATIONS}
        whole = batches(seven, 8, **options)
        assert_same(batches(seven, 3, start_step=5, **options), whole[5:])

    def test_each_epoch_and_seed_augments_anew(self, records):
        one = records([record(5)])
        drawn = samples(one, range(12), augmentation_options=AUGMENTATIONS)
        drawn += samples(one, range(12), augmentation_options=AUGMENTATIONS, seed=1)
        # Now and then the whole image is kept, as it is or mirrored.
        assert len({sample["image"].tobytes() for sample in drawn}) > 15

    def test_far_into_a_run(self, seven):
        far = batches(seven, 1, start_step=10**9, batch_size=8, augmentation_options=AUGMENTATIONS[:1])
        assert far[0]["images"].shape == (8, 8, 8, 3)


MIXING = {"mosaic": 0.5, "mixup": 0.3, "copy_paste": 0.5}


def flat(number, *, boxes=1, label=1):
    """A record of an image of one value, by which it is known again."""
    return record(
        number, num_boxes=boxes, label=label, encoded=encode(np.full((12, 16, 3), number, np.uint8))
    )


class TestMixing:
    def test_of_four_images(self, records):
        four = records([flat(number) for number in (10, 20, 30, 40)])
        for sample in samples(four, range(12), mixed=Mixing(mosaic=1)):
            corners = sample["image"][[0, 0, -1, -1], [0, -1, 0, -1], 0]
            assert set(corners) <= {10, 20, 30, 40}
            assert 1 <= len(sample["boxes"]) <= 4

    def test_blends(self, records):
        two = records([flat(0), flat(200)])
        drawn = batches(two, 30, mixed=Mixing(mixup=1))
        values = {round(float(inputs["images"][0, 0, 0, 0])) for inputs in drawn}
        assert len(values - {0, 200}) > 8
        for inputs in drawn:
            assert inputs["groundtruth"]["weights"].sum() == pytest.approx(1)

    def test_pasted_objects(self, records):
        two = records([flat(0, boxes=0), flat(200)])
        drawn = batches(two, 10, mixed=Mixing(copy_paste=1), shuffle=False)
        # To every other image, the empty one, one or none of the other's objects is added.
        counts = [int(inputs["groundtruth"]["valid"].sum()) for inputs in drawn[::2]]
        assert set(counts) == {0, 1}
        for inputs in drawn[::2]:
            assert inputs["images"].any() == inputs["groundtruth"]["valid"].any()

    def test_each_position_is_the_same_by_itself(self, seven):
        options = {"class_balance": 0.5, "mixed": Mixing(**MIXING)}
        (inputs, *_) = batches(seven, 1, start_step=2, batch_size=8, **options)
        truth = inputs["groundtruth"]
        for row, sample in enumerate(samples(seven, range(16, 24), **options)):
            image = resizer(RESIZER)(tf.cast(sample["image"], tf.float32)).image
            np.testing.assert_array_equal(inputs["images"][row], image)
            for name in ("boxes", "classes", "weights"):
                np.testing.assert_array_equal(truth[name][row][truth["valid"][row]], sample[name])

    def test_threads_make_no_difference(self, seven):
        drawn = []
        sample_at = tf.function(
            training_samples(
                seven,
                seed=0,
                augmentation_options=AUGMENTATIONS[:1],
                class_balance=1,
                mixed=Mixing(mosaic=0.5),
            ),
            autograph=False,
        )
        for threads in (1, 8):
            options = tf.data.Options()
            options.threading.private_threadpool_size = threads
            options.threading.max_intra_op_parallelism = threads
            stream = training_batches(sample_at, batch_size=4, image_resizer=RESIZER)
            drawn.append(list(stream.with_options(options).take(6).as_numpy_iterator()))
        assert_same(*drawn)

    @pytest.mark.parametrize("name", MIXING)
    def test_probabilities_that_cannot_be(self, seven, name):
        with pytest.raises(ConfigError, match=f"boxtune.{name}_probability is 2; it must be in"):
            training_samples(seven, seed=0, mixed=Mixing(**{name: 2}))

    def test_a_fault_in_what_is_mixed_in_is_named(self, records):
        bad = records([record(0), record(1, encoded=b"no image")])
        with pytest.raises(DataError, match=r"image1\.png"), naming_faults(bad):
            batches(bad, 8, mixed=Mixing(mixup=1))


class TestClassScores:
    """Records without scores of their own: a row has 1 for the object's class, which is the second of three."""

    ROW = (0, 1, 0)

    def drawn(self, records, count=1, **options):
        three = records([record(number, num_boxes=number, label=2) for number in range(3)], class_scores=True)
        sample_at = training_samples(three, seed=0, **options)
        stream = training_batches(sample_at, batch_size=3, image_resizer=RESIZER, class_scores=True)
        return [inputs["groundtruth"] for inputs in stream.take(count).as_numpy_iterator()]

    def test_they_are_part_of_the_ground_truth(self, records):
        (truth,) = self.drawn(records, shuffle=False)
        assert truth["class_scores"].dtype == np.float32
        np.testing.assert_array_equal(
            truth["class_scores"], [[[0] * 3] * 3, [self.ROW, *[[0] * 3] * 2], [self.ROW, self.ROW, [0] * 3]]
        )

    def test_they_stay_with_their_objects(self, records):
        """The first score of each object is its class, which is the number of its image."""
        serialized = [
            record(number, num_boxes=number, label=number + 1, scores=[[number, 0.5, 7]] * number)
            for number in range(3)
        ]
        seen = set()
        for sample in samples(
            records(serialized, class_scores=True),
            range(18),
            augmentation_options=AUGMENTATIONS,
            mixed=Mixing(**MIXING),
        ):
            rows, classes = sample["class_scores"], sample["classes"]
            np.testing.assert_array_equal(rows[:, 0], classes)
            np.testing.assert_array_equal(rows[:, 1:], np.tile(np.float32([0.5, 7]), (len(rows), 1)))
            seen |= set(classes)
        assert seen == {1, 2}

    SCORES = np.float32([[0.5, 0.25, 0.125], [0, 1, 0], [0.25, 0.25, 0.5]])

    def test_scores_of_a_record_are_the_targets_of_its_objects(self, records):
        """From the record to what each anchor should predict."""
        one = records([record(0, num_boxes=3, scores=self.SCORES)], class_scores=True)
        stream = training_batches(
            training_samples(one, seed=0), batch_size=1, image_resizer=RESIZER, class_scores=True
        )
        truth = next(stream.as_numpy_iterator())["groundtruth"]
        np.testing.assert_array_equal(truth["class_scores"], [[*self.SCORES, [0] * 3]])
        # The boxes themselves, in another order, and one that meets none.
        anchors = np.float32([*truth["boxes"][0, [2, 0, 1]], [0.9, 0, 1, 0.1]])
        targets = assign_targets(truth, anchors, ArgMaxMatcher(0.9), FasterRcnnBoxCoder(), 3)
        expected = [self.SCORES[2], self.SCORES[0], self.SCORES[1], [0] * 3]
        np.testing.assert_array_equal(targets.classes, [expected])
        np.testing.assert_array_equal(targets.class_weights, [[1] * 4])

    @pytest.mark.parametrize(
        ("scores", "fault"),
        [
            ([0.5] * 2, "num_classes scores for each box are needed"),
            ([0.5] * 7, "num_classes scores for each box are needed"),
            ([float("nan")] * 3, "a score is not finite"),
        ],
    )
    def test_scores_that_cannot_be_are_named(self, records, scores, fault):
        some = records([record(0), record(1, scores=scores)], class_scores=True)
        sample_at = training_samples(some, seed=0)
        with pytest.raises(DataError) as caught, naming_faults(some):
            list(training_batches(sample_at, batch_size=2, image_resizer=RESIZER, class_scores=True).take(1))
        assert str(caught.value) == (
            f"{some.index.paths[1]}: record 1 at byte {some.index.offsets[1]} (image image1.png): "
            f"image/object/class/multiclass_scores: {fault}; check the label map, num_classes and what wrote the "
            "records"
        )

    def test_unread_they_change_nothing(self, records):
        serialized = [record(number, scores=[0.5] * 3) for number in range(3)]
        plain = records([record(number) for number in range(3)])
        drawn = samples(plain, range(2)), samples(records(serialized), range(2))
        for one, other in zip(*drawn, strict=True):
            assert "class_scores" not in other
            np.testing.assert_array_equal(one["image"], other["image"])

    def test_only_if_wanted(self, records):
        three = records([record(number) for number in range(3)], class_scores=True)
        assert "class_scores" not in batches(three, 1)[0]["groundtruth"]
        _, samples = next(evaluation_batches(three, batch_size=2, image_resizer=RESIZER).as_numpy_iterator())
        assert samples["class_scores"].shape == (2, 1, 3)


class TestDatasets:
    """The file of the first half of the records counts three times as much as the other."""

    def weighted(self, records, count, weights=(3, 1), **options):
        serialized = [flat(number) for number in range(count)]
        paths = records(serialized).index.paths
        datasets = [([path], weight) for path, weight in zip(paths, weights, strict=True)]
        return records(serialized, datasets=datasets, **options)

    def test_records_are_seen_by_the_weight_of_their_file(self, records):
        eight = self.weighted(records, 8)
        np.testing.assert_allclose(eight.probabilities, [*[3 / 16] * 4, *[1 / 16] * 4])
        drawn = shown(eight, range(8))
        assert sum(number < 4 for number in drawn) == 6  # three quarters of eight
        assert numbers(batches(eight, 3, start_step=5)) == drawn[5:]

    def test_of_one_of_n(self, records):
        # Of 0 to 7, records 0 and 3 of the first file, and 6 of the other, are read.
        np.testing.assert_allclose(self.weighted(records, 8, one_of_n=3).probabilities, [3 / 8, 3 / 8, 1 / 4])

    def test_evaluation_reads_each_once(self, records):
        batches_ = evaluation_batches(self.weighted(records, 8), batch_size=4, image_resizer=RESIZER)
        assert numbers([inputs for inputs, _ in batches_.as_numpy_iterator()]) == list(range(8))

    def test_class_balance_contradicts_them(self, records):
        with pytest.raises(ConfigError, match="class_balance and sample_from_datasets_weights both say"):
            batches(self.weighted(records, 8), 1, class_balance=0.5)

    def test_from_a_reader(self, records, tmp_path):
        paths = records([flat(number) for number in range(4)]).index.paths
        label_map = tmp_path / "label_map.pbtxt"
        label_map.write_text("item { id: 1 name: 'cat' }", encoding="utf-8")
        reader = pipeline_pb2.InputReader(label_map_path=str(label_map))
        reader.tf_record_input_reader.input_path.extend(map(str, paths))
        assert open_records(reader, 1).probabilities is None
        reader.sample_from_datasets_weights.extend([1, 4])
        np.testing.assert_allclose(open_records(reader, 1).probabilities, [0.1, 0.1, 0.4, 0.4])
        reader.sample_from_datasets_weights[:] = [0, 4]
        assert len(open_records(reader, 1)) == 2


class TestClassBalance:
    def test_rare_classes_are_seen_more_often(self, records):
        # Eight records of class 1 and two of class 2: evenly, that is five records of each in an epoch of ten.
        ten = records([flat(number, label=1 + (number >= 8)) for number in range(10)])
        balanced = shown(ten, range(10), class_balance=1)
        assert sum(number >= 8 for number in balanced) == 5
        assert set(balanced) >= {8, 9}
        assert sorted(shown(ten, range(10))) == list(range(10))

    def test_copies_of_a_record_are_augmented_each_for_itself(self, records):
        ten = records([record(number, label=1 + (number == 9)) for number in range(10)])
        drawn = samples(ten, range(10), class_balance=1, augmentation_options=AUGMENTATIONS)
        assert len({sample["image"].tobytes() for sample in drawn}) == 10

    def test_classes_of_records(self, seven):
        assert [list(one) for one in seven.classes] == [[], [0], [0, 0], [], [0], [0, 0], []]

    def test_classes_of_one_of_n(self, records):
        every_third = records([flat(number, label=1 + number % 3) for number in range(7)], one_of_n=3)
        assert [list(one) for one in every_third.classes] == [[0], [0], [0]]

    def test_a_record_without_a_known_class_is_named(self, records):
        bad = records([record(0), record(1, label=4)])
        with pytest.raises(DataError, match=r"record 1 .*image1.png.*label id above num_classes"):
            batches(bad, 1, class_balance=0.5)

    def test_exponents_that_cannot_be(self, seven):
        with pytest.raises(ConfigError, match="class_balance is 2"):
            batches(seven, 1, class_balance=2)


class TestGroundTruth:
    def test_rows_of_padding_are_not_valid(self, records):
        # Images with no, one and two objects: two rows, and one of padding behind them.
        three = records([record(number, num_boxes=number, label=number + 1) for number in range(3)])
        truth = batches(three, 1, batch_size=3, shuffle=False)[0]["groundtruth"]
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
        truth = batches(empty, 1, batch_size=2, augmentation_options=AUGMENTATIONS)[0]["groundtruth"]
        assert truth["boxes"].shape == (2, 1, 4)
        assert not truth["valid"].any()

    def test_rows_in_multiples_are_of_few_shapes(self, seven):
        for plain, padded in zip(
            batches(seven, 4, batch_size=2), batches(seven, 4, batch_size=2, row_multiple=5), strict=True
        ):
            assert padded["groundtruth"]["boxes"].shape == (2, 5, 4)
            for name, part in plain["groundtruth"].items():
                filled = padded["groundtruth"][name]
                np.testing.assert_array_equal(filled[:, : part.shape[1]], part)
                assert not np.any(filled[:, part.shape[1] :])

    def test_rows_in_multiples_cut_nothing(self, records):
        crowded = records([record(0, num_boxes=7), record(1, num_boxes=1)])
        (inputs,) = batches(crowded, 1, batch_size=2, row_multiple=4)
        truth = inputs["groundtruth"]
        assert truth["boxes"].shape == (2, 8, 4)
        assert sorted(truth["valid"].sum(axis=1)) == [1, 7]

    def test_shapes_are_known_beforehand(self, seven):
        spec = dataset(seven, batch_size=2).element_spec
        assert spec["images"].shape.as_list() == [2, 8, 8, 3]
        assert spec["images"].dtype == tf.float32
        assert spec["sizes"].shape.as_list() == [2, 2]
        assert spec["sizes"].dtype == tf.int32
        assert spec["groundtruth"]["boxes"].shape.as_list()[2:] == [4]

    def test_images_that_are_padded(self, seven):
        inputs = batches(seven, 1, batch_size=2, image_resizer=PADDED)[0]
        # 12 x 16 becomes 6 x 8.
        assert inputs["images"].shape == (2, 8, 8, 3)
        assert inputs["images"][:, :6].any()
        assert not inputs["images"][:, 6:].any()
        np.testing.assert_array_equal(inputs["sizes"], [[6, 8]] * 2)


class TestEvaluation:
    def test_every_record_once_and_in_order(self, seven):
        found = list(evaluation_batches(seven, batch_size=3, image_resizer=PADDED).as_numpy_iterator())
        assert [len(inputs["images"]) for inputs, _ in found] == [3, 3, 1]
        names = itertools.chain(*(samples["filename"] for _, samples in found))
        assert list(names) == [f"image{number}.png".encode() for number in range(7)]
        counts = itertools.chain(*(samples["count"] for _, samples in found))
        assert list(counts) == [number % 3 for number in range(7)]

    def test_sizes_of_inputs_and_of_images(self, seven):
        inputs, samples = next(
            iter(evaluation_batches(seven, batch_size=2, image_resizer=PADDED).as_numpy_iterator())
        )
        assert inputs["images"].shape == (2, 8, 8, 3)
        np.testing.assert_array_equal(inputs["sizes"], [[6, 8]] * 2)
        np.testing.assert_array_equal(samples["size"], [[12, 16]] * 2)
        assert not {"image", "resized_size"} & set(samples)

    def test_truth_is_that_of_the_samples_in_the_frame_of_the_input(self, seven):
        for inputs, samples in evaluation_batches(seven, batch_size=3, image_resizer=PADDED, row_multiple=4):
            truth, count = inputs["groundtruth"], samples["boxes"].shape[1]
            assert truth["boxes"].shape[1:] == (4, 4)
            np.testing.assert_array_equal(truth["valid"].numpy().sum(axis=1), samples["count"])
            # 12 x 16 becomes 6 x 8 of 8 x 8.
            np.testing.assert_allclose(
                truth["boxes"][:, :count], samples["boxes"] * [0.75, 1, 0.75, 1], rtol=1e-6
            )
            for name in ("classes", "weights"):
                np.testing.assert_array_equal(truth[name][:, :count], samples[name])
            for name, part in truth.items():
                assert not np.any(part[:, count:]), name


class TestFaults:
    def test_none(self, seven):
        assert seven.find_fault() is None

    @pytest.mark.parametrize(
        ("faulty", "reason"),
        [
            pytest.param({"encoded": b"no image"}, "cannot be decoded", id="no image"),
            pytest.param({"encoded": encode(noise(1))[:100]}, "cannot be decoded", id="half an image"),
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
        assert "(image image3.png)" in str(fault)
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
        r"image1.png.*image/object/bbox: a box without a number, or with min above max", str(fault)
    )


def changed(serialized, **lists):
    """A record with other lists, by the ends of their keys; their values say of which type."""
    example = tf.train.Example.FromString(serialized)
    for name, values in lists.items():
        key = f"image/{name}" if name in ("filename", "source_id", "encoded") else f"image/object/{name}"
        key = key.replace("__", "/")
        feature = {
            int: tf.train.Feature(int64_list=tf.train.Int64List(value=())),
            float: tf.train.Feature(float_list=tf.train.FloatList(value=())),
            bytes: tf.train.Feature(bytes_list=tf.train.BytesList(value=())),
        }[type(values[0])]
        getattr(feature, feature.WhichOneof("kind")).value.extend(values)
        example.features.feature[key].CopyFrom(feature)
    return example.SerializeToString()


OTHER_TYPES = {
    "filename": [7],
    "source_id": [12],
    "bbox__ymin": [0],
    "class__label": [2.0],
    "is_crowd": [1.0],
    "weight": [3],
}


class TestOtherTypes:
    """Keys of another type than the API's, whose values are none the worse for it."""

    def test_they_are_read(self, records):
        usual = {
            "filename": [b"7"],
            "source_id": [b"12"],
            "bbox__ymin": [0.0],
            "class__label": [2],
            "is_crowd": [1],
            "weight": [3.0],
        }
        read = []
        for lists in (OTHER_TYPES, usual):
            some = records([record(0), changed(record(1), **lists)])
            read.append([some.sample(tf.constant(number, tf.int64)) for number in range(2)])
            assert some.classes[1] == [1]
        for one, other in zip(*read, strict=True):
            for name in other:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        assert read[0][1]["weights"].numpy() == [3]

    @pytest.mark.parametrize(
        ("lists", "message"),
        [
            ({"class__label": [1.5]}, "image/object/class/label holds floats, not whole numbers"),
            ({"class__label": [b"1"]}, "image/object/class/label holds bytes, not whole numbers"),
            ({"bbox__xmax": [b"1"]}, "image/object/bbox/xmax holds bytes, not floats"),
            ({"encoded": [1, 2, 3]}, "image/encoded holds whole numbers .int64., not bytes"),
        ],
    )
    def test_values_that_are_of_no_use_are_named_at_the_start(self, records, lists, message):
        with pytest.raises(DataError, match=rf"b\.tfrecord: record 1 at byte \d+: {message}"):
            records([record(0), changed(record(1), **lists)])

    def test_late_ones_are_named_when_they_are_read(self, records, monkeypatch):
        monkeypatch.setattr("boxtune.data.input._MOST_LOOKED_AT", 1)
        some = records([record(0), changed(record(1), filename=[7])])
        with (
            pytest.raises(
                DataError, match=r"record 1 at byte .*image/filename holds whole numbers .int64., not bytes"
            ),
            naming_faults(some),
        ):
            list(evaluation_batches(some, batch_size=1, image_resizer=RESIZER))


class TestDoubts:
    def test_none(self, seven):
        assert doubts_about(seven, "train_input_reader") == []

    def test_boxes_in_pixels(self, records):
        some = records([record(0), record(1), changed(record(2), bbox__xmax=[160.0])])
        message = r"record 2 at byte \d+ \(image image2\.png\): image/object/bbox: a coordinate above 1\.1"
        with pytest.raises(DataError, match=message):
            doubts_about(some, "train_input_reader")
        with pytest.raises(DataError, match=message), naming_faults(some):
            list(evaluation_batches(some, batch_size=1, image_resizer=RESIZER))

    @pytest.mark.parametrize(
        ("serialized", "message"),
        [
            ([record(0, num_boxes=0)] * 3, "of all 3 records none has an object"),
            ([changed(record(0), bbox__ymin=[0.75])] * 2, "of all 2 records no box has an area"),
        ],
    )
    def test_nothing_to_learn(self, records, monkeypatch, serialized, message):
        some = records(serialized)
        with pytest.raises(DataError, match=f"train_input_reader: {message}, so nothing can be learnt"):
            doubts_about(some, "train_input_reader")
        (doubt,) = doubts_about(some, "eval_input_reader", evaluation=True)
        assert doubt == f"eval_input_reader: {message}, so nothing can be measured there"
        monkeypatch.setattr("boxtune.data.input._MOST_LOOKED_AT", 1)
        (doubt,) = doubts_about(some, "train_input_reader")
        assert doubt.endswith(", so nothing can be learnt there")
        assert "of some 1 record" in doubt

    def test_some_boxes_without_area(self, records):
        some = records([record(0), changed(record(1), bbox__xmin=[1.0])])
        (doubt,) = doubts_about(some, "train_input_reader")
        assert "of all 2 records 1 box without area, first in " in doubt
        assert "record 1 at byte" in doubt

    def test_only_crowds(self, records):
        crowd = changed(record(1, num_boxes=2), is_crowd=[1, 1])
        (doubt,) = doubts_about(records([crowd, record(2, num_boxes=0)]), "eval_input_reader")
        assert "every object is a crowd" in doubt
        assert doubts_about(records([crowd, record(2)]), "eval_input_reader") == []

    def test_large_sets_are_sampled_from_all_over(self, records):
        some = records([record(0, num_boxes=0)] * 600)
        numbers = some.spread_numbers()
        assert 128 <= len(numbers) <= 256
        assert (numbers[0], max(np.diff(numbers))) == (0, 3)
        assert numbers[-1] >= 597

    def test_images_of_both_training_and_evaluation(self, records, tmp_path):
        training = records([record(number) for number in range(4)])
        copied = tmp_path / "copy.tfrecord"
        copied.write_bytes((tmp_path / "a.tfrecord").read_bytes())
        with tf.io.TFRecordWriter(str(tmp_path / "c.tfrecord")) as writer:
            writer.write(record(4))
        evaluation = Records([copied, tmp_path / "c.tfrecord"], LABEL_MAP, 3)
        doubt = doubt_about_both(training, evaluation)
        assert doubt.startswith("2 of 3 images of eval_input_reader are for training, too: the result")
        assert doubt_about_both(training, Records([tmp_path / "c.tfrecord"], LABEL_MAP, 3)) == ""
