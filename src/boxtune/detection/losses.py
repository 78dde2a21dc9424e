"""Losses of single predictions; the callers weigh, sum and normalize them."""

from keras import ops

from boxtune.detection.boxes import giou, iou
from boxtune.detection.gradients import with_slope

_LEAST_PROBABILITY = 1e-4  # of a heatmap, whose logarithm is taken
_SMALLEST = 1e-12  # divisor


def smooth_l1(predictions, targets, delta=1.0):
    """Return the Huber loss [..., a] of encodings [..., a, d], summed over d.

    Quadratic up to an error of `delta`, linear beyond. Source: Girshick 2015 (Fast R-CNN, arXiv:1504.08083),
    eq. 3; the API's WeightedSmoothL1LocalizationLoss.
    """
    error = ops.abs(predictions - targets)
    quadratic = ops.minimum(error, delta)
    return ops.sum(0.5 * ops.square(quadratic) + delta * (error - quadratic), axis=-1)


def squared_error(predictions, targets):
    """Return half the squared error [..., a] of encodings [..., a, d], summed over d.

    Source: the API's WeightedL2LocalizationLoss.
    """
    return 0.5 * ops.sum(ops.square(predictions - targets), axis=-1)


def absolute_error(predictions, targets):
    """Return the absolute error [...] of each number of `predictions` [...]. Source: the API's L1LocalizationLoss."""
    return ops.abs(predictions - targets)


def iou_loss(predictions, targets):
    """Return 1 minus the IoU [..., a] of boxes [..., a, 4].

    Source: Yu et al. 2016 (arXiv:1608.01471); the API's WeightedIOULocalizationLoss.
    """
    return 1 - iou(predictions, targets)


def giou_loss(predictions, targets):
    """Return 1 minus the generalized IoU [..., a] of boxes [..., a, 4], from 0 to 2.

    Source: Rezatofighi et al. 2019 (arXiv:1902.09630), algorithm 1; the API's WeightedGIOULocalizationLoss.
    """
    return 1 - giou(predictions, targets)


def sigmoid_cross_entropy(logits, targets):
    """Return the cross entropy [..., c] of independent classes with probabilities sigmoid(`logits`) [..., c]."""
    return with_slope(_cross_entropy(logits, targets), logits, ops.sigmoid(logits) - targets)


def sigmoid_focal(logits, targets, gamma=2.0, alpha=None):
    """Return the focal loss [..., c]: cross entropy reduced where the prediction is already right.

    `gamma` is how strongly; `alpha` weighs positives against negatives (None: both 1).
    Source: Lin et al. 2017 (arXiv:1708.02002), eq. 5; the API's SigmoidFocalClassificationLoss.
    """
    probability = ops.sigmoid(logits)
    flipped = 1 - 2 * targets
    miss = targets + flipped * probability
    entropy = _cross_entropy(logits, targets)
    weight = 1.0 if alpha is None else targets * alpha + (1 - targets) * (1 - alpha)
    fading = weight * _power(miss, gamma)
    slope = fading * (probability - targets)
    if gamma:
        growing = flipped * probability * (1 - probability)  # of the miss
        slope = slope + weight * gamma * _power(miss, gamma - 1) * growing * entropy
    return with_slope(fading * entropy, logits, slope)


def _cross_entropy(logits, targets):
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def _power(base, exponent):
    """Return `base`, from 0 to 1, to a power, cheaply for the usual gamma."""
    if exponent in (0, 1, 2):
        return (1.0, base, ops.square(base))[int(exponent)]
    return ops.power(ops.maximum(base, 1e-12), exponent)


def softmax_cross_entropy(logits, targets, logit_scale=1.0):
    """Return the cross entropy [...] of exclusive classes: softmax(`logits` [..., c] / scale)."""
    return -ops.sum(targets * ops.log_softmax(logits / logit_scale, axis=-1), axis=-1)


def softmax_cross_entropy_with_logits(logits, target_logits, logit_scale=1.0):
    """Return the cross entropy [...] of exclusive classes whose targets are logits [..., c] as well.

    Both are divided by `logit_scale`. Source: the API's WeightedSoftmaxClassificationAgainstLogitsLoss.
    """
    return softmax_cross_entropy(logits, ops.softmax(target_logits / logit_scale, axis=-1), logit_scale)


