"""Records as features and labels: decoded, transformed, padded, and in batches."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError, DataError
from image_records import record_of_image, write_records
from object_detection import inputs, model_lib
from object_detection.builders import dataset_builder
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import InputDataFields as Fields

BOXES = ((0.1, 0.2, 0.6, 0.7), (0.3, 0.3, 0.5, 0.9))
MODEL = "ssd { num_classes: 3 image_resizer { fixed_shape_resizer { height: 8 width: 16 } } }"


class Halved(DetectionModel):
    """Its input is a square with the image at its top, at half its size."""

    def __init__(self):
        super().__init__(3)

    def preprocess(self, inputs):
        small = inputs[:, ::2, ::2] / 255.0
        missing = tf.shape(small)[2] - tf.shape(small)[1]
        shape = tf.shape(small)[1:]
        padded = tf.pad(small, [[0, 0], [0, missing], [0, 0], [0, 0]])
        return padded, tf.tile(shape[None], [tf.shape(small)[0], 1])

    def _refuse(self, *arguments, **options):
        raise NotImplementedError

    predict = postprocess = loss = restore_map = restore_from_objects = updates = regularization_losses = (
        _refuse
    )


def section(message, text):
    return text_format.Parse(text, getattr(pipeline_pb2, message)())


def reader(path, more=""):
    return section("InputReader", f'tf_record_input_reader {{ input_path: "{path}" }} shuffle: false {more}')


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Five records of images of 20 x 40 pixels with 0, 1, 2, 0 and 1 objects, of the classes 1 and 2."""
    objects = [list(zip(BOXES, (1, 2), strict=True))[: number % 3] for number in range(5)]
    made = [
        record_of_image(f"{number}.png", f"s{number}", objects=one, size=(40, 20), value=50 * number)
        for number, one in enumerate(objects)
    ]
    return write_records(tmp_path_factory.mktemp("inputs") / "a.record", made)


