"""Sequences of images: frames read as records, in training one of each sequence, in evaluation all."""

import io
import re

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.data.batching import evaluation_batches, record_order, training_batches, training_samples
from boxtune.data.decoder import annotated_frames, example_of_frame, is_sequence, parser
from boxtune.data.input import Records, naming_faults, open_records
from boxtune.data.label_map import LabelMap
from boxtune.errors import ConfigError, DataError
from boxtune.training.batches import images_of_step

LABEL_MAP = LabelMap.from_names(["cat", "dog"])
RESIZER = text_format.Parse("fixed_shape_resizer { height: 8 width: 8 }", pipeline_pb2.ImageResizer())
CAT, DOG = (0.0, 0.25, 0.5, 0.75), (0.5, 0.5, 1.0, 1.0)
FRAMES = [[(CAT, "cat"), (DOG, "dog")], [], [(DOG, "dog")]]


def encoded(value):
    stream = io.BytesIO()
    Image.new("RGB", (16, 12), (value,) * 3).save(stream, "PNG")
    return stream.getvalue()


def texts(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def whole(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def sequence(frames=FRAMES, *, first=0, annotated=None, **lists):
    """What the API's seq_example_util writes of frames, each a list of (box, name), with images of one value each.

    `lists` replace others by the end of their keys; None leaves one out.
    """
    content = {
        "image/encoded": [texts(encoded(first + number)) for number in range(len(frames))],
        "image/source_id": [texts(f"frame{first + number}".encode()) for number in range(len(frames))],
        "region/label/string": [texts(*(name.encode() for _, name in frame)) for frame in frames],
    }
    for column, side in enumerate(("ymin", "xmin", "ymax", "xmax")):
        content[f"region/bbox/{side}"] = [floats(*(box[column] for box, _ in frame)) for frame in frames]
    if annotated is not None:
        content["region/is_annotated"] = [whole(mark) for mark in annotated]
    for name, values in lists.items():
        known = {"encoded": "image/encoded", "source_id": "image/source_id", "xmax": "region/bbox/xmax"}
        content[known.get(name, f"region/label/{name}")] = values
    feature_list = {
        key: tf.train.FeatureList(feature=values) for key, values in content.items() if values is not None
    }
    context = tf.train.Features(feature={"image/format": texts(b"png"), "image/height": whole(12)})
    lists_of_frames = tf.train.FeatureLists(feature_list=feature_list)
    return tf.train.SequenceExample(context=context, feature_lists=lists_of_frames).SerializeToString()


@pytest.fixture
def written(tmp_path):
    """Writes serialized records into a file, and returns its path."""

    def write(serialized, name="a.tfrecord"):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for one in serialized:
                writer.write(one)
        return tmp_path / name

    return write


@pytest.fixture
def records(written):
    return lambda serialized, **options: Records(
        [written(serialized)], LABEL_MAP, 2, **{"sequences": True} | options
    )


def drawn(some, frame_numbers):
    return [some.sample(tf.constant(number, tf.int64)) for number in frame_numbers]


class TestFrames:
    def test_a_frame_by_hand(self):
        sample = parser(LABEL_MAP, 2)(tf.constant(example_of_frame(sequence(first=5), 0)))
        np.testing.assert_array_equal(sample["boxes"], np.float32([CAT, DOG]))
        np.testing.assert_array_equal(sample["classes"], [0, 1])
        np.testing.assert_array_equal(sample["weights"], [1, 1])
        np.testing.assert_array_equal(sample["image"], np.full((12, 16, 3), 5))
        assert sample["source_id"] == b"frame5"
        last = parser(LABEL_MAP, 2)(tf.constant(example_of_frame(sequence(first=5), 2)))
        np.testing.assert_array_equal(last["boxes"], np.float32([DOG]))
        np.testing.assert_array_equal(last["image"], np.full((12, 16, 3), 7))

    def test_without_objects(self):
        sample = parser(LABEL_MAP, 2)(tf.constant(example_of_frame(sequence(), 1)))
        assert sample["boxes"].shape == (0, 4)

    def test_confidences_are_weights(self):
        confidence = [floats(0.25, 1), floats(), floats(0.5)]
        sample = parser(LABEL_MAP, 2)(tf.constant(example_of_frame(sequence(confidence=confidence), 0)))
        np.testing.assert_array_equal(sample["weights"], [0.25, 1])

    def test_without_regions_and_names_of_images(self):
        bare = {"encoded": [texts(encoded(1))], "source_id": None, "string": None}
        record = sequence([[]], **bare)
        assert parser(LABEL_MAP, 2)(tf.constant(example_of_frame(record, 0)))["source_id"] == b""

    def test_which_are_annotated(self):
        assert annotated_frames(sequence()) == [0, 1, 2]
        assert annotated_frames(sequence(annotated=[1, 0, 1])) == [0, 2]
        assert annotated_frames(sequence(annotated=[0, 0, 0])) == []

    @pytest.mark.parametrize(
        ("lists", "fault"),
        [
            ({"xmax": [floats(0.75), floats(), floats(1)]}, "region/bbox/xmax has 1 value for 2 boxes"),
            ({"string": [texts(b"cat"), texts(), texts()]}, "region/label/string has 1 value for 2 boxes"),
            ({"string": None}, "region/label/string has 0 values for 2 boxes"),
            ({"string": [whole(1)] * 3}, "region/label/string has 0 values for 2 boxes"),
            ({"confidence": [floats()] * 3}, "region/label/confidence has 0 values for 2 boxes"),
            ({"xmax": None}, "region/bbox/xmax has 0 values for 2 boxes"),
        ],
    )
    def test_lists_of_a_frame_that_disagree(self, lists, fault):
        with pytest.raises(DataError, match=f"^{fault}"):
            example_of_frame(sequence(**lists), 0)

    @pytest.mark.parametrize(
        ("record", "fault"),
        [
            (b"no record", "it is not a tf.train.SequenceExample"),
            (sequence([]), "it has no image/encoded of frames"),
            (tf.train.Example().SerializeToString(), "it has no image/encoded of frames"),
            (sequence(xmax=[floats(0.75, 1)]), "region/bbox/xmax has 1 entry for 3 frames"),
            (sequence(annotated=[1]), "region/is_annotated has 1 entry for 3 frames"),
        ],
    )
    def test_what_is_no_sequence_of_images(self, record, fault):
        for read in (annotated_frames, lambda data: example_of_frame(data, 0)):
            with pytest.raises(DataError, match=fault):
                read(record)
        assert not is_sequence(record)

    def test_a_sequence_is_one(self):
        assert is_sequence(sequence())


class TestRecords:
    def test_every_annotated_frame_once(self, records):
        some = records([sequence(annotated=[1, 0, 1]), sequence(first=10)])
        assert len(some) == 5
        _, samples = next(evaluation_batches(some, batch_size=5, image_resizer=RESIZER).as_numpy_iterator())
        assert [name.decode() for name in samples["source_id"]] == [
            "frame0", "frame2", "frame10", "frame11", "frame12",
        ]  # fmt: skip
        np.testing.assert_array_equal(samples["count"], [2, 1, 2, 0, 1])

    def test_sequences_count_alike(self, records):
        # One frame has the half of its sequence; three have a sixth each.
        some = records([sequence(FRAMES[:1]), sequence(first=10)])
        np.testing.assert_allclose(some.probabilities, [1 / 2, 1 / 6, 1 / 6, 1 / 6])

    @pytest.mark.parametrize("serialized", [[sequence()], [sequence(), sequence(first=10)]])
    def test_of_the_same_length_all_frames_do(self, records, serialized):
        assert records(serialized).probabilities is None

    def test_data_sets_count_by_their_weights(self, written):
        # One data set has a sequence of one frame, the other two, of one frame and of three: (3/4, 1/8, 1/24 thrice).
        files = [
            written([sequence(FRAMES[:1])], "a.tfrecord"),
            written([sequence(FRAMES[:1]), sequence()], "b.tfrecord"),
        ]
        some = Records(files, LABEL_MAP, 2, sequences=True, datasets=[([files[0]], 3.0), ([files[1]], 1.0)])
        np.testing.assert_allclose(some.probabilities, [3 / 4, 1 / 8, 1 / 24, 1 / 24, 1 / 24])
        with pytest.raises(ConfigError, match="class_balance and sample_from_datasets_weights"):
            record_order(some, seed=0, shuffle=True, class_balance=0.5)

    def test_class_balance_counts_frames(self, records):
        # Of the frames one has a cat (and a dog), two have dogs alone, and one nothing, which counts as dogs do.
        some = records([sequence(FRAMES[:1]), sequence([FRAMES[2], FRAMES[1], FRAMES[2]])])
        fractions = record_order(some, seed=0, shuffle=True, class_balance=1).probabilities
        np.testing.assert_allclose(fractions, [1 / 2, 1 / 6, 1 / 6, 1 / 6])

    def test_one_of_n_sequences(self, records):
        some = records([sequence(first=10 * number) for number in range(3)], one_of_n=2)
        assert [sample["source_id"].numpy() for sample in drawn(some, [0, 3])] == [b"frame0", b"frame20"]
        assert len(some) == 6
        assert some.probabilities is None
        assert some.name_of(4) == f"{some.index.paths[0]}: record 2 at byte {some.index.offsets[2]}, frame 1"

    def test_one_frame_of_each(self, records):
        some = records([sequence(), sequence(FRAMES[:2], first=10)], frame=1)
        assert [sample["source_id"].numpy() for sample in drawn(some, [0, 1])] == [b"frame1", b"frame11"]
        assert len(some) == 2
        assert some.probabilities is None

    @pytest.mark.parametrize(
        ("second", "reason"),
        [
            (
                sequence(FRAMES[:1]),
                "it has no annotated frame 2; its annotated frames are 0. Set frame_index",
            ),
            (sequence(annotated=[1, 1, 0]), "no annotated frame 2; its annotated frames are 0, 1. Set"),
            (sequence(annotated=[0] * 3), "its annotated frames are none. Set"),
            (sequence([[]] * 12, annotated=[1, 1, 0] * 4), "are 0, 1, 3, 4, 6, 7, 9, 10. Set"),
        ],
    )
    def test_a_sequence_without_the_frame(self, records, second, reason):
        with pytest.raises(DataError, match=rf"a\.tfrecord: record 1 at byte \d+: .*{re.escape(reason)}"):
            records([sequence(), second], frame=2)

    def test_of_many_frames_a_few_are_reported(self, records):
        with pytest.raises(DataError, match=r"are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. Set|9, \.\.\.\. Set"):
            records([sequence([[]] * 12)], frame=12)

    def test_no_frame_at_all(self, records):
        with pytest.raises(DataError, match=r"no frame of .*a\.tfrecord is annotated"):
            records([sequence(annotated=[0] * 3)])

    def test_what_is_no_sequence_is_named(self, records):
        single = tf.train.Example(
            features=tf.train.Features(feature={"image/encoded": texts(encoded(0))})
        ).SerializeToString()
        with pytest.raises(
            DataError,
            match=r"a\.tfrecord: record 1 at byte \d+: it has no .* for single images remove input_type",
        ):
            records([sequence(), single])

    def test_a_frame_that_cannot_be_read_is_named(self, records):
        some = records([sequence(), sequence(string=[texts(b"cat", b"dog"), texts(), texts(b"owl")])])
        with (
            pytest.raises(DataError, match=r"record 1 at byte \d+, frame 2: image/object/class: not in"),
            naming_faults(some),
        ):
            list(evaluation_batches(some, batch_size=6, image_resizer=RESIZER))
        some = records([sequence(string=[texts(b"cat"), texts(), texts(b"dog")])])
        with (
            pytest.raises(DataError, match=r"record 0 at byte \d+, frame 0: region/label/string"),
            naming_faults(some),
        ):
            list(evaluation_batches(some, batch_size=3, image_resizer=RESIZER))

    def test_a_sequence_where_single_images_are_expected(self, records):
        some = records([sequence()], sequences=False)
        with (
            pytest.raises(DataError, match="it is a sequence of images; set input_type: TF_SEQUENCE_EXAMPLE"),
            naming_faults(some),
        ):
            list(evaluation_batches(some, batch_size=1, image_resizer=RESIZER))


class TestTraining:
    @pytest.fixture
    def pipeline(self, written, tmp_path):
        (tmp_path / "label_map.pbtxt").write_text(
            "item { id: 1 name: 'cat' } item { id: 2 name: 'dog' }", encoding="utf-8"
        )
        path = written([sequence(FRAMES[:1]), sequence(first=10), sequence(first=20)])
        pipeline = config.recipe("ssd_mobilenet_v2_keras")
        pipeline.train_config.batch_size = 3
        pipeline.train_config.ClearField("data_augmentation_options")
        reader = pipeline.train_input_reader
        reader.label_map_path = str(tmp_path / "label_map.pbtxt")
        reader.tf_record_input_reader.input_path[:] = [str(path)]
        reader.input_type = pipeline_pb2.TF_SEQUENCE_EXAMPLE
        return pipeline

    def images(self, some, count, **options):
        """The values of the images of `count` batches of three."""
        stream = training_batches(
            training_samples(some, seed=1, **options), batch_size=3, image_resizer=RESIZER
        )
        return np.array([inputs["images"][:, 0, 0, 0] for inputs in stream.take(count).as_numpy_iterator()])

    def test_any_frame_of_each_sequence(self, pipeline):
        some = open_records(pipeline.train_input_reader, 2, for_training=True)
        values, counts = np.unique(self.images(some, 70), return_counts=True)
        np.testing.assert_array_equal(values, [0, 10, 11, 12, 20, 21, 22])
        # Of 210 images 70 are of each sequence, in each epoch of 7 by one more or less.
        assert abs(counts[0] - 70) <= 30
        assert np.all(np.abs(counts[1:] - 70 / 3) <= 30)
        assert counts[0] > counts[1:].max()

    def test_a_given_frame(self, pipeline):
        pipeline.train_input_reader.frame_index = 0
        some = open_records(pipeline.train_input_reader, 2, for_training=True)
        assert {*self.images(some, 4).ravel()} == {0, 10, 20}
        # An evaluation reads all, whatever frame is chosen.
        assert len(open_records(pipeline.train_input_reader, 2)) == 7

    def test_the_images_of_a_step_are_named(self, pipeline):
        some = open_records(pipeline.train_input_reader, 2, for_training=True)
        named = [images_of_step(pipeline, some, 1, step).split(", ") for step in (1, 2)]
        expected = [[f"frame{value:g}" for value in batch] for batch in self.images(some, 2)]
        assert named == expected