def bootstrapped_sigmoid(logits, targets, alpha, hard=False):
    """Return the cross entropy [..., c] against targets corrected by the prediction.

    These are `alpha` times the given ones and 1 - `alpha` times the predicted probability, or with `hard` the predicted
    class, 0 or 1. Source: Reed et al. 2014 (arXiv:1412.6596), eqs. 5 and 6; the API's
    BootstrappedSigmoidClassificationLoss.
    """
    probability = ops.sigmoid(logits)
    predicted = ops.cast(probability > 0.5, "float32") if hard else probability
    mixed = alpha * targets + (1 - alpha) * predicted
    slope = probability - mixed
    if not hard:  # the corrected targets depend on the prediction
        slope = slope - logits * (1 - alpha) * probability * (1 - probability)
    return with_slope(_cross_entropy(logits, mixed), logits, slope)


def penalty_reduced_focal(logits, targets, alpha=2.0, beta=4.0, least_probability=_LEAST_PROBABILITY):
    """Return the focal loss [...] of a heatmap: 1 at the centres of objects, and less around them.

    `alpha` reduces the loss where the prediction is right, `beta` near a centre.
    Probabilities are kept `least_probability` away from 0 and 1. Source: Zhou et al. 2019 (CenterNet,
    arXiv:1904.07850), eq. 1; the API's PenaltyReducedLogisticFocalLoss.
    """
    is_center = targets == 1
    probability = ops.sigmoid(logits)
    clipped = ops.clip(probability, least_probability, 1 - least_probability)
    right = ops.where(is_center, clipped, 1 - clipped)
    wrong = ops.where(is_center, 1 - clipped, clipped)
    weight = ops.where(is_center, 1.0, ops.power(1 - targets, beta))
    value = -weight * ops.power(wrong, alpha) * ops.log(right)
    # By the probability of the right answer, whose derivative by the logit is p (1 - p) at a centre, else minus that.
    slope = weight * (alpha * ops.power(wrong, alpha - 1) * ops.log(right) - ops.power(wrong, alpha) / right)
    moves = ops.where(is_center, 1.0, -1.0) * probability * (1 - probability)
    return with_slope(value, logits, slope * ops.where(clipped == probability, moves, 0.0))


def dice(logits, targets, weights, squared_normalization=False, are_probabilities=False):
    """Return 1 minus the overlap [..., c] of predicted and target shapes, each [..., a, c].

    Args:
        logits: of each point of a shape.
        targets: 1 where the shape is, else 0.
        weights: of each point, [..., a, c].
        squared_normalization: square the probabilities and targets.
        are_probabilities: `logits` are probabilities.

    Source: Milletari et al. 2016 (V-Net, arXiv:1606.04797), section 3; the API's WeightedDiceClassificationLoss.
    """
    predicted = logits if are_probabilities else ops.sigmoid(logits)
    if squared_normalization:
        predicted, targets = ops.square(predicted), ops.square(targets)
    predicted, targets = predicted * weights, targets * weights
    sizes = ops.sum(predicted, axis=-2) + ops.sum(targets, axis=-2)
    return 1 - 2 * ops.sum(predicted * targets, axis=-2) / ops.maximum(sizes, _SMALLEST)


def smooth_independent(targets, amount):
    """Smooth the targets [..., c] of independent classes by `amount` in [0, 1).

    1 becomes 1 - amount / 2, and 0 becomes amount / 2, so no logit has to grow without limit. Source: Zhang et al.
    2019 (arXiv:1902.04103), section 3.2, for sigmoids.
    """
    return targets * (1 - amount) + amount / 2


def smooth_exclusive(targets, amount):
    """Smooth targets [..., c] that sum to 1: take the fraction `amount` in [0, 1), and spread it evenly over all c.

    Source: Szegedy et al. 2015 (arXiv:1512.00567), section 7.
    """
    return targets * (1 - amount) + amount / targets.shape[-1]
