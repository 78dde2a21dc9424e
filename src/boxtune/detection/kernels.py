"""Operations that Keras does not have in a fast, or reliable, form under every backend.

On TensorFlow, batch normalization and suppression are fast only by its fused kernels, and pointwise convolutions as
matrix products; other backends use the plain form. The rest of the detection arithmetic uses `keras.ops` alone, and
does not depend on the backend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import numpy as np
from keras import ops

from boxtune.detection.boxes import iou_pairwise

_FIRST_DEPTH, _DEEPER = 5, 4
"""Suppression looks at the best 5 anchors for each box that is wanted, then at 4 times as many, and so on.

Measured: those of 2 to 6 are needed.
"""


def batch_normalization(x, gamma, beta, epsilon):
    """Normalize `x` [..., d] by its own statistics; return the result, its mean [d] and its variance [d].

    `x` may be of lower precision than the float32 of all that is [d], and so is the result.
    The variance is the unbiased one (divided by N - 1), as TensorFlow's fused kernel gives it and as the
    moving variances of the API's checkpoints were computed.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        normalized, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon)
        return normalized, mean, variance
    axes = tuple(range(len(x.shape) - 1))
    exact = ops.cast(x, gamma.dtype)
    mean, variance = ops.moments(exact, axes=axes)
    count = ops.cast(np.prod([x.shape[axis] for axis in axes]), gamma.dtype)
    normalized = _scale_and_shift(exact, gamma, beta, mean, variance, epsilon)
    return ops.cast(normalized, x.dtype), mean, variance * count / ops.maximum(count - 1, 1)


def normalize_with(x, gamma, beta, mean, variance, epsilon):
    """Normalize `x` [..., d], which may be of lower precision, with the given statistics [d]."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
        )[0]
    return ops.cast(_scale_and_shift(x, gamma, beta, mean, variance, epsilon), x.dtype)


def _scale_and_shift(x, gamma, beta, mean, variance, epsilon):
    scale = gamma * ops.rsqrt(variance + epsilon)
    return x * scale + (beta - mean * scale)


_convolutions_stay = ContextVar("_convolutions_stay", default=False)


@contextmanager
def staying_convolutions() -> Iterator[None]:
    """Have `mix_channels` be a convolution: in graphs for runtimes that keep channels elsewhere than at the end."""
    token = _convolutions_stay.set(True)
    try:
        yield
    finally:
        _convolutions_stay.reset(token)


_for_tensorflow_lite = ContextVar("_for_tensorflow_lite", default=False)


@contextmanager
def tensorflow_lite() -> Iterator[None]:
    """Have layers use the operators that TensorFlow Lite's runtimes and compilers do well: in graphs for those."""
    token = _for_tensorflow_lite.set(True)
    try:
        yield
    finally:
        _for_tensorflow_lite.reset(token)


def for_tensorflow_lite() -> bool:
    """Return whether that is so."""
    return _for_tensorflow_lite.get()


def resize_nearest(x, factor: int):
    """Return `x` [b, h, w, d] with each value repeated, as [b, factor * h, factor * w, d]; for TensorFlow."""
    import tensorflow as tf

    # By the corners of pixels: compilers for accelerators know that form best, and the values are the same.
    size = [factor * side for side in x.shape[1:3]]
    return tf.raw_ops.ResizeNearestNeighbor(
        images=x, size=size, align_corners=False, half_pixel_centers=False
    )


def mix_channels(x, kernel, bias=None):
    """Return the convolution [b, h, w, f] of `x` [b, h, w, d] by `kernel` [1, 1, d, f], plus `bias` [f] if any.

    A matrix product, except on PyTorch, which would have to move the channels to the end.
    """
    if keras.backend.backend() == "torch" or _convolutions_stay.get():
        mixed = ops.conv(x, kernel)
        return mixed if bias is None else add_bias(mixed, bias)
    rows = ops.matmul(ops.reshape(x, (-1, kernel.shape[2])), ops.reshape(kernel, kernel.shape[2:]))
    if bias is not None:
        rows = add_bias(rows, bias)
    return ops.reshape(rows, (-1, *ops.shape(x)[1:3], kernel.shape[3]))


