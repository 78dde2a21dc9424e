"""Weighted losses of predictions; the arithmetic is that of `boxtune.detection`.

Dimension letters: b images, a anchors, d code size, c classes.
"""

import abc
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from boxtune.detection import losses, mining
from boxtune.detection.matching import UNMATCHED
from object_detection.core.box_list import BoxList
from object_detection.core.matcher import Match
from object_detection.utils.ops import TensorError, indices_to_dense_vector


class Loss(abc.ABC):
    """A loss of predictions, each with a weight."""

    def __call__(
        self,
        prediction_tensor: Any,
        target_tensor: Any,
        ignore_nan_targets: bool = False,
        losses_mask: Any = None,
        scope: str | None = None,
        **params: Any,
    ) -> Any:
        """Return the losses.

        Args:
            prediction_tensor: [b, a, ...].
            target_tensor: [b, a, ...].
            ignore_nan_targets: whether any prediction is right where the target is NaN.
            losses_mask: bool [b]: the images that count; None for all.
            scope: names nothing.
            **params: `weights`, and others of the single losses.
        """
        predictions, targets = tf.convert_to_tensor(prediction_tensor), tf.convert_to_tensor(target_tensor)
        if ignore_nan_targets:
            targets = tf.where(tf.math.is_nan(targets), predictions, targets)
        if losses_mask is not None:
            params["weights"] = tf.convert_to_tensor(params["weights"])
            predictions, targets, params["weights"] = (
                tensor * tf.cast(tf.reshape(losses_mask, [-1, *[1] * (tensor.shape.rank - 1)]), tensor.dtype)
                for tensor in (predictions, targets, params["weights"])
            )
        return self._compute_loss(predictions, targets, **params)

    @abc.abstractmethod
    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        """Return the losses."""


# Of boxes


class WeightedL2LocalizationLoss(Loss):
    """Half the squared error, [b, a]; the weights [b, a] are of the error, before it is squared."""

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        return losses.squared_error(prediction_tensor, target_tensor) * tf.square(weights)


class WeightedSmoothL1LocalizationLoss(Loss):
    """The Huber loss, [b, a]; the weights are [b, a]."""

    def __init__(self, delta: float = 1.0):
        super().__init__()
        self._delta = delta

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        return losses.smooth_l1(prediction_tensor, target_tensor, self._delta) * weights


class WeightedIOULocalizationLoss(Loss):
    """1 minus the overlap of boxes, [b * a]; the weights are [b, a]."""

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        return tf.reshape(losses.iou_loss(prediction_tensor, target_tensor) * weights, [-1])


class WeightedGIOULocalizationLoss(Loss):
    """1 minus the generalized overlap of boxes, [b, a]; the weights are [b, a]."""

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        return losses.giou_loss(prediction_tensor, target_tensor) * weights


class L1LocalizationLoss(Loss):
    """The absolute error of each number, [b, a, d]; the weights are of the same rank."""

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        return losses.absolute_error(prediction_tensor, target_tensor) * weights


# Of classes


def _weights_of(weights: Any, class_indices: Any, num_classes: Any) -> Any:
    """Return weights that are 0 for all classes but those of `class_indices`, if these are given."""
    if class_indices is None:
        return weights
    return weights * indices_to_dense_vector(class_indices, num_classes)


class WeightedSigmoidClassificationLoss(Loss):
    """The cross entropy of independent classes, [b, a, c]; so are the weights, or [b, a, 1]."""

    def _compute_loss(
        self, prediction_tensor: Any, target_tensor: Any, weights: Any, class_indices: Any = None
    ) -> Any:
        weights = _weights_of(weights, class_indices, tf.shape(prediction_tensor)[2])
        return losses.sigmoid_cross_entropy(prediction_tensor, target_tensor) * weights


class WeightedDiceClassificationLoss(Loss):
    """1 minus the overlap of shapes [b, points, c] with their targets, [b, c]; the weights are of points."""

    def __init__(self, squared_normalization: bool, is_prediction_probability: bool = False):
        super().__init__()
        self._squared_normalization = squared_normalization
        self.is_prediction_probability = is_prediction_probability

    def _compute_loss(
        self, prediction_tensor: Any, target_tensor: Any, weights: Any, class_indices: Any = None
    ) -> Any:
        return losses.dice(
            prediction_tensor,
            target_tensor,
            _weights_of(weights, class_indices, tf.shape(prediction_tensor)[2]),
            self._squared_normalization,
            self.is_prediction_probability,
        )


class SigmoidFocalClassificationLoss(Loss):
    """The focal loss of independent classes, [b, a, c]; so are the weights, or [b, a, 1]."""

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25):
        super().__init__()
        self._gamma, self._alpha = gamma, alpha

    def _compute_loss(
        self, prediction_tensor: Any, target_tensor: Any, weights: Any, class_indices: Any = None
    ) -> Any:
        weights = _weights_of(weights, class_indices, tf.shape(prediction_tensor)[2])
        return losses.sigmoid_focal(prediction_tensor, target_tensor, self._gamma, self._alpha) * weights


class PenaltyReducedLogisticFocalLoss(Loss):
    """The focal loss of heatmaps, of the shape of the predictions; so are the weights, or 1 in the last dimension."""

    def __init__(self, alpha: float = 2.0, beta: float = 4.0, sigmoid_clip_value: float = 1e-4):
        super().__init__()
        self._alpha, self._beta, self._sigmoid_clip_value = alpha, beta, sigmoid_clip_value

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        measured = losses.penalty_reduced_focal(
            prediction_tensor, target_tensor, self._alpha, self._beta, self._sigmoid_clip_value
        )
        return measured * weights