def decoded(**more):
    """Return a record as a decoder returns it, of an image [4, 8, 3]."""
    return {
        Fields.image: tf.cast(tf.reshape(tf.range(96), [4, 8, 3]), tf.uint8),
        Fields.groundtruth_boxes: tf.constant(
            [[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]
        ),
        Fields.groundtruth_classes: tf.constant([3, -1, 1], tf.int64),
        Fields.groundtruth_weights: tf.constant([1.0, 1.0, 0.5]),
        **more,
    }


def transform(tensors, **options):
    def resize(image, masks):
        return [image[::2, ::2], masks, tf.shape(image[::2, ::2])]

    return inputs.transform_input_data(tensors, Halved().preprocess, resize, 3, **options)


def test_a_record_as_a_model_takes_it():
    made = transform(decoded(), retain_original_image=True)
    assert made[Fields.image].shape == (4, 4, 3)
    np.testing.assert_allclose(made[Fields.image][1, 3], np.array([66, 67, 68]) / 255, rtol=1e-6)
    assert made[Fields.true_image_shape].numpy().tolist() == [2, 4, 3]
    assert made[Fields.original_image].dtype == tf.uint8
    assert made[Fields.original_image].shape == (2, 4, 3)
    # The object without a class is left out, and the lower half of the input is padding.
    np.testing.assert_allclose(made[Fields.groundtruth_boxes], [[0, 0, 0.5, 1], [0, 0, 0.25, 0.5]])
    np.testing.assert_array_equal(made[Fields.groundtruth_classes], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(made[Fields.groundtruth_confidences], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(made[Fields.groundtruth_weights], [1, 0.5])
    assert made[Fields.num_groundtruth_boxes] == 2


def test_confidences_scores_and_labels_of_images():
    more = {
        Fields.groundtruth_confidences: tf.constant([0.5, 1.0, 0.25]),
        Fields.groundtruth_labeled_classes: tf.constant([2, -1], tf.int64),
        Fields.groundtruth_verified_neg_classes: tf.constant([], tf.int64),
    }
    made = transform(decoded(**more))
    np.testing.assert_allclose(made[Fields.groundtruth_confidences], [[0, 0, 0.5], [0.25, 0, 0]])
    np.testing.assert_array_equal(made[Fields.groundtruth_labeled_classes], [0, 1, 0])
    np.testing.assert_array_equal(made[Fields.groundtruth_verified_neg_classes], [0, 0, 0])
    scores = {Fields.multiclass_scores: tf.range(9.0)}
    made = transform(decoded(**scores), use_multiclass_scores=True)
    np.testing.assert_array_equal(made[Fields.groundtruth_classes], [[0, 1, 2], [6, 7, 8]])
    assert Fields.multiclass_scores not in made
    made = transform(decoded(**{Fields.multiclass_scores: tf.zeros([0])}), use_multiclass_scores=True)
    np.testing.assert_array_equal(made[Fields.groundtruth_classes], [[0, 0, 1], [1, 0, 0]])
    with pytest.raises(KeyError, match="leave one out"):
        transform(decoded(**more, **{Fields.groundtruth_image_classes: tf.constant([1], tf.int64)}))


def test_objects_of_one_box_become_one():
    boxes = tf.constant([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
    classes = {Fields.groundtruth_classes: tf.constant([3, 2, 1], tf.int64)}
    made = transform(decoded(**classes, **{Fields.groundtruth_boxes: boxes}), merge_multiple_boxes=True)
    np.testing.assert_array_equal(made[Fields.groundtruth_classes], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(made[Fields.groundtruth_weights], [1, 1])
    assert made[Fields.num_groundtruth_boxes] == 2


def test_lists_of_classes():
    hot = inputs.convert_labeled_classes_to_k_hot
    np.testing.assert_array_equal(hot(tf.constant([1, 3, 3]), 4), [1, 0, 1, 0])
    np.testing.assert_array_equal(hot(tf.constant([], tf.int64), 3, map_empty_to_ones=True), [1, 1, 1])
    np.testing.assert_array_equal(hot(tf.constant([], tf.int64), 3), [0, 0, 0])


def test_boxes_that_are_none():
    kept = inputs.assert_or_prune_invalid_boxes(tf.constant([[0, 0, float("nan"), 1], [0, 0, 0.5, 1]]))
    np.testing.assert_array_equal(kept, [[0, 0, 0.5, 1]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="minimum above its maximum"):
        inputs.assert_or_prune_invalid_boxes(tf.constant([[0.6, 0, 0.5, 1]]))


def test_padding_and_cutting():
    made = transform(decoded())
    padded = inputs.pad_input_data_to_static_shapes(made, 5, 3, [6, 4])
    assert padded[Fields.image].shape == (6, 4, 3)
    assert padded[Fields.groundtruth_boxes].shape == (5, 4)
    np.testing.assert_array_equal(padded[Fields.groundtruth_weights], [1, 0.5, 0, 0, 0])
    assert padded[Fields.num_groundtruth_boxes] == 2
    cut = inputs.pad_input_data_to_static_shapes(made, 1, 3)
    np.testing.assert_array_equal(cut[Fields.groundtruth_classes], [[0, 0, 1]])
    assert cut[Fields.num_groundtruth_boxes] == 1
    with pytest.raises(ValueError, match="nobody knows its shape"):
        inputs.pad_input_data_to_static_shapes({"mine": tf.zeros([2])}, 1, 3)


def test_batches_of_a_training_are_augmented(records):
    train = section(
        "TrainConfig", "batch_size: 2 data_augmentation_options { random_vertical_flip { probability: 1 } }"
    )
    model = section(
        "DetectionModel", MODEL.replace("fixed_shape_resizer { height: 8 width: 16 }", "identity_resizer {}")
    )
    dataset = inputs.train_input(train, reader(records, "max_number_of_boxes: 3"), model, model=Halved())
    (_, first), (features, second) = dataset.take(2)
    assert features[Fields.image].shape == (2, 20, 20, 3)
    assert features[Fields.true_image_shape].numpy().tolist() == [[10, 20, 3]] * 2
    np.testing.assert_allclose(features[Fields.image][0, 0, 0], [100 / 255, 0, 0], atol=1e-6)
    assert features[inputs.HASH_KEY].dtype == tf.int32
    assert first[Fields.num_groundtruth_boxes].numpy().tolist() == [0, 1]
    assert second[Fields.num_groundtruth_boxes].numpy().tolist() == [2, 0]
    np.testing.assert_allclose(
        first[Fields.groundtruth_boxes][1], [[0.2, 0.2, 0.45, 0.7], [0] * 4, [0] * 4], atol=1e-6
    )
    np.testing.assert_array_equal(second[Fields.groundtruth_classes][0], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_batches_of_an_evaluation_have_an_end(records):
    model = section(
        "DetectionModel", MODEL.replace("fixed_shape_resizer { height: 8 width: 16 }", "identity_resizer {}")
    )
    settings = section("EvalConfig", "retain_original_images: true")
    by_params = inputs.create_eval_input_fn(settings, reader(records, "num_epochs: 1"), model)
    inputs.INPUT_BUILDER_UTIL_MAP["model_build"], before = (
        lambda section, is_training: Halved(),
        inputs.INPUT_BUILDER_UTIL_MAP["model_build"],
    )
    try:
        batches = list(by_params({"batch_size": 1}))
        assert [len(labels[Fields.groundtruth_boxes]) for _, labels in by_params({"batch_size": 2})] == [
            2,
            2,
            1,
        ]
    finally:
        inputs.INPUT_BUILDER_UTIL_MAP["model_build"] = before
    assert [int(labels[Fields.num_groundtruth_boxes][0]) for _, labels in batches] == [0, 1, 2, 0, 1]
    features, _ = batches[1]
    assert features[Fields.original_image].shape == (1, 20, 40, 3)
    assert features[Fields.original_image_spatial_shape].numpy().tolist() == [[20, 40]]


def test_more_objects_than_there_is_room_for(records):
    model = section("DetectionModel", MODEL)
    few = reader(records, "max_number_of_boxes: 1")
    dataset = inputs.train_input(section("TrainConfig", "batch_size: 1"), few, model, model=Halved())
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"max_number_of_boxes \(1\)"):
        list(dataset.take(3))


def test_sections_of_other_types_and_what_is_refused(records):
    model, evaluation = section("DetectionModel", MODEL), pipeline_pb2.EvalConfig()
    with pytest.raises(TypeError, match="train_config is EvalConfig"):
        inputs.train_input(evaluation, reader(records), model)
    with pytest.raises(TypeError, match="eval_input_config is EvalConfig"):
        inputs.eval_input(evaluation, evaluation, model)
    with pytest.raises(ConfigError, match="Estimators"):
        inputs.create_predict_input_fn(model, reader(records))()
    with pytest.raises(ConfigError, match="TF_SEQUENCE_EXAMPLE"):
        inputs.get_reduce_to_frame_fn(reader(records, "input_type: TF_SEQUENCE_EXAMPLE"), True)


# dataset_builder


def sources(dataset):
    return [one[Fields.source_id].numpy().decode() for one in dataset]


def test_records_in_order_shards_and_samples(records):
    once = reader(records, "num_epochs: 1")
    assert sources(dataset_builder.build(once)) == ["s0", "s1", "s2", "s3", "s4"]
    assert sources(dataset_builder.build(reader(records)).take(7))[5:] == ["s0", "s1"]
    assert sources(dataset_builder.build(reader(records, "num_epochs: 1 sample_1_of_n_examples: 2"))) == [
        "s0",
        "s2",
        "s4",
    ]
    halves = [tf.distribute.InputContext(2, number, 2) for number in range(2)]
    assert [len(sources(dataset_builder.build(once, input_context=half))) for half in halves] == [5, 0]
    weighted = reader(records, "num_epochs: 1")
    weighted.tf_record_input_reader.input_path.append(str(records))
    weighted.sample_from_datasets_weights.extend([1.0, 0.0])
    assert sources(dataset_builder.build(weighted)) == ["s0", "s1", "s2", "s3", "s4"]


def test_an_iterator(records):
    iterator = dataset_builder.make_initializable_iterator(dataset_builder.build(reader(records)))
    assert [iterator.get_next()[Fields.source_id].numpy() for _ in range(2)] == [b"s0", b"s1"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        dataset = tf.data.Dataset.range(3)
        following = dataset_builder.make_initializable_iterator(dataset).get_next()
        session.run(tf.compat.v1.tables_initializer())
        assert [session.run(following) for _ in range(2)] == [0, 1]


def test_batches_of_transformed_records(records):
    dataset = dataset_builder.build(
        reader(records, "num_epochs: 1"), batch_size=2, transform_input_data_fn=lambda one: one[Fields.image]
    )
    assert [batch.shape[0] for batch in dataset] == [2, 2]


def test_readers_without_files(records):
    with pytest.raises(RuntimeError, match="nothing\\*: there are no such files"):
        dataset_builder.build(reader(records.parent / "nothing*"))
    with pytest.raises(DataError):
        dataset_builder.build(reader(records.parent / "nothing*"))
    for wrong, message in (
        (pipeline_pb2.InputReader(), "set tf_record_input_reader"),
        (pipeline_pb2.EvalConfig(), "not of type InputReader"),
    ):
        with pytest.raises(ValueError, match=message):
            dataset_builder.build(wrong)


# model_lib


def test_the_ground_truth_of_each_image():
    labels = {
        Fields.groundtruth_boxes: tf.ones([2, 3, 4]),
        Fields.groundtruth_classes: tf.zeros([2, 3, 5]),
        Fields.num_groundtruth_boxes: tf.constant([3, 1]),
        Fields.groundtruth_image_classes: tf.ones([2, 5]),
    }
    unstacked = model_lib.unstack_batch(labels)
    assert [one.shape[0] for one in unstacked[Fields.groundtruth_boxes]] == [3, 1]
    assert [one.shape for one in unstacked[Fields.groundtruth_image_classes]] == [(5,), (5,)]
    padded = model_lib.unstack_batch(labels, unpad_groundtruth_tensors=False)
    assert [one.shape[0] for one in padded[Fields.groundtruth_boxes]] == [3, 3]
    model = Halved()
    model_lib.provide_groundtruth(model, unstacked)
    assert model.groundtruth_lists("boxes") is unstacked[Fields.groundtruth_boxes]
    assert not model.groundtruth_has_field("weights")
    del labels[Fields.num_groundtruth_boxes]
    with pytest.raises(ValueError, match="num_groundtruth_boxes"):
        model_lib.unstack_batch(labels)