def add_bias(x, bias):
    """Return `x` [..., d] plus `bias` [d], by the operation that TensorFlow fuses with others."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.bias_add(x, bias)
    return ops.add(x, bias)


def widens(kernel_shape) -> bool:
    """Return whether `normalized_mix` of a kernel [1, 1, d, f] is faster than a product and a normalization.

    Its cost grows with d * d, its savings with f.
    """
    *_, depth, filters = kernel_shape
    return keras.backend.backend() == "tensorflow" and depth <= 128 and filters >= 2 * depth


def normalized_mix(x, kernel, gamma, beta, epsilon):
    """Return what `batch_normalization` returns of `mix_channels(x, kernel)`, without computing that wide map.

    Mean and variance of x K follow from those of the narrow `x` [b, h, w, d]: mean(x) K, and the diagonal of K^T C K
    with the covariance C of x. So one convolution by a scaled kernel does it all, and the gradients, too, touch
    wide maps in products only. For TensorFlow and float32.
    """
    import tensorflow as tf

    # Tensors, since a custom gradient must not see variables.
    kernel, gamma, beta = tf.reshape(kernel, kernel.shape[2:]), tf.identity(gamma), tf.identity(beta)
    size = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)

    @tf.custom_gradient
    def mixed(x, kernel, gamma, beta):
        rows = tf.reshape(x, [-1, x.shape[-1]])
        # As a product with ones, which keeps all cores busy.
        mean = tf.matmul(tf.ones([1, tf.shape(rows)[0]]), rows) / size  # [1, d]
        centered = rows - mean
        spread = tf.matmul(tf.matmul(centered, centered, transpose_a=True) / size, kernel)  # C K
        variance = tf.maximum(tf.reduce_sum(kernel * spread, axis=0), 0.0)
        inverse = tf.math.rsqrt(variance + epsilon)
        scaled = kernel * (gamma * inverse)
        normalized = tf.nn.conv2d(tf.reshape(centered, tf.shape(x)), scaled[None, None], 1, "VALID")

        def gradients(slopes, *_):
            slopes = tf.reshape(slopes, [-1, slopes.shape[-1]])  # [b h w, f]
            by_rows, *by_others = _mixed_gradients(slopes, centered, kernel, gamma, spread, inverse)
            return tf.reshape(by_rows, tf.shape(x)), *by_others

        return (normalized, tf.matmul(mean, kernel)[0], variance), gradients

    normalized, mean, variance = mixed(x, kernel, gamma, beta)
    # Outside of the function with the custom gradient, so that TensorFlow fuses the convolution, the addition and the
    # activation after it.
    return tf.nn.bias_add(normalized, tf.stop_gradient(beta)), mean, variance * size / tf.maximum(size - 1, 1)


def _mixed_gradients(slopes, centered, kernel, gamma, spread, inverse):
    """Return the gradients of `normalized_mix` by the rows of `x` [n, d], the kernel [d, f], gamma and beta [f].

    `slopes` [n, f] are those by its result; `spread` [d, f] is the covariance of `centered` [n, d] times the kernel,
    `inverse` [f] one over the standard deviation.
    """
    import tensorflow as tf

    size = tf.cast(tf.shape(centered)[0], centered.dtype)
    # The column of ones computes the sums of the slopes in the same product.
    with_ones = tf.pad(centered, [[0, 0], [0, 1]], constant_values=1.0)
    products = tf.matmul(with_ones, slopes, transpose_a=True)
    by_scaled, by_beta = products[:-1], products[-1]
    by_gamma = inverse * tf.reduce_sum(kernel * by_scaled, axis=0)
    scale = gamma * inverse
    by_kernel = scale * (by_scaled - spread * (inverse * by_gamma))
    through_variance = tf.matmul(kernel * (scale * inverse * by_gamma / size), kernel, transpose_b=True)
    through_mean = tf.linalg.matvec(kernel, scale * by_beta / size)
    through_statistics = tf.nn.bias_add(tf.matmul(centered, through_variance), through_mean)
    return (
        tf.matmul(slopes, scale * kernel, transpose_b=True) - through_statistics,
        by_kernel,
        by_gamma,
        by_beta,
    )


def half_sum_of_squares(x):
    """Return half the sum of the squares of `x`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.l2_loss(x)
    return 0.5 * ops.sum(ops.square(x))


