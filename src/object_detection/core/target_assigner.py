"""Targets of the predictions of anchors: classes and encoded boxes, with weights.

Dimension letters: a anchors, n objects, b images; [...] is what a label is: usually [classes].
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from object_detection.box_coders.faster_rcnn_box_coder import FasterRcnnBoxCoder
from object_detection.core.box_coder import BoxCoder
from object_detection.core.box_list import BoxList
from object_detection.core.matcher import Match, Matcher
from object_detection.core.region_similarity_calculator import IouSimilarity, RegionSimilarityCalculator
from object_detection.core.standard_fields import BoxListFields
from object_detection.matchers.argmax_matcher import ArgMaxMatcher
from object_detection.utils import shape_utils
from object_detection.utils.ops import TensorError

Targets = tuple[Any, Any, Any, Any, Any]
"""Classes [a, ...], their weights, encoded boxes [a, code size], their weights [a], and matches [a]."""

ResizeMethod = tf.image.ResizeMethod


class TargetAssigner:
    """Assigns to each anchor the object that it is matched with.

    Raises:
        TensorError: for arguments of another kind.
    """

    def __init__(
        self,
        similarity_calc: RegionSimilarityCalculator,
        matcher: Matcher,
        box_coder_instance: BoxCoder,
        negative_class_weight: float = 1.0,
    ):
        _check_kind("similarity_calc", similarity_calc, RegionSimilarityCalculator)
        _check_kind("matcher", matcher, Matcher)
        _check_kind("box_coder", box_coder_instance, BoxCoder)
        self._similarity_calc, self._matcher = similarity_calc, matcher
        self._box_coder, self._negative_class_weight = box_coder_instance, negative_class_weight

    @property
    def box_coder(self) -> BoxCoder:
        """The encoding of boxes."""
        return self._box_coder

    def get_box_coder(self) -> BoxCoder:
        """Return the encoding of boxes."""
        return self._box_coder

    def assign(
        self,
        anchors: BoxList,
        groundtruth_boxes: BoxList,
        groundtruth_labels: Any = None,
        unmatched_class_label: Any = None,
        groundtruth_weights: Any = None,
    ) -> Targets:
        """Return the targets of anchors.

        Args:
            anchors: a of them.
            groundtruth_boxes: n of them.
            groundtruth_labels: [n, ...], by default 1 (float32 [n, 1]) for each object.
            unmatched_class_label: [...], of anchors without an object, by default 0 (float32 [1]).
            groundtruth_weights: float32 [n], by default 1. No anchor is forced on objects of weight 0.

        Returns:
            Classes [a, ...], their weights of the same shape, encoded boxes [a, code size], their weights [a], and
            matches int32 [a]: the number of an object, -1 for none, -2 for anchors that are to be ignored.

        Raises:
            TensorError: for boxes that are no BoxList, labels of another shape, and not as many labels as boxes.
        """
        _check_kind("anchors", anchors, BoxList)
        _check_kind("groundtruth_boxes", groundtruth_boxes, BoxList)
        if unmatched_class_label is None:
            unmatched_class_label = tf.constant([0], tf.float32)
        if groundtruth_labels is None:
            groundtruth_labels = tf.ones([groundtruth_boxes.num_boxes(), 1])
        if groundtruth_weights is None:
            groundtruth_weights = tf.ones([groundtruth_boxes.num_boxes()], tf.float32)
        shapes = map(
            shape_utils.combined_static_and_dynamic_shape, (groundtruth_labels, unmatched_class_label)
        )
        of_labels, of_unmatched = shapes
        of_boxes = shape_utils.combined_static_and_dynamic_shape(groundtruth_boxes.get())
        checks = [
            shape_utils.assert_shape_equal(of_labels[1:], of_unmatched),
            shape_utils.assert_shape_equal_along_first_dimension(of_labels, of_boxes),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            match = self._match(anchors, groundtruth_boxes, groundtruth_labels, groundtruth_weights)
            labels = match.gather_based_on_match(
                groundtruth_labels, unmatched_class_label, unmatched_class_label
            )
            class_weights = match.gather_based_on_match(groundtruth_weights, self._negative_class_weight, 0.0)
            box_weights = match.gather_based_on_match(groundtruth_weights, 0.0, 0.0)
            encodings = self._encodings(anchors, groundtruth_boxes, match)
        folded = tf.reshape(class_weights, [-1, *[1] * (labels.shape.rank - 1)])
        return (
            labels,
            tf.broadcast_to(folded, tf.shape(labels)),
            encodings,
            box_weights,
            match.match_results,
        )

    def _match(self, anchors: BoxList, groundtruth_boxes: BoxList, labels: Any, weights: Any) -> Match:
        if labels.shape.rank == 2:
            # What ThresholdedIouSimilarity compares: how much an object is no background.
            groundtruth_boxes.add_field(BoxListFields.scores, 1 - tf.cast(labels[:, 0], tf.float32))
        similarity = self._similarity_calc.compare(groundtruth_boxes, anchors)
        return self._matcher.match(similarity, valid_rows=tf.greater(weights, 0))

    def _encodings(self, anchors: BoxList, groundtruth_boxes: BoxList, match: Match) -> Any:
        matched = BoxList(match.gather_based_on_match(groundtruth_boxes.get(), tf.zeros(4), tf.zeros(4)))
        if groundtruth_boxes.has_field(BoxListFields.keypoints):
            keypoints = groundtruth_boxes.get_field(BoxListFields.keypoints)
            nothing = tf.zeros(tf.shape(keypoints)[1:])
            matched.add_field(
                BoxListFields.keypoints, match.gather_based_on_match(keypoints, nothing, nothing)
            )
        encodings = self._box_coder.encode(matched, anchors)
        return tf.where(match.matched_column_indicator()[:, None], encodings, 0.0)


def _check_kind(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TensorError(f"{name} must be a {kind.__name__}; it is a {type(value).__name__}")


def create_target_assigner(
    reference: str,
    stage: str | None = None,
    negative_class_weight: float = 1.0,
    use_matmul_gather: bool = False,
) -> TargetAssigner:
    """Return an assigner as some detector has it: "FasterRCNN" with the stage "proposal" or "detection", or "FastRCNN".

    Raises:
        TensorError: for any other; "Multibox" needs the bipartite matcher of TensorFlow 1.
    """
    matchers = {
        ("FasterRCNN", "proposal"): {
            "matched_threshold": 0.7,
            "unmatched_threshold": 0.3,
            "force_match_for_each_row": True,
        },
        ("FasterRCNN", "detection"): {"matched_threshold": 0.5},
        ("FastRCNN", None): {
            "matched_threshold": 0.5,
            "unmatched_threshold": 0.1,
            "negatives_lower_than_unmatched": False,
        },
    }
    of = (reference, None if reference == "FastRCNN" else stage)
    if of not in matchers:
        raise TensorError(f"No valid combination of reference and stage: {reference} and {stage}.")
    return TargetAssigner(
        IouSimilarity(),
        ArgMaxMatcher(**matchers[of], use_matmul_gather=use_matmul_gather),  # type: ignore[arg-type]
        FasterRcnnBoxCoder(scale_factors=[10.0, 10.0, 5.0, 5.0] if reference == "FasterRCNN" else None),
        negative_class_weight,
    )


# Batches


def batch_assign(
    target_assigner: TargetAssigner,
    anchors_batch: BoxList | list[BoxList],
    gt_box_batch: Sequence[BoxList],
    gt_class_targets_batch: Sequence[Any],
    unmatched_class_label: Any = None,
    gt_weights_batch: Sequence[Any] | None = None,
) -> Targets:
    """Return what `assign` does, of b images, stacked; the anchors are a list for each image, or one for all.

    Raises:
        TensorError: for batches of different sizes.
    """
    anchors_batch = _anchors_of_each(anchors_batch, gt_box_batch, gt_class_targets_batch)
    weights_batch = gt_weights_batch or [None] * len(gt_class_targets_batch)
    assigned = [
        target_assigner.assign(anchors, boxes, labels, unmatched_class_label, weights)
        for anchors, boxes, labels, weights in zip(
            anchors_batch, gt_box_batch, gt_class_targets_batch, weights_batch, strict=True
        )
    ]
    labels, class_weights, encodings, box_weights, matches = map(tf.stack, zip(*assigned, strict=True))
    return labels, class_weights, encodings, box_weights, matches


batch_assign_targets = batch_assign


def _anchors_of_each(
    anchors_batch: BoxList | list[BoxList], gt_box_batch: Sequence[BoxList], labels_batch: Sequence[Any]
) -> list[BoxList]:
    several = anchors_batch if isinstance(anchors_batch, list) else [anchors_batch] * len(gt_box_batch)
    if not all(isinstance(anchors, BoxList) for anchors in several):
        raise TensorError("anchors_batch must be a BoxList or list of BoxLists.")
    if not len(several) == len(gt_box_batch) == len(labels_batch):
        raise TensorError(
            f"batch size incompatible with lengths of anchors_batch ({len(several)}), gt_box_batch "
            f"({len(gt_box_batch)}) and gt_class_targets_batch ({len(labels_batch)})."
        )
    return several


def batch_get_targets(
    batch_match: Any,
    groundtruth_tensor_list: Sequence[Any],
    groundtruth_weights_list: Sequence[Any],
    unmatched_value: Any,
    unmatched_weight: Any,
) -> tuple[Any, Any]:
    """Return values [b, a, ...] of the objects that anchors are matched with, and their weights [b, a].

    Args:
        batch_match: int32 [b, a], as `assign` returns matches.
        groundtruth_tensor_list: of each image, [n, ...].
        groundtruth_weights_list: of each image, [n].
        unmatched_value: [...], of anchors that are not matched.
        unmatched_weight: [], of anchors that have no object; those that are to be ignored have 0.
    """
    values, weights = [], []
    for matches, tensor, own_weights in zip(
        tf.unstack(batch_match), groundtruth_tensor_list, groundtruth_weights_list, strict=True
    ):
        match = Match(matches)
        values.append(match.gather_based_on_match(tensor, unmatched_value, unmatched_value))
        weights.append(
            match.gather_based_on_match(own_weights, unmatched_weight, tf.zeros_like(unmatched_weight))
        )
    return tf.stack(values), tf.stack(weights)


def batch_assign_confidences(
    target_assigner: TargetAssigner,
    anchors_batch: BoxList | list[BoxList],
    gt_box_batch: Sequence[BoxList],
    gt_class_confidences_batch: Sequence[Any],
    gt_weights_batch: Sequence[Any] | None = None,
    unmatched_class_label: Any = None,
    include_background_class: bool = True,
    implicit_class_weight: float = 1.0,
) -> Targets:
    """Return targets of b images whose labels are confidences [n, c]: above 0 for, below 0 against a class.

    A class for which there is neither (0) is an implicit negative, of `implicit_class_weight`. Only objects with some
    confidence above 0 are targets of boxes. With `include_background_class` the first class is the background.

    Raises:
        TensorError: for batches of different sizes.
    """
    anchors_batch = _anchors_of_each(anchors_batch, gt_box_batch, gt_class_confidences_batch)
    weights_batch = gt_weights_batch or [None] * len(gt_class_confidences_batch)
    assigned = []
    for anchors, boxes, confidences, weights in zip(
        anchors_batch, gt_box_batch, gt_class_confidences_batch, weights_batch, strict=True
    ):
        labels, _, encodings, _, matches = target_assigner.assign(
            anchors, boxes, confidences, unmatched_class_label, weights
        )
        of_objects = labels[:, 1:] if include_background_class else labels
        is_positive = tf.reduce_any(of_objects > 0, axis=-1, keepdims=True)
        has_box = tf.cast(is_positive, tf.float32)  # [a, 1]
        is_explicit = tf.not_equal(of_objects, 0)
        classes = tf.where(of_objects < 0, tf.zeros_like(of_objects), of_objects)
        if include_background_class:
            classes = tf.concat([tf.cast(1 - has_box, classes.dtype), classes], axis=-1)
            is_explicit = tf.concat([is_positive, is_explicit], axis=-1)
        class_weights = tf.where(is_explicit, 1.0, implicit_class_weight)
        assigned.append((classes, class_weights, encodings * has_box, has_box[:, 0], matches))
    classes, class_weights, encodings, box_weights, matches = map(tf.stack, zip(*assigned, strict=True))
    return classes, class_weights, encodings, box_weights, matches
