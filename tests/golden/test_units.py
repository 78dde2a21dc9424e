"""The arithmetic of detection against numbers recorded from the API."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.detection import kernels, losses
from boxtune.errors import ConfigError
from boxtune.models import from_config
from golden.recordings import Case, unit_cases

pytestmark = pytest.mark.shared


def parse(message, text):
    return text_format.Parse(text, message)


def cases_of(name, *prefixes):
    """The cases of a unit file whose proto begins so."""
    return [
        pytest.param(case, id=str(case))
        for case in unit_cases(name)
        if case.about.get("proto", "").startswith(prefixes)
    ]


@pytest.mark.parametrize("case", cases_of("anchors", "grid", "ssd_anchor", "multiscale", "flexible_grid"))
def test_anchors(case: Case):
    generator = from_config.anchor_generator(parse(pipeline_pb2.AnchorGenerator(), case.about["proto"]))
    grids = [tuple(grid) for grid in case.about["feature_maps"]]
    anchors = generator.generate(grids, tuple(case.about["image"]))
    assert generator.per_location == case.about["per_location"]
    assert len(anchors) == case.about["total"]
    np.testing.assert_allclose(anchors[case.arrays["index"]], case.arrays["anchors"], atol=1e-5, rtol=1e-6)


def test_no_case_is_left_out():
    """Every recorded case of these files is run by a test below or above, or says here why not."""
    run = {
        "anchors": cases_of("anchors", "grid", "ssd_anchor", "multiscale", "flexible_grid"),
        "box_coders": cases_of("box_coders", ""),
        "similarity_and_matchers": cases_of(
            "similarity_and_matchers", *SIMILARITIES, "argmax_matcher", "bipartite_matcher"
        ),
        "losses": [*CLASSIFICATION, *DICE, *LOCALIZATION, *cases_of("losses", "hard_example_miner")],
        "nms": [*nms_cases(), *SINGLE_CLASS, *cases_of("nms", "score_converter")],
    }
    for name, params in run.items():
        numbers = [param.values[-1].number for param in params]
        assert len(numbers) == len(set(numbers))
        missing = {case.number: case.about for case in unit_cases(name)}
        for number in numbers:
            del missing[number]
        if name == "nms":
            assert missing.pop(0)["kind"] == "inputs"
        assert missing == {}


@pytest.mark.parametrize("case", cases_of("box_coders", ""))
def test_box_coders(case: Case):
    coder = from_config.box_coder(parse(pipeline_pb2.BoxCoder(), case.about["proto"]))
    assert coder.code_size == case.about["code_size"]
    anchors = case.arrays["anchors"]
    keypoints = [case.arrays["keypoints"]] if coder.num_keypoints else []
    np.testing.assert_allclose(
        coder.encode(case.arrays["boxes"], anchors, *keypoints), case.arrays["encoded"], atol=1e-5, rtol=1e-5
    )
    np.testing.assert_allclose(
        coder.decode(case.arrays["codes"], anchors), case.arrays["decoded"], atol=1e-5, rtol=1e-5
    )
    if coder.num_keypoints:
        np.testing.assert_allclose(
            coder.decode_keypoints(case.arrays["codes"], anchors), case.arrays["decoded_keypoints"], atol=1e-5
        )


SIMILARITIES = (
    "iou_similarity",
    "ioa_similarity",
    "neg_sq_dist_similarity",
    "thresholded_iou_similarity",
)


@pytest.mark.parametrize("case", cases_of("similarity_and_matchers", *SIMILARITIES))
def test_similarities(case: Case):
    similarity = from_config.similarity(parse(pipeline_pb2.RegionSimilarityCalculator(), case.about["proto"]))
    measured = ops.convert_to_numpy(similarity(case.arrays["boxes1"], case.arrays["boxes2"]))
    if case.about["proto"].startswith("thresholded"):
        # The API gives the score of the object, which is 1 for every object that is no background.
        measured = measured * case.arrays["scores1"][:, None]
    np.testing.assert_allclose(measured, case.arrays["similarity"], atol=1e-6)


@pytest.mark.parametrize("case", cases_of("similarity_and_matchers", "bipartite_matcher"))
def test_the_bipartite_matcher_is_refused(case: Case):
    assert "not supported in TF 2" in case.about["error"]
    with pytest.raises(ConfigError, match="does not have the bipartite matcher yet; use argmax_matcher"):
        from_config.matcher(parse(pipeline_pb2.Matcher(), case.about["proto"]))


@pytest.mark.parametrize("case", cases_of("similarity_and_matchers", "argmax_matcher"))
def test_matchers(case: Case):
    section = parse(pipeline_pb2.Matcher(), case.about["proto"])
    matcher = from_config.matcher(section)
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


def weights_of(case: Case):
    """The weights of a case, 0 where it says that no loss is expected: of other classes, or of masked images."""
    weights = case.arrays["weights"]
    if "class_indices" in case.about:
        weights = weights * np.isin(np.arange(weights.shape[-1]), case.about["class_indices"])
    if "losses_mask" in case.about:
        weights = weights * case.arrays["losses_mask"].reshape(-1, *[1] * (weights.ndim - 1))
    return np.float32(weights)


DICE = cases_of("losses", "weighted_dice")
CLASSIFICATION = [
    param
    for param in cases_of(
        "losses", "weighted_sig", "weighted_soft", "weighted_log", "bootstrapped", "penalty"
    )
    if param.values[0].about["kind"] == "classification"
]
LOCALIZATION = [param for param in cases_of("losses", "") if param.values[0].about["kind"] == "localization"]


@pytest.mark.parametrize("case", CLASSIFICATION)
def test_classification_losses(case: Case):
    loss = from_config.classification_loss(parse(pipeline_pb2.ClassificationLoss(), case.about["proto"]))
    target, weights = case.arrays["target"], weights_of(case)

    def weighted(prediction):
        measured = loss(prediction, target)
        return measured * (weights if len(measured.shape) == 3 else weights[..., 0])

    # TensorFlow's own softmax takes the targets' sum for 1: where it is not, its gradient is not the loss's.
    exclusive = case.about["proto"].startswith("weighted_softmax")
    check_loss(weighted, case, np.isclose(target.sum(-1), 1) if exclusive else ...)


@pytest.mark.parametrize("case", DICE)
def test_dice_losses(case: Case):
    options = {
        "squared_normalization": "squared_normalization: true" in case.about["proto"],
        "are_probabilities": "is_prediction_probability: true" in case.about["proto"],
    }
    check_loss(
        lambda prediction: losses.dice(prediction, case.arrays["target"], weights_of(case), **options), case
    )


@pytest.mark.parametrize("case", LOCALIZATION)
def test_localization_losses(case: Case):
    loss = from_config.localization_loss(parse(pipeline_pb2.LocalizationLoss(), case.about["proto"]))
    target, weights = case.arrays["target"], weights_of(case)

    def weighted(prediction):
        if weights.ndim == 3:  # the API weighs each number
            return losses.absolute_error(prediction, target) * weights
        coder = AsTheyAre(num_keypoints=int("ignore_nan_targets" in case.about))
        return loss(prediction, target, weights, coder, np.zeros([1, 4], np.float32))

    check_loss(weighted, case)


@dataclass(frozen=True)
class AsTheyAre:
    """The API takes codes for boxes where it measures how much these overlap."""

    num_keypoints: int

    def decode(self, codes, anchors):
        return codes


def check_loss(weighted, case: Case, where_gradient=...):
    """Compare the weighted losses of predictions, and the gradient of their sum, with what was recorded."""
    prediction = tf.constant(case.arrays["prediction"])
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        measured = weighted(prediction)
    recorded = case.arrays["loss"].reshape(measured.shape)  # one of them is flat
    np.testing.assert_allclose(measured, recorded, atol=1e-5, rtol=1e-5)
    if "gradient" in case.arrays:
        gradient = ops.convert_to_numpy(tape.gradient(measured, prediction))
        np.testing.assert_allclose(
            gradient[where_gradient], case.arrays["gradient"][where_gradient], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("case", cases_of("losses", "hard_example_miner"))
def test_hard_example_miners(case: Case):
    section = parse(pipeline_pb2.Loss(), case.about["proto"])
    section.classification_weight = case.about["classification_weight"]
    section.localization_weight = case.about["localization_weight"]
    mine = from_config.hard_example_miner(section)
    left = mine(
        case.arrays["location_losses"], case.arrays["cls_losses"], case.arrays["boxes"], case.arrays["match"]
    )
    recorded = [case.arrays["mined_location_loss"], case.arrays["mined_cls_loss"]]
    np.testing.assert_allclose([ops.sum(part) for part in left], recorded, rtol=1e-5)


def nms_cases():
    """The inputs, which all share, and each case that suppresses among several classes."""
    cases = unit_cases("nms")
    return [
        pytest.param(cases[0], case, id=f"{case}{case.about['flags']}")
        for case in cases
        if "args" in case.about
    ]


@pytest.mark.parametrize(("inputs", "case"), nms_cases())
def test_non_max_suppression(inputs: Case, case: Case):
    arguments = dict(case.about["args"])
    section = parse(
        pipeline_pb2.PostProcessing(),
        "batch_non_max_suppression { change_coordinate_frame: false }",
    )
    names = {
        "score_thresh": "score_threshold",
        "iou_thresh": "iou_threshold",
        "max_size_per_class": "max_detections_per_class",
        "max_total_size": "max_total_detections",
    }
    for name, value in arguments.items():
        setattr(section.batch_non_max_suppression, names.get(name, name), value)
    if "error" in case.about:
        assert case.about["error"] == "ValueError: Max classes per detection box >1 not supported."
        with pytest.raises(ConfigError, match="max_classes_per_detection is 3; it must be 1"):
            from_config.non_max_suppression(section)
        return
    flags, given = case.about["flags"], inputs.arrays
    found = from_config.non_max_suppression(section)(
        given["boxes_per_class" if "_per_class" in flags else "boxes"],
        given["scores"],
        given["clip_window"] if "_window" in flags else None,
        given["num_valid_boxes"] if "_num_valid" in flags else None,
    )
    for image, count in enumerate(case.arrays["out_num"]):
        assert int(found.count[image]) == count
        ours = [np.asarray(part[image][:count]) for part in (found.scores, found.boxes, found.classes)]
        recorded = [case.arrays[name][image][:count] for name in ("out_scores", "out_boxes", "out_classes")]
        if "use_combined_nms" in arguments:  # where equal scores stand in another order
            ours, recorded = in_order(ours), in_order(recorded)
        for one, other in zip(ours, recorded, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        if "_masks" in flags:
            masks = given["masks"][image, np.asarray(found.extras["anchors"][image][:count]), 0]
            np.testing.assert_array_equal(masks, case.arrays["out_masks"][image][:count])


def in_order(detections):
    """Sort (scores, boxes, classes) by score, then by class, then by place."""
    scores, boxes, classes = detections
    order = np.lexsort((*boxes.round(4).T, classes, -scores))
    return [part[order] for part in detections]


SINGLE_CLASS = [
    pytest.param(case, id=str(case))
    for case in unit_cases("nms")
    if case.about.get("kind") == "non_max_suppression_with_scores"
]


@pytest.mark.parametrize("case", SINGLE_CLASS)
def test_suppression_of_one_class(case: Case):
    indices, scores, valid = kernels.greedy_suppression(
        case.arrays["boxes"][None],
        case.arrays["scores"][None, None],
        limit=case.about["max_output_size"],
        iou_threshold=case.about["iou_threshold"],
        score_threshold=case.about["score_threshold"],
        soft_sigma=case.about["soft_nms_sigma"],
    )
    assert np.asarray(valid).sum() == len(case.arrays["out_index"])
    np.testing.assert_array_equal(np.asarray(indices)[valid], case.arrays["out_index"])
    np.testing.assert_allclose(np.asarray(scores)[valid], case.arrays["out_scores"], atol=1e-6)


@pytest.mark.parametrize("case", cases_of("nms", "score_converter"))
def test_score_converters(case: Case):
    convert = from_config.score_converter(parse(pipeline_pb2.PostProcessing(), case.about["proto"]))
    np.testing.assert_allclose(convert(case.arrays["logits"]), case.arrays["scores"], atol=1e-6)


def test_sigmoid_cross_entropy_does_not_overflow():
    # log(1 + exp(1000)) is 1000 and not inf; of the right class 0.
    assert np.allclose(
        losses.sigmoid_cross_entropy(np.float32([1000, -1000, 1000]), np.float32([0, 1, 1])), [1000, 1000, 0]
    )