def greedy_suppression(boxes, scores, *, limit, iou_threshold, score_threshold, soft_sigma=0.0):
    """Keep the best boxes of each class that overlap no better one.

    Args:
        boxes: float [b, a, 4], or [b, c, a, 4] where each class has boxes of its own.
        scores: float [b, c, a].
        limit: the most boxes to keep of a class: k.
        iou_threshold: a box that overlaps a kept one by more than this is dropped.
        score_threshold: boxes that do not score above this are dropped.
        soft_sigma: if above 0, boxes lose score by a Gaussian of their overlap instead of being dropped by
            `iou_threshold` (Soft-NMS, Bodla et al. 2017, arXiv:1704.04503; sigma as TensorFlow counts it).

    Returns:
        indices int32 [b, c, k], scores float [b, c, k] in descending order, and valid bool [b, c, k]; past the
        last kept box the indices and the scores are 0.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    suppress = _greedy_suppression_tensorflow if on_tensorflow else _greedy_suppression_plain
    return suppress(boxes, scores, limit, iou_threshold, score_threshold, soft_sigma)


def enough_of_greedy_suppression(boxes, scores, *, enough, counts=None, limit, **options):
    """Return what `greedy_suppression` does, of which boxes that score less than `enough` others may be missing.

    Where classes are many, that saves most of the time.

    Args:
        boxes: as `greedy_suppression` takes them, and likewise what is not named here.
        scores: float [b, a, c], as detectors predict them.
        enough: how many boxes of an image are wanted, of all classes together.
        counts: bool, the shape of `boxes` without its last axis: which boxes count as one of these; None for all.
    """
    # One class is through before it is found out what it could be spared.
    spares = keras.backend.backend() == "tensorflow" and limit * scores.shape[2] > enough
    if spares:
        return _enough_of_greedy_suppression(boxes, scores, enough, counts, limit=limit, **options)
    return greedy_suppression(boxes, ops.transpose(scores, (0, 2, 1)), limit=limit, **options)


def _greedy_suppression_tensorflow(boxes, scores, limit, iou_threshold, score_threshold, soft_sigma):
    import tensorflow as tf

    images, num_classes = tf.shape(scores)[0], scores.shape[1]
    floors = tf.fill([images], score_threshold)
    rows = tf.range(images * num_classes)
    kept = _suppressed_rows(boxes, scores, rows, floors, limit, iou_threshold, soft_sigma)
    return [tf.reshape(part, [-1, num_classes, limit]) for part in kept]


def _suppressed_rows(boxes, scores, rows, floors, limit, iou_threshold, soft_sigma):
    """Return what TensorFlow's kernel keeps of some classes of some images: indices, scores and valid, each [n, k].

    Args:
        boxes: as `greedy_suppression` takes them, and likewise what is not named here.
        scores: float [b, c, a].
        rows: int32 [n], each c * (number of the image) + (number of the class).
        floors: float [b]: boxes of an image that do not score above this are dropped.
    """
    import tensorflow as tf

    num_classes, shared = scores.shape[1], len(boxes.shape) == 3
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)

    def one_class(row):
        image, number = row // num_classes, row % num_classes
        indices, kept_scores, count = tf.raw_ops.NonMaxSuppressionV5(
            boxes=boxes[image] if shared else boxes[image, number],
            scores=scores[image, number],
            max_output_size=limit,
            iou_threshold=iou_threshold,
            score_threshold=floors[image],
            soft_nms_sigma=soft_sigma,
            pad_to_max_output_size=True,
        )
        return indices, kept_scores, tf.range(limit) < count

    return tf.map_fn(
        one_class,
        rows,
        fn_output_signature=tuple(tf.TensorSpec([limit], dtype) for dtype in (tf.int32, tf.float32, tf.bool)),
    )


def _enough_of_greedy_suppression(
    boxes, scores, enough, counts, *, limit, iou_threshold, score_threshold, soft_sigma=0.0
):
    """Suppress among the best anchors, above the score of all others; among more of them until `enough` are found.

    A box is kept or dropped, and loses score, by boxes that score more than itself. So what is kept above some score
    does not depend on the boxes below it; and if it is enough, those below could only come after it.
    """
    import tensorflow as tf

    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    images, anchors, num_classes = ops.shape(scores)
    best = tf.reduce_max(scores, axis=2)  # [b, a]
    best = tf.where(tf.math.is_nan(best), np.inf, best)  # of such an anchor other classes may have a score
    everything = tf.fill([images], score_threshold)

    def go_deeper(depth, is_done, *kept):
        depth = tf.minimum(depth, anchors)
        values, chosen = tf.math.top_k(best, depth, sorted=False)  # [b, d]
        chosen = tf.sort(chosen)  # of equal scores the kernel takes the first
        lowest = tf.maximum(tf.reduce_min(values, axis=1), everything)
        floors = tf.where(depth < anchors, lowest, everything)
        chosen_scores = tf.transpose(tf.gather(scores, chosen, batch_dims=1), (0, 2, 1))  # [b, c, d]
        has_candidates = tf.reduce_any(chosen_scores > floors[:, None, None], axis=2)
        rows = tf.where(tf.reshape(has_candidates & ~is_done[:, None], [-1]))[:, 0]
        rows = tf.cast(rows, tf.int32)
        indices, *found = _suppressed_rows(
            tf.gather(boxes, chosen, axis=-2, batch_dims=1),
            chosen_scores, rows, floors, limit, iou_threshold, soft_sigma,
        )  # fmt: skip
        indices = tf.gather(tf.gather(chosen, rows // num_classes), indices, batch_dims=1)
        indices = tf.where(found[1], indices, 0)
        # Rows that had candidates before have them now, so nothing of the last round remains.
        indices, kept_scores, valid = (
            tf.tensor_scatter_nd_update(old, rows[:, None], new)
            for old, new in zip(kept, (indices, *found), strict=True)
        )
        number = _number_that_count(indices, valid, counts, images, num_classes)
        is_done = (number >= enough) | (floors <= everything) | (depth >= anchors)
        is_done = tf.ensure_shape(is_done, scores.shape[:1])
        return depth * _DEEPER, is_done, indices, kept_scores, valid

    nothing = [tf.zeros([images * num_classes, limit], dtype) for dtype in (tf.int32, tf.float32, tf.bool)]
    _, _, *kept = tf.while_loop(
        lambda depth, is_done, *kept: ~tf.reduce_all(is_done),
        go_deeper,
        (_FIRST_DEPTH * enough, tf.zeros([images], tf.bool), *nothing),
    )
    return [tf.reshape(part, [-1, num_classes, limit]) for part in kept]


def _number_that_count(indices, valid, counts, images, num_classes):
    """Return how many of the kept boxes of each image count, int32 [b].

    `indices` and `valid` are [b * c, k], `counts` as `enough_of_greedy_suppression` takes it.
    """
    import tensorflow as tf

    if counts is not None:
        rows = tf.range(images * num_classes)
        rows = rows // num_classes if len(counts.shape) == 2 else rows
        anchors = tf.shape(counts)[-1]
        valid &= tf.gather(tf.reshape(counts, [-1]), indices + rows[:, None] * anchors)
    return tf.reduce_sum(tf.reshape(tf.cast(valid, tf.int32), [images, -1]), axis=1)


def _greedy_suppression_plain(boxes, scores, limit, iou_threshold, score_threshold, soft_sigma):
    removed = -1.0
    boxes, scores, shared = ops.convert_to_tensor(boxes), ops.convert_to_tensor(scores), len(boxes.shape) == 3
    indices_of_all, ranks = ops.arange(scores.shape[2], dtype="int32"), ops.arange(limit, dtype="int32")

    def keep_the_best(rank, state):
        remaining, indices, kept = state
        best = ops.cast(ops.argmax(remaining, axis=-1), "int32")  # [b, c]
        # Boxes of their own for each class, or the same for all.
        index = best[:, :, None] if shared else best[:, :, None, None]
        overlap = iou_pairwise(
            ops.take_along_axis(boxes, index, axis=-2), boxes
        )  # [b, c, a], or [b, c, 1, a]
        overlap = overlap if shared else overlap[:, :, 0]
        if soft_sigma > 0:
            decayed = remaining * ops.exp(-0.5 * overlap**2 / soft_sigma)
            survives = (decayed > score_threshold) & (remaining > removed)
        else:
            decayed, survives = remaining, overlap <= iou_threshold
        is_best, is_rank = indices_of_all == best[:, :, None], ranks == rank
        return (
            ops.where(survives & ~is_best, decayed, removed),
            ops.where(is_rank, best[:, :, None], indices),
            ops.where(is_rank, ops.max(remaining, axis=-1, keepdims=True), kept),
        )

    # A loop of the backend: unrolled, it would take XLA minutes to compile.
    none = ops.repeat(ops.zeros_like(scores[:, :, :1]), limit, axis=2)  # [b, c, k]
    candidates = ops.where(scores > score_threshold, scores, removed)
    _, indices, kept = ops.fori_loop(0, limit, keep_the_best, (candidates, ops.cast(none, "int32"), none))
    valid = kept > removed
    return [ops.where(valid, indices, 0), ops.where(valid, kept, 0.0), valid]


def best_class(scores):
    """Return the index of the highest of scores [..., c], the first of equals, int32 [...].

    Keras's own tells -0.0 from 0.0 by their bits on TensorFlow, which no other runtime of exported models can.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.argmax(scores, axis=-1, output_type="int32")
    return ops.cast(ops.argmax(scores, axis=-1), "int32")


def highest(scores, count):
    """Return the `count` highest of `scores` [b, a] in descending order, and their indices, int32 [b, count].

    Equal scores keep their order: PyTorch's own operation does not guarantee that, so there it sorts instead.
    """
    if keras.backend.backend() != "torch":
        return ops.top_k(scores, count)
    order = ops.argsort(-scores, axis=-1)[:, :count]
    return ops.take_along_axis(scores, order, axis=1), order
