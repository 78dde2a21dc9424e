"""Matches anchors with ground-truth boxes, and computes the targets of their predictions."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from boxtune.detection.boxes import iou_pairwise, take_rows
from boxtune.errors import DataError

UNMATCHED, IGNORED = -1, -2


@dataclass(frozen=True)
class ArgMaxMatcher:
    """Matches each anchor with the ground-truth box that it overlaps most, if it overlaps enough.

    An anchor is matched from `matched_threshold` on, a negative below `unmatched_threshold`, ignored between.
    With `negatives_lower_than_unmatched` false the last two are swapped. With `force_match` each box is also
    matched with the anchor that overlaps it most, however little; if several boxes claim one anchor, the first gets
    it. Without thresholds (None) every anchor is matched. Source: the API's matchers.argmax_matcher.
    """

    matched_threshold: float | None = 0.5
    unmatched_threshold: float | None = 0.5
    negatives_lower_than_unmatched: bool = True
    force_match: bool = False

    def match(self, similarity, valid):
        """Return int32 [b, a]: the index of each anchor's box, UNMATCHED or IGNORED.

        Args:
            similarity: float [b, n, a] of boxes and anchors, n >= 1.
            valid: bool [b, n]; the rows of padding are never matched.
        """
        similarity = ops.where(valid[:, :, None], similarity, -float("inf"))
        any_valid = ops.any(valid, axis=1, keepdims=True)
        matches = ops.where(any_valid, self._match_by_threshold(similarity), UNMATCHED)
        if not self.force_match:
            return matches
        claims = _first_claims(similarity, valid)
        return ops.where(claims >= 0, claims, matches)

    def _match_by_threshold(self, similarity):
        matches = ops.cast(ops.argmax(similarity, axis=1), "int32")
        highest = ops.max(similarity, axis=1)
        if self.matched_threshold is not None:
            low, between = (
                (UNMATCHED, IGNORED) if self.negatives_lower_than_unmatched else (IGNORED, UNMATCHED)
            )
            matches = ops.where(highest < self.matched_threshold, between, matches)
            matches = ops.where(highest < self.unmatched_threshold, low, matches)
        return matches


def _first_claims(similarity, valid):
    """Return int32 [b, a]: the first box that overlaps no anchor more than this one, or -1 if there is none."""
    b, n, a = ops.shape(similarity)
    best_anchor = ops.cast(ops.argmax(similarity, axis=2), "int32")  # [b, n]
    anchors = best_anchor + a * ops.arange(b, dtype="int32")[:, None]
    # The first box counts most. PyTorch, which scatters one value at a time, is much faster so.
    ranks = ops.where(valid, n - ops.arange(n, dtype="int32"), 0)
    highest = ops.segment_max(ops.reshape(ranks, (-1,)), ops.reshape(anchors, (-1,)), num_segments=b * a)
    highest = ops.reshape(highest, (b, a))
    return ops.where(highest > 0, n - highest, -1)


@dataclass(frozen=True)
class Targets:
    """The target of each anchor's prediction, and its weight."""

    classes: Any  # float [b, a, c], one-hot, or the scores of the object; all zero for background
    class_weights: Any  # float [b, a]
    encodings: Any  # of boxes, float [b, a, code size]; zero where unmatched
    box_weights: Any  # float [b, a]
    matches: Any  # int32 [b, a]


def assign_targets(
    groundtruth, anchors, matcher, box_coder, num_classes, negative_weight=1.0, similarity=iou_pairwise
) -> Targets:
    """Match the ground truth of a batch with `anchors` [a, 4] and encode their targets.

    Args:
        groundtruth: dict of boxes [b, n, 4], classes int32 [b, n], weights [b, n], valid bool [b, n]; n >= 1.
            Its class_scores [b, n, c], if any, replace the classes. If the coder encodes keypoints, it also has
            keypoints [b, n, p, 2], NaN where not visible.
        anchors: float [a, 4].
        matcher: has `match(similarity, valid)`.
        box_coder: has `encode(boxes, anchors)`, or `encode(boxes, anchors, keypoints)`.
        num_classes: c.
        negative_weight: class weight of the anchors that are background.
        similarity: from boxes [b, n, 4] and anchors to similarities [b, n, a].

    Raises:
        DataError: if the coder has keypoints and the ground truth has none.

    Source: the API's core.target_assigner.
    """
    matches = matcher.match(similarity(groundtruth["boxes"], anchors), groundtruth["valid"])
    is_matched = matches >= 0
    matched = ops.maximum(matches, 0)
    boxes, weights = (take_rows(groundtruth[part], matched) for part in ("boxes", "weights"))
    encodings = box_coder.encode(boxes, anchors, *_keypoints(groundtruth, matched, box_coder))
    if "class_scores" in groundtruth:
        scores = take_rows(groundtruth["class_scores"], matched)
        classes = ops.where(is_matched[:, :, None], scores, 0.0)
    else:
        indices = ops.where(is_matched, take_rows(groundtruth["classes"], matched), -1)
        classes = ops.one_hot(indices, num_classes, dtype="float32")
    return Targets(
        classes=classes,
        class_weights=ops.where(is_matched, weights, ops.where(matches == UNMATCHED, negative_weight, 0.0)),
        encodings=ops.where(is_matched[:, :, None], encodings, 0.0),
        box_weights=ops.where(is_matched, weights, 0.0),
        matches=matches,
    )


def _keypoints(groundtruth, matched, box_coder):
    """Return [the keypoints [b, a, p, 2] of the matched boxes] if the coder encodes them, else []."""
    if not box_coder.num_keypoints:
        return []
    if "keypoints" not in groundtruth:
        raise DataError(
            f"keypoint_box_coder encodes {box_coder.num_keypoints} keypoints of each object, but the ground truth has "
            "none; use faster_rcnn_box_coder"
        )
    return [take_rows(groundtruth["keypoints"], matched)]
