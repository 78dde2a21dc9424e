"""Losses of single predictions; weights, sums and normalisation are their callers' business."""

from keras import ops


def smooth_l1(predictions, targets, delta=1.0):
    """Return the Huber loss [..., a] of codes [..., a, d], summed over d.

    Quadratic up to an error of `delta`, linear beyond. Source: Girshick 2015 (Fast R-CNN, arXiv:1504.08083),
    eq. 3; the API's WeightedSmoothL1LocalizationLoss.
    """
    error = ops.abs(predictions - targets)
    quadratic = ops.minimum(error, delta)
    return ops.sum(0.5 * ops.square(quadratic) + delta * (error - quadratic), axis=-1)


def sigmoid_cross_entropy(logits, targets):
    """Return the cross entropy [..., c] of independent classes of probability sigmoid(`logits`) [..., c]."""
    return _with_slope(_cross_entropy(logits, targets), logits, ops.sigmoid(logits) - targets)


def sigmoid_focal(logits, targets, gamma=2.0, alpha=None):
    """Return the focal loss [..., c]: cross entropy that fades where the prediction is already right.

    `gamma` is how fast it fades; `alpha` weighs positives against negatives (None: both 1).
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
    return _with_slope(fading * entropy, logits, slope)


def _cross_entropy(logits, targets):
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def _power(base, exponent):
    """Return `base`, from 0 to 1, to a power; the powers of the usual gamma are cheap."""
    if exponent in (0, 1, 2):
        return (1.0, base, ops.square(base))[int(exponent)]
    return ops.power(ops.maximum(base, 1e-12), exponent)


def _with_slope(value, x, slope):
    """Return `value`, whose derivative by `x` is `slope`: one pass instead of one for each use of `x`.

    The tape's sum over several uses takes their order from when each is done, so it need not repeat to the last bit.
    """
    return ops.stop_gradient(value) + (x - ops.stop_gradient(x)) * ops.stop_gradient(slope)


def softmax_cross_entropy(logits, targets, logit_scale=1.0):
    """Return the cross entropy [...] of exclusive classes: softmax(`logits` [..., c] / scale)."""
    return -ops.sum(targets * ops.log_softmax(logits / logit_scale, axis=-1), axis=-1)


def smooth_independent(targets, amount):
    """Take `amount` in [0, 1) from the certainty of targets [..., c] that exclude nothing: half of it is doubt.

    1 becomes 1 - amount / 2, and 0 amount / 2: no logit has to grow for ever. Source: Zhang et al. 2019
    (arXiv:1902.04103), section 3.2, for sigmoids.
    """
    return targets * (1 - amount) + amount / 2


def smooth_exclusive(targets, amount):
    """Take `amount` in [0, 1) from the certainty of targets [..., c] that sum to 1, and share it among all c.

    Source: Szegedy et al. 2015 (arXiv:1512.00567), section 7.
    """
    return targets * (1 - amount) + amount / targets.shape[-1]
