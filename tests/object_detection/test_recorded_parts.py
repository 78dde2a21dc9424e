"""The parts of a detector by the API's names, against numbers recorded from it."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.errors import ConfigError
from golden.recordings import element_index, load_fill, unit_cases
from object_detection.builders import (
    anchor_generator_builder,
    box_coder_builder,
    image_resizer_builder,
    losses_builder,
    matcher_builder,
    region_similarity_calculator_builder,
)
from object_detection.core import losses, post_processing
from object_detection.core.box_list import BoxList
from object_detection.core.matcher import Match
from object_detection.utils import learning_schedules

pytestmark = pytest.mark.shared


def cases_of(name, *kinds):
    return [
        pytest.param(case, id=str(case))
        for case in unit_cases(name)
        if not kinds or case.about.get("kind") in kinds
    ]


def parse(message, text):
    return text_format.Parse(text, message)


@pytest.mark.parametrize("case", cases_of("anchors"))
def test_anchors(case):
    generator = anchor_generator_builder.build(parse(pipeline_pb2.AnchorGenerator(), case.about["proto"]))
    assert generator.num_anchors_per_location() == case.about["per_location"]
    height, width = case.about["image"]
    size = {} if case.about["proto"].startswith("grid") else {"im_height": height, "im_width": width}
    maps = [tuple(one) for one in case.about["feature_maps"]]
    generated = generator.generate(maps, **size)
    assert [one.num_boxes_static() for one in generated] == case.about["counts"]
    anchors = np.concatenate([one.get() for one in generated])
    np.testing.assert_allclose(anchors[case.arrays["index"]], case.arrays["anchors"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", cases_of("box_coders"))
def test_box_coders(case):
    coder = box_coder_builder.build(parse(pipeline_pb2.BoxCoder(), case.about["proto"]))
    assert coder.code_size == case.about["code_size"]
    anchors, boxes = BoxList(case.arrays["anchors"]), BoxList(case.arrays["boxes"])
    if case.arrays["keypoints"].size:
        boxes.add_field("keypoints", tf.constant(case.arrays["keypoints"]))
    np.testing.assert_allclose(coder.encode(boxes, anchors), case.arrays["encoded"], atol=1e-5)
    decoded = coder.decode(tf.constant(case.arrays["codes"]), anchors)
    np.testing.assert_allclose(decoded.get(), case.arrays["decoded"], atol=1e-5)
    if "decoded_keypoints" in case.arrays:
        np.testing.assert_allclose(
            decoded.get_field("keypoints"), case.arrays["decoded_keypoints"], atol=1e-5
        )


@pytest.mark.parametrize("case", cases_of("similarity_and_matchers", "similarity"))
def test_similarities(case):
    section = parse(pipeline_pb2.RegionSimilarityCalculator(), case.about["proto"])
    first, second = BoxList(case.arrays["boxes1"]), BoxList(case.arrays["boxes2"])
    first.add_field("scores", tf.constant(case.arrays["scores1"]))
    similarity = region_similarity_calculator_builder.build(section).compare(first, second)
    np.testing.assert_allclose(similarity, case.arrays["similarity"], atol=1e-6)


@pytest.mark.parametrize("case", cases_of("similarity_and_matchers", "match"))
def test_matchers(case):
    section = parse(pipeline_pb2.Matcher(), case.about["proto"])
    if "error" in case.about:
        with pytest.raises(ConfigError, match="TensorFlow 2"):
            matcher_builder.build(section)
        return
    matcher = matcher_builder.build(section)
    valid = tf.constant(case.arrays["valid_rows"].astype(bool))
    matches = matcher.match(tf.constant(case.arrays["similarity"]), valid)
    np.testing.assert_array_equal(matches.match_results, case.arrays["match_results"])


def loss_of(case):
    section = pipeline_pb2.Loss()
    if case.about["kind"] == "classification":
        parse(section.classification_loss, case.about["proto"])
        section.localization_loss.weighted_l2.SetInParent()
        return losses_builder.build(section)[0]
    parse(section.localization_loss, case.about["proto"])
    section.classification_loss.weighted_sigmoid.SetInParent()
    return losses_builder.build(section)[1]


@pytest.mark.parametrize("case", cases_of("losses", "classification", "localization"))
def test_losses(case):
    if "is_prediction_probability" in case.about["proto"]:
        loss = losses.WeightedDiceClassificationLoss(
            squared_normalization=False, is_prediction_probability=True
        )
    else:
        loss = loss_of(case)
    assert type(loss).__name__ == case.about.get("cls", type(loss).__name__)
    more = {name: case.about[name] for name in ("class_indices", "ignore_nan_targets") if name in case.about}
    if "losses_mask" in case.arrays:
        more["losses_mask"] = tf.constant(case.arrays["losses_mask"].astype(bool))
    measured = loss(case.arrays["prediction"], case.arrays["target"], weights=case.arrays["weights"], **more)
    np.testing.assert_allclose(measured, case.arrays["loss"], rtol=1e-5, atol=1e-5)
    assert measured.shape == case.arrays["loss"].shape


@pytest.mark.parametrize("case", cases_of("losses", "hard_example_miner"))
def test_miners_of_hard_examples(case):
    section = parse(pipeline_pb2.Loss(), case.about["proto"])
    miner = losses_builder.build_hard_example_miner(
        section.hard_example_miner, case.about["classification_weight"], case.about["localization_weight"]
    )
    boxes = [BoxList(one) for one in case.arrays["boxes"]]
    matches = [Match(one.astype(np.int32)) for one in case.arrays["match"]]
    mined = miner(case.arrays["location_losses"], case.arrays["cls_losses"], boxes, matches)
    recorded = case.arrays["mined_location_loss"], case.arrays["mined_cls_loss"]
    np.testing.assert_allclose(mined, recorded, rtol=1e-5)
    if case.about["num_positives"] is not None:
        np.testing.assert_array_equal(miner._num_positives_list, case.about["num_positives"])
        np.testing.assert_array_equal(miner._num_negatives_list, case.about["num_negatives"])


NMS = unit_cases("nms")


def in_order(detections):
    """Sort (scores, boxes, classes) by score, then by class, then by place."""
    scores, boxes, classes = detections
    order = np.lexsort((*boxes.round(4).T, classes, -scores))
    return [part[order] for part in detections]


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in NMS if "args" in case.about])
def test_suppression(case):
    given, flags = NMS[0].arrays, case.about["flags"]
    boxes = given["boxes_per_class"] if "_per_class" in flags else given["boxes"][:, :, None]
    more = {
        name: given[name]
        for name, flag in (("clip_window", "_window"), ("num_valid_boxes", "_num_valid"), ("masks", "_masks"))
        if flag in flags
    }

    def suppress():
        return post_processing.batch_multiclass_non_max_suppression(
            boxes, given["scores"], **case.about["args"], **more
        )

    if "error" in case.about:
        with pytest.raises(ValueError, match="Max classes per detection box >1 not supported"):
            suppress()
        return
    found_boxes, scores, classes, masks, _, count = suppress()
    np.testing.assert_array_equal(count, case.arrays["out_num"])
    for image, number in enumerate(case.arrays["out_num"]):
        ours = [np.asarray(part[image][:number]) for part in (scores, found_boxes, classes)]
        recorded = [case.arrays[name][image][:number] for name in ("out_scores", "out_boxes", "out_classes")]
        if "use_combined_nms" in case.about["args"]:  # where equal scores stand in another order
            ours, recorded = in_order(ours), in_order(recorded)
        for one, other in zip(ours, recorded, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert scores.shape == case.arrays["out_scores"].shape
    assert (masks is not None) == ("out_masks" in case.arrays)
    if masks is not None:
        np.testing.assert_array_equal(masks, case.arrays["out_masks"])


@pytest.mark.parametrize("case", cases_of("image_resizers"))
def test_image_resizers(case):
    resizer = image_resizer_builder.build(parse(pipeline_pb2.ImageResizer(), case.about["proto"]))
    fill = load_fill()
    height, width, _ = case.about["image"]
    image = tf.constant(fill.image(height, width, 3), tf.float32)
    masks = None
    if "resized_masks.shape" in case.arrays:
        masks = tf.constant(fill.masks(fill.ground_truth(3, 2, 5)[0], height, width), tf.float32)
    resized, *resized_masks, true_shape = resizer(image, masks)
    np.testing.assert_array_equal(true_shape, case.arrays["true_shape"])
    assert resized.shape == tuple(case.arrays["resized.shape"])
    elements = np.ravel(resized)[element_index(tf.size(resized).numpy(), 600)]
    np.testing.assert_allclose(elements, case.arrays["resized.elems"], atol=1e-3)
    if masks is not None:
        elements = np.ravel(resized_masks[0])[element_index(tf.size(resized_masks[0]).numpy(), 300)]
        np.testing.assert_array_equal(elements, case.arrays["resized_masks.elems"])


def schedule_of(case):
    """Return the function of a case, and its arguments besides the step."""
    if "function" in case.about:
        return getattr(learning_schedules, case.about["function"]), case.about["args"]
    section = parse(pipeline_pb2.LearningRate(), case.about["proto"])
    name = section.WhichOneof("learning_rate")
    one = getattr(section, name)
    if name == "manual_step_learning_rate":
        return learning_schedules.manual_stepping, {
            "boundaries": [change.step for change in one.schedule],
            "rates": [one.initial_learning_rate, *(change.learning_rate for change in one.schedule)],
            "warmup": one.warmup,
        }
    fields = {field.name: getattr(one, field.name) for field in one.DESCRIPTOR.fields}
    if name == "cosine_decay_learning_rate":
        return learning_schedules.cosine_decay_with_warmup, fields
    names = {"initial_learning_rate": "base", "decay_steps": "decay_steps", "decay_factor": "decay_factor"}
    return learning_schedules.exponential_decay_with_burnin, {
        f"learning_rate_{names[name]}" if name in names else name: value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case))
        for case in unit_cases("learning_rates")
        if "constant" not in case.about.get("proto", "")
    ],
)
def test_learning_rates(case):
    function, arguments = schedule_of(case)
    steps = tf.constant(case.arrays["steps"])
    rates = tf.map_fn(
        tf.function(lambda step: function(step, **arguments), autograph=False),
        steps,
        fn_output_signature=tf.float32,
    )
    np.testing.assert_allclose(rates, case.arrays["learning_rate"], rtol=1e-5, atol=1e-8)
    rate = function(steps[3], **arguments)  # a function, where TensorFlow is eager
    np.testing.assert_allclose(rate(), case.arrays["learning_rate"][3], rtol=1e-5, atol=1e-8)
