"""Which anchor answers for which ground-truth box, and what it should then predict."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from boxtune.detection.boxes import iou_pairwise, take_rows
from boxtune.errors import DataError

UNMATCHED, IGNORED = -1, -2


@dataclass(frozen=True)
class ArgMaxMatcher:
    """Gives each anchor the ground-truth box that it overlaps most, if it overlaps enough.

    An anchor is matched from `matched_threshold` on, a negative below `unmatched_threshold`, ignored between.
    With `negatives_lower_than_unmatched` false the last two change places. With `force_match` each box also
    gets the anchor that overlaps it most, however little; of several boxes that want one anchor the first has
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
        wanting = _first_to_want(similarity, valid)
        return ops.where(wanting >= 0, wanting, matches)

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


def _first_to_want(similarity, valid):
    """Return int32 [b, a]: the first box that overlaps no anchor more than this one, or -1 if there is none."""
    b, n, a = ops.shape(similarity)
    best_anchor = ops.cast(ops.argmax(similarity, axis=2), "int32")  # [b, n]
    boxes = ops.arange(n, dtype="int32")
    want_the_same = (best_anchor[:, :, None] == best_anchor[:, None, :]) & valid[:, None, :]
    is_first = valid & ~ops.any(want_the_same & (boxes < boxes[:, None]), axis=2)
    # Written to its anchor, since n x a comparisons would take longer than all else here.
    places = best_anchor + a * ops.arange(b, dtype="int32")[:, None]
    numbers = ops.where(is_first, boxes + 1, 0)
    written = ops.scatter(ops.reshape(places, (-1, 1)), ops.reshape(numbers, (-1,)), (b * a,))
    return ops.reshape(written, (b, a)) - 1


@dataclass(frozen=True)
class Targets:
    """What each anchor should predict, and how much it counts."""

    classes: Any  # float [b, a, c], one-hot, or the scores of the object; all zero for background
    class_weights: Any  # float [b, a]
    codes: Any  # float [b, a, code size]; zero where unmatched
    code_weights: Any  # float [b, a]
    matches: Any  # int32 [b, a]


def assign_targets(
    groundtruth, anchors, matcher, box_coder, num_classes, negative_weight=1.0, similarity=iou_pairwise
) -> Targets:
    """Match the ground truth of a batch to `anchors` [a, 4] and encode what they should predict.

    Args:
        groundtruth: dict of boxes [b, n, 4], classes int32 [b, n], weights [b, n], valid bool [b, n]; n >= 1.
            Its class_scores [b, n, c], if any, count instead of the classes. Where the coder has keypoints, it
            has keypoints [b, n, p, 2], too, NaN where not seen.
        anchors: float [a, 4].
        matcher: has `match(similarity, valid)`.
        box_coder: has `encode(boxes, anchors)`, or `encode(boxes, anchors, keypoints)`.
        num_classes: c.
        negative_weight: class weight of the anchors that are background.
        similarity: from boxes [b, n, 4] and anchors to how alike they are [b, n, a].

    Raises:
        DataError: if the coder has keypoints and the ground truth has none.

    Source: the API's core.target_assigner.
    """
    matches = matcher.match(similarity(groundtruth["boxes"], anchors), groundtruth["valid"])
    is_matched = matches >= 0
    matched = ops.maximum(matches, 0)
    boxes, weights = (take_rows(groundtruth[part], matched) for part in ("boxes", "weights"))
    codes = box_coder.encode(boxes, anchors, *_keypoints(groundtruth, matched, box_coder))
    return Targets(
        classes=_classes(groundtruth, matched, is_matched, num_classes),
        class_weights=ops.where(is_matched, weights, ops.where(matches == UNMATCHED, negative_weight, 0.0)),
        codes=ops.where(is_matched[:, :, None], codes, 0.0),
        code_weights=ops.where(is_matched, weights, 0.0),
        matches=matches,
    )


def _classes(groundtruth, matched, is_matched, num_classes):
    """Return float [b, a, c]: the class scores of the matched objects, by default one-hot; 0 where unmatched."""
    if "class_scores" in groundtruth:
        return ops.where(is_matched[:, :, None], take_rows(groundtruth["class_scores"], matched), 0.0)
    classes = take_rows(groundtruth["classes"], matched)
    return ops.one_hot(ops.where(is_matched, classes, -1), num_classes, dtype="float32")


def _keypoints(groundtruth, matched, box_coder):
    """Return [the keypoints [b, a, p, 2] of the matched boxes] if the coder wants them, else nothing."""
    if not box_coder.num_keypoints:
        return []
    if "keypoints" not in groundtruth:
        raise DataError(
            f"keypoint_box_coder encodes {box_coder.num_keypoints} keypoints of each object, but the ground truth has "
            "none; use faster_rcnn_box_coder"
        )
    return [take_rows(groundtruth["keypoints"], matched)]