class WeightedSoftmaxClassificationLoss(Loss):
    """The cross entropy of exclusive classes, [b, a]; the weights [b, a, c] are averaged over the classes."""

    def __init__(self, logit_scale: float = 1.0):
        super().__init__()
        self._logit_scale = logit_scale

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        measured = losses.softmax_cross_entropy(prediction_tensor, target_tensor, self._logit_scale)
        return measured * tf.reduce_mean(weights, axis=2)


class WeightedSoftmaxClassificationAgainstLogitsLoss(Loss):
    """The cross entropy against targets that are logits, too, [b, a]; the weights [b, a, c] are averaged."""

    def __init__(self, logit_scale: float = 1.0):
        super().__init__()
        self._logit_scale = logit_scale

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        measured = losses.softmax_cross_entropy_with_logits(
            prediction_tensor, target_tensor, self._logit_scale
        )
        return measured * tf.reduce_mean(weights, axis=2)


class BootstrappedSigmoidClassificationLoss(Loss):
    """The cross entropy against targets corrected by the prediction, [b, a, c]; so are the weights, or [b, a, 1].

    Raises:
        TensorError: for another `bootstrap_type` than "soft" and "hard".
    """

    def __init__(self, alpha: float, bootstrap_type: str = "soft"):
        super().__init__()
        if bootstrap_type not in ("hard", "soft"):
            raise TensorError(
                f'Unrecognized bootstrap_type: must be one of "hard" or "soft"; it is {bootstrap_type}'
            )
        self._alpha, self._bootstrap_type = alpha, bootstrap_type

    def _compute_loss(self, prediction_tensor: Any, target_tensor: Any, weights: Any) -> Any:
        hard = self._bootstrap_type == "hard"
        return losses.bootstrapped_sigmoid(prediction_tensor, target_tensor, self._alpha, hard) * weights


# Hard examples


class HardExampleMiner:
    """Sums up the losses of the hardest anchors of each image only, as boxtune's HardExampleMiner chooses them.

    `loss_type` tells which losses make an anchor hard: "cls", "loc", or "both" with their weights.
    `max_negatives_per_positive` 0 leaves only `min_negatives_per_image` negatives, None all of them.
    """

    def __init__(
        self,
        num_hard_examples: int | None = 64,
        iou_threshold: float = 0.7,
        loss_type: str = "both",
        cls_loss_weight: float = 0.05,
        loc_loss_weight: float = 0.06,
        max_negatives_per_positive: float | None = None,
        min_negatives_per_image: int = 0,
    ):
        self._num_hard_examples, self._iou_threshold, self._loss_type = (
            num_hard_examples,
            iou_threshold,
            loss_type,
        )
        self._cls_loss_weight, self._loc_loss_weight = cls_loss_weight, loc_loss_weight
        self._max_negatives_per_positive = max_negatives_per_positive
        self._min_negatives_per_image = min_negatives_per_image
        self._num_positives_list: list[Any] | None = None
        self._num_negatives_list: list[Any] | None = None

    def __call__(
        self,
        location_losses: Any,
        cls_losses: Any,
        decoded_boxlist_list: Sequence[BoxList],
        match_list: Sequence[Match] | None = None,
    ) -> tuple[Any, Any]:
        """Return the sums of both losses [b, a], which may be lists of [a], over the anchors that count.

        Raises:
            TensorError: if there are not as many boxes or matches as images.
        """
        location_losses, cls_losses = tf.stack(location_losses), tf.stack(cls_losses)
        boxes = tf.stack([boxlist.get() for boxlist in decoded_boxlist_list])
        if not len(location_losses.shape) == 2 or location_losses.shape[0] != len(decoded_boxlist_list):
            raise TensorError(
                f"location_losses is {location_losses.shape} for {len(decoded_boxlist_list)} lists of boxes"
            )
        if match_list and len(match_list) != len(decoded_boxlist_list):
            raise TensorError(
                f"match_list has {len(match_list)} items for {len(decoded_boxlist_list)} lists of boxes"
            )
        localization, classification = {
            "loc": (1.0, 0.0),
            "cls": (0.0, 1.0),
            "both": (self._loc_loss_weight, self._cls_loss_weight),
        }[self._loss_type]
        miner = mining.HardExampleMiner(
            num_hard_examples=self._num_hard_examples,
            iou_threshold=self._iou_threshold,
            localization_weight=localization,
            classification_weight=classification,
            max_negatives_per_positive=self._max_negatives_per_positive if match_list else None,
            min_negatives_per_image=self._min_negatives_per_image,
        )
        matches = tf.stack([match.match_results for match in match_list]) if match_list else None
        chosen, counts = miner.choose(location_losses, cls_losses, boxes, matches)
        if matches is not None:
            matches = tf.gather(matches, chosen, batch_dims=1)
            self._num_positives_list = tf.unstack(_numbers(counts & (matches >= 0)))
            self._num_negatives_list = tf.unstack(_numbers(counts & (matches == UNMATCHED)))
        location, classes = (
            tf.reduce_sum(tf.where(counts, tf.gather(loss, chosen, batch_dims=1), 0.0))
            for loss in (location_losses, cls_losses)
        )
        return location, classes

    def summarize(self) -> None:
        """Write how many positives and negatives counted for an image, on average, to the current summary writer."""
        for name, numbers in (
            ("HardExampleMiner/NumPositives", self._num_positives_list),
            ("HardExampleMiner/NumNegatives", self._num_negatives_list),
        ):
            if numbers:
                tf.compat.v2.summary.scalar(name, tf.reduce_mean(numbers))


def _numbers(indicator: Any) -> Any:
    return tf.reduce_sum(tf.cast(indicator, tf.float32), axis=1)
