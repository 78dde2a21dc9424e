"""Losses of single predictions; weights, sums and normalisation are their callers' business."""

from keras import ops


def smooth_l1(predictions, targets, delta=1.0):
    """Return the Huber loss [..., a] of codes [..., a, d], summed over d.

    Quadratic up to an error of `delta`, linear beyond. Source: Girshick 2015 (Fast R-CNN, arXiv:1504.08083),
    eq. 3; the API's WeightedSmoothL1LocalizationLoss.
    """
    error = ops.abs(predictions - targets)
    quadratic = ops.minimum(error, delta)
    return ops.sum(0.5 * quadratic * quadratic + delta * (error - quadratic), axis=-1)


def sigmoid_cross_entropy(logits, targets):
    """Return the cross entropy [..., c] of independent classes of probability sigmoid(`logits`) [..., c]."""
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def sigmoid_focal(logits, targets, gamma=2.0, alpha=None):
    """Return the focal loss [..., c]: cross entropy that fades where the prediction is already right.

    `gamma` is how fast it fades; `alpha` weighs positives against negatives (None: both 1).
    Source: Lin et al. 2017 (arXiv:1708.02002), eq. 5; the API's SigmoidFocalClassificationLoss.
    """
    probability = ops.sigmoid(logits)
    miss = targets * (1 - probability) + (1 - targets) * probability
    loss = sigmoid_cross_entropy(logits, targets)
    if gamma == 2.0:
        loss = miss * miss * loss
    elif gamma:
        loss = ops.power(miss, gamma) * loss
    if alpha is None:
        return loss
    return loss * (targets * alpha + (1 - targets) * (1 - alpha))


def softmax_cross_entropy(logits, targets, logit_scale=1.0):
    """Return the cross entropy [...] of exclusive classes: softmax(`logits` [..., c] / scale)."""
    return -ops.sum(targets * ops.log_softmax(logits / logit_scale, axis=-1), axis=-1)
