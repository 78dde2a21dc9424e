"""The builders of parts, and what tests are made with; expected numbers are worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from object_detection.box_coders.keypoint_box_coder import KeypointBoxCoder
from object_detection.builders import (
    anchor_generator_builder,
    box_coder_builder,
    calibration_builder,
    decoder_builder,
    hyperparams_builder,
    image_resizer_builder,
    losses_builder,
    matcher_builder,
    optimizer_builder,
    post_processing_builder,
    preprocessor_builder,
    region_similarity_calculator_builder,
    target_assigner_builder,
)
from object_detection.core import losses, preprocessor
from object_detection.core.freezable_batch_norm import FreezableBatchNorm
from object_detection.core.freezable_sync_batch_norm import FreezableSyncBatchNorm
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
from object_detection.utils import (
    learning_schedules,
    shape_utils,
    spatial_transform_ops,
    static_shape,
    test_case,
    test_utils,
    tf_version,
    variables_helper,
)


def equal(tensor, expected):
    np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-6)


def parse(kind, text):
    return text_format.Parse(text, getattr(pipeline_pb2, kind)())


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (anchor_generator_builder.build, "AnchorGenerator"),
        (box_coder_builder.build, "BoxCoder"),
        (calibration_builder.build, "CalibrationConfig"),
        (decoder_builder.build, "InputReader"),
        (image_resizer_builder.build, "ImageResizer"),
        (losses_builder.build, "Loss"),
        (matcher_builder.build, "Matcher"),
        (preprocessor_builder.build, "PreprocessingStep"),
        (region_similarity_calculator_builder.build, "RegionSimilarityCalculator"),
        (target_assigner_builder.build, "TargetAssigner"),
    ],
)
def test_nothing_is_set(build, kind):
    with pytest.raises(ValueError):
        build(getattr(pipeline_pb2, kind)())
    if kind != "CalibrationConfig":
        with pytest.raises(ValueError, match="not of type"):
            build("text")


def test_parts_of_a_detector():
    coder = box_coder_builder.build(parse("BoxCoder", "keypoint_box_coder { num_keypoints: 3 y_scale: 2 }"))
    assert isinstance(coder, KeypointBoxCoder)
    assert (coder.code_size, coder._scale_factors) == (10, [2, 10, 5, 5])
    matcher = matcher_builder.build(parse("Matcher", "argmax_matcher { ignore_thresholds: true }"))
    assert matcher._matched_threshold is None
    anchors = anchor_generator_builder.build(
        parse("AnchorGenerator", "ssd_anchor_generator { num_layers: 2 }")
    )
    assert anchors._aspect_ratios[0] == (1, 2, 0.5)
    multiscale = "multiscale_anchor_generator { aspect_ratios: [1.0, 2.0] }"
    info = anchor_generator_builder.build(parse("AnchorGenerator", multiscale))._anchor_grid_info
    assert [one["level"] for one in info] == [3, 4, 5, 6, 7]
    equal(info[0]["info"][0], [1, 2**0.5])
    assert info[0]["info"][1:] == [[1, 2], [32, 32], [8, 8]]


def test_losses():
    text = "classification_loss { weighted_sigmoid_focal { } } localization_loss { weighted_l2 { } }"
    classification, localization, *weights, miner, sampler, _ = losses_builder.build(parse("Loss", text))
    assert (classification._gamma, classification._alpha, weights) == (2, None, [1, 1])
    assert isinstance(localization, losses.WeightedL2LocalizationLoss)
    assert miner is None
    assert sampler is None
    for more in ("hard_example_miner { }", "expected_loss_weights: EXPECTED_SAMPLING"):
        with pytest.raises(ValueError, match="not"):
            losses_builder.build(parse("Loss", f"{text} {more}"))
    plain = text.replace("weighted_sigmoid_focal", "weighted_softmax")
    mined = losses_builder.build(
        parse("Loss", f"{plain} hard_example_miner {{ max_negatives_per_positive: 3 }}")
    )
    assert mined[4]._max_negatives_per_positive == 3
    sampled = losses_builder.build(parse("Loss", f"{plain} random_example_sampler {{ }}"))
    assert sampled[5]._positive_fraction == pytest.approx(0.01)
    with pytest.raises(ValueError, match="should not be used with"):
        losses_builder.build(parse("Loss", f"{plain} hard_example_miner {{ }} random_example_sampler {{ }}"))
    second = losses_builder.build_faster_rcnn_classification_loss(pipeline_pb2.ClassificationLoss())
    assert isinstance(second, losses.WeightedSoftmaxClassificationLoss)


def test_suppression_and_scores():
    text = (
        "batch_non_max_suppression { max_total_detections: 300 soft_nms_sigma: 0.5 } "
        "score_converter: SOFTMAX logit_scale: 2 "
    )
    suppress, convert = post_processing_builder.build(parse("PostProcessing", text))
    assert (suppress.keywords["max_total_size"], suppress.keywords["soft_nms_sigma"]) == (300, 0.5)
    assert convert.__name__ == "softmax_with_logit_scale"
    equal(convert(tf.constant([0.0, 2 * np.log(3)])), [0.25, 0.75])
    temperature = "calibration_config { temperature_scaling_calibration { scaler: 2 } }"
    _, calibrated = post_processing_builder.build(parse("PostProcessing", text + temperature))
    assert calibrated.__name__ == "calibrate_with_temperature_scaling_calibration"
    equal(calibrated(tf.constant([0.0, 4 * np.log(3)])), [0.25, 0.75])
    for wrong in ("iou_threshold: 2", "max_detections_per_class: 200", "soft_nms_sigma: -1"):
        with pytest.raises(ValueError):
            post_processing_builder.build(parse("PostProcessing", f"batch_non_max_suppression {{ {wrong} }}"))


def test_calibration():
    points = "x_y_pair { x: 0 y: 0.5 } x_y_pair { x: 1 y: 0.7 }"
    function = calibration_builder.build(
        parse("CalibrationConfig", f"function_approximation {{ x_y_pairs {{ {points} }} }}")
    )
    equal(function(tf.constant([[-1.0, 0.5, 2]])), [[0.5, 0.6, 0.7]])
    pairs = f"class_id_xy_pairs_map {{ key: 1 value {{ {points} }} }}"
    of_class = calibration_builder.build(
        parse("CalibrationConfig", f"class_id_function_approximations {{ {pairs} }}")
    )
    equal(of_class(tf.constant([[0.5, 0.5]])), [[0.5, 0.6]])
    with pytest.raises(ValueError, match="above 0"):
        calibration_builder.build(parse("CalibrationConfig", "temperature_scaling_calibration { scaler: 0 }"))


def test_image_resizers():
    gray = parse("ImageResizer", "fixed_shape_resizer { height: 4 width: 6 convert_to_grayscale: true }")
    image, masks, shape = image_resizer_builder.build(gray)(tf.ones((8, 8, 3)), tf.ones((2, 8, 8)))
    assert (image.shape, masks.shape, shape.numpy().tolist()) == ((4, 6, 1), (2, 4, 6), [4, 6, 1])
    equal(image, np.full((4, 6, 1), 0.2989 + 0.587 + 0.114))
    for wrong in (
        "keep_aspect_ratio_resizer { min_dimension: 9 max_dimension: 8 }",
        "conditional_shape_resizer { condition: INVALID }",
        "pad_to_multiple_resizer { multiple: 0 }",
    ):
        with pytest.raises(ValueError):
            image_resizer_builder.build(parse("ImageResizer", wrong))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "random_horizontal_flip { keypoint_flip_permutation: [1, 0] }",
            {"keypoint_flip_permutation": (1, 0), "probability": 0.5},
        ),
        ("random_rotation90 { }", {"keypoint_rot_permutation": None, "probability": 0.5}),
        ("random_pixel_value_scale { minval: 0.5 }", {"minval": 0.5}),
        ("random_jitter_boxes { ratio: 0.25 jitter_mode: SHRINK }", {"ratio": 0.25, "jitter_mode": "shrink"}),
        (
            "random_crop_image { min_aspect_ratio: 0.5 max_aspect_ratio: 2 min_area: 0.5 overlap_thresh: 0.5 }",
            {
                "min_object_covered": 1,
                "aspect_ratio_range": (0.5, 2),
                "area_range": (0.5, 1),
                "overlap_thresh": 0.5,
                "clip_boxes": True,
                "random_coef": 0,
            },
        ),
        ("random_pad_image { }", {"min_image_size": None, "max_image_size": None, "pad_color": None}),
        ("random_resize_method { target_height: 5 target_width: 6 }", {"target_size": [5, 6]}),
        ("subtract_channel_mean { means: [1, 2, 3] }", {"means": [1, 2, 3]}),
        ("resize_image { new_height: 5 new_width: 6 method: AREA }", {"new_height": 5, "new_width": 6, "method": 3}),
        ("ssd_random_crop { }", {}),
        ("drop_label_probabilistically { label: 4 drop_probability: 0.5 }",
         {"dropped_label": 4, "drop_probability": 0.5}),
        ("remap_labels { original_labels: [1, 2] new_label: 3 }", {"original_labels": [1, 2], "new_label": 3}),
    ],
)  # fmt: skip
def test_steps_of_the_preprocessor(text, expected):
    function, arguments = preprocessor_builder.build(parse("PreprocessingStep", text))
    assert function is getattr(preprocessor, text.split()[0])
    assert arguments == expected


def test_crops_of_ssd():
    operation = "operations { min_object_covered: 0.5 max_aspect_ratio: 2 pad_color_r: 0.5 }"
    function, arguments = preprocessor_builder.build(
        parse("PreprocessingStep", f"ssd_random_crop_pad {{ {operation} {operation} }}")
    )
    assert function is preprocessor.ssd_random_crop_pad
    assert arguments["aspect_ratio_range"] == [(0, 2), (0, 2)]
    assert arguments["pad_color"][0][0] == 0.5
    fixed = preprocessor_builder.build(
        parse("PreprocessingStep", "ssd_random_crop_pad_fixed_aspect_ratio { min_padded_size_ratio: [2, 2] }")
    )
    assert fixed[1] == {"aspect_ratio": 1, "min_padded_size_ratio": (2, 2)}
    with pytest.raises(ValueError, match="2 elements"):
        preprocessor_builder.build(
            parse("PreprocessingStep", "random_crop_pad_image { min_padded_size_ratio: [2] }")
        )
    with pytest.raises(ValueError, match="both set"):
        preprocessor_builder.build(parse("PreprocessingStep", "random_pad_image { min_image_height: 2 }"))


def test_hyperparameters():
    text = (
        "regularizer { l2_regularizer { weight: 0.5 } } activation: RELU_6 "
        "batch_norm { decay: 0.75 center: false scale: true epsilon: 0.25 }"
    )
    hyperparams = hyperparams_builder.KerasLayerHyperparams(parse("Hyperparams", text))
    assert hyperparams.batch_norm_params(momentum=0.5) == {
        "momentum": 0.5, "epsilon": 0.25, "center": False, "scale": True,
    }  # fmt: skip
    assert isinstance(hyperparams.build_batch_norm(), FreezableBatchNorm)
    assert hyperparams.build_activation_layer().function is tf.nn.relu6
    arguments = hyperparams.params(include_activation=True, use_bias=False)
    assert arguments["activation"] is tf.nn.relu6
    assert not arguments["use_bias"]
    equal(arguments["kernel_regularizer"](tf.constant([1.0, 3.0])), 0.5 * (1 + 9) / 2)
    assert hyperparams.get_regularizer_weight() == 0.5
    bare = hyperparams_builder.KerasLayerHyperparams(parse("Hyperparams", "activation: NONE"))
    assert (bare.batch_norm_params(), bare.use_bias(), bare.get_regularizer_weight()) == ({}, True, None)
    assert bare.build_batch_norm().function is tf.identity
    several = hyperparams_builder.KerasLayerHyperparams(parse("Hyperparams", "sync_batch_norm { }"))
    assert several.use_sync_batch_norm()
    assert isinstance(several.build_batch_norm(), FreezableSyncBatchNorm)
    for wrong in ("group_norm { }", 'initializer { keras_initializer_by_name: "nothing" }'):
        with pytest.raises(ValueError):
            hyperparams_builder.KerasLayerHyperparams(parse("Hyperparams", wrong))
    with pytest.raises(ValueError, match="TensorFlow 1"):
        hyperparams_builder.build(parse("Hyperparams", ""), True)


@pytest.mark.parametrize(("training", "mean"), [(False, 0), (None, 1)])
def test_normalization_is_frozen(training, mean):
    layer = FreezableBatchNorm(training=training, momentum=0.5)
    layer(tf.fill((4, 3), 2.0), training=True)
    equal(layer.moving_mean, [mean] * 3)


def test_decoders():
    reader = parse("InputReader", "tf_record_input_reader { } load_instance_masks: true")
    assert isinstance(decoder_builder.build(reader), TfExampleDecoder)
    reader.input_type = pipeline_pb2.TF_SEQUENCE_EXAMPLE
    with pytest.raises(ValueError, match="TF_SEQUENCE_EXAMPLE"):
        decoder_builder.build(reader)


def test_learning_rates_refuse():
    for boundaries, rates in (
        ([-1], [1.0, 2.0]),
        ([2, 1], [1.0] * 3),
        ([1], [1, 2]),
        ([1], [1.0]),
        ([0], [1.0, 2.0]),
    ):
        with pytest.raises(ValueError):
            learning_schedules.manual_stepping(1, boundaries, rates)
    for base, total, warm in ((1.0, 5, 0.0), (0.1, 50, 1.0)):
        with pytest.raises(ValueError):
            learning_schedules.cosine_decay_with_warmup(1, base, total, warm, warmup_steps=10)
    manual = "manual_step_learning_rate { initial_learning_rate: 1 schedule { step: 2 learning_rate: 0.5 } }"
    rate = optimizer_builder._create_learning_rate(parse("LearningRate", manual), tf.constant(3))
    equal(rate(), 0.5)
    for build in (
        lambda: optimizer_builder._create_learning_rate(pipeline_pb2.LearningRate()),
        lambda: optimizer_builder.build(pipeline_pb2.Optimizer()),
        lambda: optimizer_builder.build(parse("Optimizer", "adam_optimizer { learning_rate { } }")),
    ):
        with pytest.raises(ValueError):
            build()


# Tests


class Case(test_case.TestCase):
    __test__ = False

    def runTest(self):
        """Nothing: what it inherits is called directly."""


def test_functions_are_executed():
    case = Case()
    assert case.execute(lambda x: (x + 1,), [np.float32(2)]) == 3
    first, second = case.execute_tf2(lambda x, y: (x, y), [np.arange(2), np.arange(3)])
    assert isinstance(first, np.ndarray)
    assert second.tolist() == [0, 1, 2]
    assert case.execute_cpu(lambda: tf.constant(5), []) == 5
    assert case.maybe_extract_single_output({"as": "it is"}) == {"as": "it is"}
    assert case.is_tf2() != tf_version.is_tf1()
    assert not case.has_tpu()
    with pytest.raises(ValueError, match="TensorFlow 1"):
        case.execute_tf1(lambda: 1, [])


def test_stand_ins():
    image = test_utils.create_diagonal_gradient_image(2, 3, 2)
    equal(image[..., 1], [[20, 10, 0], [30, 20, 10]])
    assert test_utils.first_rows_close_as_set([[1, 2], [3, 4], [5, 6]], [[3, 4], [1, 2]], k=2)
    assert not test_utils.first_rows_close_as_set([1, 2], [2, 3])
    boxes = test_utils.create_random_boxes(5, 2, 3)
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    predictor = test_utils.MockKerasBoxPredictor(is_training=False, num_classes=3)
    assert predictor([tf.zeros((2, 4, 5, 1))])["class_predictions_with_background"].shape == (2, 20, 4)
    plain = test_utils.MockBoxPredictor(False, 3, add_background_class=False)
    assert plain.predict([tf.zeros((2, 4, 5, 1))], [1])["class_predictions_with_background"].shape == (
        2,
        20,
        3,
    )
    with pytest.raises(ValueError, match="same length"):
        plain.predict([tf.zeros((2, 4, 5, 1))], [])
    assert test_utils.MockAnchorGenerator().generate([(2, 3)])[0].num_boxes_static() == 6
    assert test_utils.MockMaskHead(2).predict(tf.zeros((3, 1))).shape == (3, 1, 2, 5, 5)
    assert test_utils.image_with_dynamic_shape(4, 5, 3).shape == (4, 5, 3)


# Shapes, crops and variables


def test_shapes():
    rows = tf.ones((3, 2))
    assert shape_utils.pad_or_clip_tensor(rows, 2).shape == (2, 2)
    equal(shape_utils.pad_or_clip_tensor(rows, tf.constant(4))[3], [0, 0])
    assert shape_utils.pad_or_clip_nd(rows, [None, 5]).shape == (3, 5)
    equal(shape_utils.static_or_dynamic_map_fn(tf.reduce_sum, rows), [2, 2, 2])
    summed = shape_utils.static_or_dynamic_map_fn(lambda pair: [pair[0] + pair[1]], [rows, rows])
    equal(summed[0], 2 * rows)
    assert shape_utils.flatten_first_n_dimensions(tf.ones((2, 3, 4)), 2).shape == (6, 4)
    assert shape_utils.expand_first_dimension(tf.ones((6, 4)), [2, 3]).shape == (2, 3, 4)
    assert static_shape.get_height(tf.TensorShape([1, 2, 3, 4])) == 2
    images, shapes = shape_utils.resize_images_and_return_shapes(
        tf.ones((2, 4, 4, 3)), lambda image: (image[:2], tf.constant([2, 4, 3]))
    )
    assert (images.shape, shapes.shape) == ((2, 2, 4, 3), (2, 3))


def test_rows_that_are_not_known_before():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 2])])
    def summed(rows):
        return shape_utils.static_or_dynamic_map_fn(tf.reduce_sum, rows)

    equal(summed(tf.ones((3, 2))), [2, 2, 2])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: shape_utils.static_or_dynamic_map_fn(tf.reduce_sum, [[1]]), ValueError),
        (lambda: shape_utils.static_or_dynamic_map_fn(lambda row: 1, tf.ones(2)), ValueError),
        (lambda: shape_utils.check_min_image_dim(3, tf.ones((1, 2, 3, 1))), ValueError),
        (lambda: shape_utils.assert_shape_equal([1, 2], [1, 3]), ValueError),
        (lambda: shape_utils.assert_shape_equal_along_first_dimension([1], [2]), ValueError),
        (lambda: shape_utils.assert_shape_equal([tf.constant(1)], [2]), tf.errors.InvalidArgumentError),
        (lambda: shape_utils.flatten_dimensions(tf.ones(2), 1, 2), ValueError),
        (lambda: shape_utils.expand_first_dimension(tf.ones(7), [2, 3]), tf.errors.InvalidArgumentError),
        (lambda: shape_utils.assert_box_normalized(tf.constant([-0.1])), tf.errors.InvalidArgumentError),
        (lambda: shape_utils.resize_images_and_return_shapes(tf.ones((1, 1, 1, 1), tf.int32), len), ValueError),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(call, error):
    with pytest.raises(error):
        call()


def test_crops_of_a_pyramid():
    image = tf.reshape(tf.range(9.0), (1, 3, 3, 1))
    boxes, levels = tf.constant([[[0.0, 0, 1, 1], [0, 0, 0.5, 0.5]]]), tf.constant([[1, 0]])
    crops = spatial_transform_ops.multilevel_matmul_crop_and_resize([image, 2 * image], boxes, levels, [2, 2])
    equal(crops[0, ..., 0], [[[0, 4], [12, 16]], [[0, 1], [3, 4]]])
    padded, sizes = spatial_transform_ops.pad_to_max_size([image, image[:, :2]])
    assert padded.shape == (1, 2, 3, 3, 1)
    equal(sizes, [[3, 3], [2, 3]])


def test_variables_by_name(tmp_path):
    first, second = keras.Variable(1.0, name="one"), keras.Variable([2.0], name="two")
    assert variables_helper.filter_variables([first, second], ["o.*"]) == [second]
    assert variables_helper.filter_variables([first, second], ["o.*"], invert=True) == [first]
    [(gradient, _), _] = variables_helper.multiply_gradients_matching_regex(
        [(2.0, first), (3.0, second)], ["one"], 5
    )
    assert gradient == 10
    assert variables_helper.freeze_gradients_matching_regex([(2.0, first), (3.0, second)], ["one"]) == [
        (3.0, second)
    ]
    path = tf.compat.v2.train.Checkpoint(two=tf.Variable([2.0])).write(str(tmp_path / "ckpt"))
    key = "two/.ATTRIBUTES/VARIABLE_VALUE"
    found = variables_helper.get_variables_available_in_checkpoint({key: second, "absent": first}, path)
    assert found == {key: second}
