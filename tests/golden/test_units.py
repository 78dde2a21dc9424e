"""The arithmetic of detection against numbers recorded from the API."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.detection import boxes, losses
from boxtune.detection.nms import NonMaxSuppression
from boxtune.models import sections
from golden.recordings import Case, unit_cases

pytestmark = pytest.mark.shared


def parse(message, text):
    return text_format.Parse(text, message)


def wanted(name, *prefixes):
    """The cases of a unit file whose proto is one of those built, so that none is left out by accident."""
    return [
        pytest.param(case, id=str(case))
        for case in unit_cases(name)
        if any(case.about.get("proto", "").startswith(prefix) for prefix in prefixes)
    ]


@pytest.mark.parametrize("case", wanted("anchors", "ssd_anchor", "multiscale"))
def test_anchors(case: Case):
    generator = sections.anchor_generator(parse(pipeline_pb2.AnchorGenerator(), case.about["proto"]))
    grids = [tuple(grid) for grid in case.about["feature_maps"]]
    anchors = generator.generate(grids, tuple(case.about["image"]))
    assert generator.per_location == case.about["per_location"]
    assert len(anchors) == case.about["total"]
    np.testing.assert_allclose(anchors[case.arrays["index"]], case.arrays["anchors"], atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("case", wanted("box_coders", "faster_rcnn_box_coder"))
def test_box_coders(case: Case):
    coder = sections.box_coder(parse(pipeline_pb2.BoxCoder(), case.about["proto"]))
    anchors = case.arrays["anchors"]
    np.testing.assert_allclose(
        coder.encode(case.arrays["boxes"], anchors), case.arrays["encoded"], atol=1e-5, rtol=1e-5
    )
    np.testing.assert_allclose(
        coder.decode(case.arrays["codes"], anchors), case.arrays["decoded"], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("case", wanted("similarity_and_matchers", "iou_similarity", "ioa_similarity"))
def test_similarities(case: Case):
    similarity = boxes.iou_pairwise if case.about["proto"].startswith("iou") else boxes.ioa_pairwise
    measured = similarity(case.arrays["boxes1"], case.arrays["boxes2"])
    np.testing.assert_allclose(measured, case.arrays["similarity"], atol=1e-6)


@pytest.mark.parametrize("case", wanted("similarity_and_matchers", "argmax_matcher"))
def test_matchers(case: Case):
    section = parse(pipeline_pb2.Matcher(), case.about["proto"])
    matcher = sections.matcher(section)
    similarity, valid = case.arrays["similarity"], case.arrays["valid_rows"].astype(bool)
    # A batch is padded: here with a row that must never be matched.
    similarity = np.concatenate([similarity, np.full_like(similarity, 0.9, shape=(1, similarity.shape[1]))])
    valid = np.append(valid, False)
    matches = ops.convert_to_numpy(matcher.match(similarity[None], valid[None]))[0]
    if "invalid" in case.about["matrix"]:
        # The API lets rows of padding be matched by threshold; their boxes are empty there, so none ever is.
        assert not np.isin(matches, np.flatnonzero(~valid)).any()
    else:
        np.testing.assert_array_equal(matches, case.arrays["match_results"])


def whole_losses(*prefixes):
    """Without losses over some classes or images only, and NaN targets: no configuration makes those."""
    special = {"class_indices", "losses_mask", "ignore_nan_targets"}
    return [param for param in wanted("losses", *prefixes) if not special & set(param.values[0].about)]


@pytest.mark.parametrize(
    "case", whole_losses("weighted_sigmoid ", "weighted_sigmoid_focal", "weighted_softmax ")
)
def test_classification_losses(case: Case):
    loss = sections.classification_loss(parse(pipeline_pb2.ClassificationLoss(), case.about["proto"]))
    prediction, target = case.arrays["prediction"], case.arrays["target"]
    weights = case.arrays["weights"]
    measured = ops.convert_to_numpy(loss(prediction, target))
    weights = weights if measured.ndim == weights.ndim else weights[..., 0]
    np.testing.assert_allclose(measured * weights, case.arrays["loss"], atol=1e-5, rtol=1e-5)
    check_gradient(loss, case, weights)


@pytest.mark.parametrize("case", whole_losses("weighted_smooth_l1"))
def test_localization_losses(case: Case):
    loss = sections.localization_loss(parse(pipeline_pb2.LocalizationLoss(), case.about["proto"]))
    measured = ops.convert_to_numpy(loss(case.arrays["prediction"], case.arrays["target"]))
    np.testing.assert_allclose(measured * case.arrays["weights"], case.arrays["loss"], atol=1e-5, rtol=1e-5)
    check_gradient(loss, case, case.arrays["weights"])


def check_gradient(loss, case: Case, weights):
    """Compare with the recorded gradient of the weighted sum."""
    prediction = tf.constant(case.arrays["prediction"])
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        total = tf.reduce_sum(loss(prediction, case.arrays["target"]) * weights)
    # TensorFlow's own softmax takes the targets' sum for 1: where it is not, its gradient is not the loss's.
    exclusive = np.isclose(case.arrays["target"].sum(-1), 1) | (case.about["kind"] == "localization")
    measured = ops.convert_to_numpy(tape.gradient(total, prediction))[exclusive]
    np.testing.assert_allclose(measured, case.arrays["gradient"][exclusive], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", wanted("losses", "hard_example_miner"))
def test_hard_example_miners(case: Case):
    section = parse(pipeline_pb2.Loss(), case.about["proto"])
    section.classification_weight = case.about["classification_weight"]
    section.localization_weight = case.about["localization_weight"]
    mine = sections.hard_example_miner(section)
    left = mine(
        case.arrays["location_losses"], case.arrays["cls_losses"], case.arrays["boxes"], case.arrays["match"]
    )
    recorded = [case.arrays["mined_location_loss"], case.arrays["mined_cls_loss"]]
    np.testing.assert_allclose([ops.sum(part) for part in left], recorded, rtol=1e-5)


BUILT_NMS = {
    "score_thresh",
    "iou_thresh",
    "max_size_per_class",
    "max_total_size",
    "soft_nms_sigma",
    "use_hard_nms",
    "use_cpu_nms",
    "use_static_shapes",
    "change_coordinate_frame",
}


def nms_cases():
    cases = unit_cases("nms")
    built = [
        case
        for case in cases
        if "args" in case.about
        # use_combined_nms only names another kernel, whose order of equal scores differs.
        and not {"use_class_agnostic_nms", "use_partitioned_nms", "use_combined_nms"}
        & set(case.about["args"])
        and not {"_per_class", "_masks", "_num_valid"} & set(case.about["flags"])
    ]
    return [pytest.param(cases[0], case, id=str(case)) for case in built]


@pytest.mark.parametrize(("inputs", "case"), nms_cases())
def test_non_max_suppression(inputs: Case, case: Case):
    arguments = case.about["args"]
    assert set(arguments) <= BUILT_NMS
    suppress = NonMaxSuppression(
        score_threshold=arguments["score_thresh"],
        iou_threshold=arguments["iou_thresh"],
        max_detections_per_class=arguments["max_size_per_class"],
        max_total_detections=arguments["max_total_size"],
        soft_nms_sigma=arguments.get("soft_nms_sigma", 0.0),
        change_coordinate_frame=arguments.get("change_coordinate_frame", False),
    )
    window = inputs.arrays["clip_window"] if "_window" in case.about["flags"] else None
    found = suppress(inputs.arrays["boxes"], inputs.arrays["scores"], window)
    for image, count in enumerate(case.arrays["out_num"]):
        assert int(found.count[image]) == count
        np.testing.assert_allclose(
            found.scores[image][:count], case.arrays["out_scores"][image][:count], atol=1e-6
        )
        np.testing.assert_allclose(
            found.boxes[image][:count], case.arrays["out_boxes"][image][:count], atol=1e-6
        )
        np.testing.assert_array_equal(found.classes[image][:count], case.arrays["out_classes"][image][:count])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case))
        for case in unit_cases("nms")
        if case.about.get("kind") == "score_converter"
    ],
)
def test_score_converters(case: Case):
    convert = sections.score_converter(parse(pipeline_pb2.PostProcessing(), case.about["proto"]))
    np.testing.assert_allclose(convert(case.arrays["logits"]), case.arrays["scores"], atol=1e-6)


def test_sigmoid_cross_entropy_does_not_overflow():
    # log(1 + exp(1000)) is 1000 and not inf; of the right class 0.
    assert np.allclose(
        losses.sigmoid_cross_entropy(np.float32([1000, -1000, 1000]), np.float32([0, 1, 1])), [1000, 1000, 0]
    )
