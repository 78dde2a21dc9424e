"""Changes of one training image and its objects, at random, by functions of tensors.

`boxtune train` has the same steps on whole samples (`boxtune.data.augmentation`), from whose arithmetic these take what
does not depend on the type of the image: here images keep their type, usually float32 in [0, 255], and any number of
channels.

Images are [h, w, d]. Objects have boxes float32 [n, 4], `[ymin, xmin, ymax, xmax]` in fractions of the image, labels
[n], label_weights and label_confidences float32 [n], multiclass_scores float32 [n, c], masks float32 [n, h, w],
keypoints float32 [n, p, 2], (y, x), NaN where not visible, and keypoint_visibilities bool [n, p]. A function returns
those that it was given, changed, in the order of its arguments. `seed` is that of TensorFlow's random operations;
`preprocess_vars_cache` keeps what was drawn, so that another call with it does the same.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow.compat.v1 as tf

from boxtune.config import pipeline_pb2
from boxtune.data import geometry
from boxtune.data.augmentation import colors, crops, objects, policies, steps
from boxtune.data.augmentation.whole_image import scaled
from boxtune.data.resize import size_at_least, size_at_most, size_in_range
from object_detection.core import box_list_ops, keypoint_ops
from object_detection.core.box_list import BoxList
from object_detection.core.preprocessor_cache import PreprocessorCache
from object_detection.core.standard_fields import InputDataFields
from object_detection.utils import ops
from object_detection.utils.ops import TensorError

Cache = PreprocessorCache | None
Pair = tuple[float, float]

_WHOLE = (0.0, 0.0, 1.0, 1.0)  # an image, as a box of itself
_EPSILON = 1e-5


# ---------------------------------------------------------------------------------------------- random numbers


def _uniform(low: Any = 0.0, high: Any = 1.0, shape: Any = (), seed: int | None = None) -> Any:
    return tf.random.uniform(shape, low, high, seed=seed)


def _random_integer(minval: Any, maxval: Any, seed: int | None) -> Any:
    """Return an int32 in [`minval`, `maxval`), or `minval` where nothing lies between them."""
    minval, maxval = tf.cast(minval, tf.int32), tf.cast(maxval, tf.int32)
    return tf.random.uniform([], minval, tf.maximum(maxval, minval + 1), tf.int32, seed)


def _get_or_create_preprocess_rand_vars(
    generator_func: Callable[[], Any], function_id: str, preprocess_vars_cache: Cache, key: Any = ""
) -> Any:
    """Return what is kept in the cache, or else what the function draws, which is kept then."""
    if preprocess_vars_cache is None:
        return generator_func()
    drawn = preprocess_vars_cache.get(function_id, key)
    if drawn is None:
        drawn = generator_func()
        preprocess_vars_cache.update(function_id, key, drawn)
    return drawn


def _perhaps(
    is_chosen: Any, change: Callable[[dict[str, Any]], dict[str, Any]], sample: dict[str, Any]
) -> tuple[Any, ...]:
    return _cond(is_chosen, lambda: tuple(change(sample).values()), lambda: tuple(sample.values()))


def _cond(is_so: Any, change: Callable[[], Any], leave: Callable[[], Any]) -> Any:
    """Return what one of two functions does; a tuple of one tensor remains a tuple."""
    return tf.cond(is_so, change, leave, strict=True)


# ---------------------------------------------------------------------------------------------- samples


def _sample(**tensors: Any) -> dict[str, Any]:
    """Return those tensors that there are, by name, in order."""
    return {name: tf.convert_to_tensor(value) for name, value in tensors.items() if value is not None}


def _take(sample: dict[str, Any], indices: Any) -> dict[str, Any]:
    """Return a sample with some of its objects only."""
    return {name: value if name == "image" else tf.gather(value, indices) for name, value in sample.items()}


def _to_frame(sample: dict[str, Any], window: Any) -> dict[str, Any]:
    """Return a sample with boxes and keypoints in the frame of a window [4] of the image."""
    moved = dict(sample)
    if "boxes" in sample:
        moved["boxes"] = box_list_ops.change_coordinate_frame(BoxList(sample["boxes"]), window).get()
    if "keypoints" in sample:
        moved["keypoints"] = keypoint_ops.change_coordinate_frame(sample["keypoints"], window)
    return moved


def _crop(
    sample: dict[str, Any],
    start: Any,
    size: Any,
    window: Any,
    overlap_thresh: float = 0.0,
    clip_boxes: bool = True,
) -> dict[str, Any]:
    """Cut out a window, and drop the objects that have too little in it.

    `start` and `size` (int32 [2]) are pixels, `window` [4] is the same in fractions.
    """
    inside, near = box_list_ops.prune_completely_outside_window(BoxList(sample["boxes"]), window)
    _, kept = box_list_ops.prune_non_overlapping_boxes(inside, BoxList([window]), overlap_thresh)
    cropped = _to_frame(_take(sample, tf.gather(near, kept)), window)
    end = start + size
    cropped["image"] = sample["image"][start[0] : end[0], start[1] : end[1]]
    cropped["image"].set_shape([None, None, sample["image"].shape[2]])
    if "masks" in cropped:
        cropped["masks"] = cropped["masks"][:, start[0] : end[0], start[1] : end[1]]
    if clip_boxes:
        cropped["boxes"] = geometry.clip(cropped["boxes"])
        if "keypoints" in cropped:
            cropped["keypoints"] = keypoint_ops.prune_outside_window(cropped["keypoints"], _WHOLE)
    if {"keypoints", "keypoint_visibilities"} <= cropped.keys():
        cropped["keypoint_visibilities"] = keypoint_ops.set_keypoint_visibilities(
            cropped["keypoints"], cropped["keypoint_visibilities"]
        )
    return cropped


def _pad(sample: dict[str, Any], start: Any, size: Any, color: Any = 0.0) -> dict[str, Any]:
    """Put the image at `start` in one of `size` (both int32 [2]), which is of one color around it."""
    image, own_size = sample["image"], steps.size_of(sample["image"])
    end = size - start - own_size
    margins = tf.stack([start, end], 1)  # [2, 2]

    def with_margins(values: Any, axis: int) -> Any:
        behind = values.shape.rank - axis - 2
        return tf.pad(values, [*[[0, 0]] * axis, *tf.unstack(margins), *[[0, 0]] * behind])

    window = tf.cast(tf.concat([-start, size - start], 0), tf.float32)
    padded = _to_frame(sample, window / tf.cast(tf.tile(own_size, [2]), tf.float32))
    is_margin = 1 - with_margins(tf.ones_like(image), 0)
    padded["image"] = with_margins(image, 0) + is_margin * tf.cast(color, image.dtype)
    if "masks" in sample:
        padded["masks"] = with_margins(sample["masks"], 1)
    return padded


def _resize(values: Any, size: Any, method: Any, align_corners: bool = False) -> Any:
    """Return images [..., h, w, d] in another size, the corners of pixels counted as in TensorFlow 1."""
    return tf.image.resize_images(values, size, method=method, align_corners=align_corners)


def _resize_masks(masks: Any, size: Any, align_corners: bool = False) -> Any:
    """Return masks [n, h, w] in another size, each pixel the nearest one."""
    resized = tf.image.resize_images(
        masks[..., None], size, method=tf.image.ResizeMethod.NEAREST_NEIGHBOR, align_corners=align_corners
    )
    return resized[..., 0]


# ---------------------------------------------------------------------------------------------- values of pixels


def normalize_image(
    image: Any, original_minval: float, original_maxval: float, target_minval: float, target_maxval: float
) -> Any:
    """Return an image (float32) whose values are brought from one range to another."""
    scale = (float(target_maxval) - target_minval) / (float(original_maxval) - original_minval)
    return (tf.cast(image, tf.float32) - original_minval) * scale + target_minval


def random_pixel_value_scale(
    image: Any,
    minval: float = 0.9,
    maxval: float = 1.1,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> Any:
    """Return an image with every value multiplied by a number of its own."""
    factors = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(minval, maxval, tf.shape(image), seed),
        PreprocessorCache.PIXEL_VALUE_SCALE,
        preprocess_vars_cache,
    )
    return tf.clip_by_value(image * factors, 0.0, 255.0)


def _rgb_to_grayscale(images: Any, name: str | None = None) -> Any:
    """Return images [..., 3] as [..., 1]."""
    images = tf.convert_to_tensor(images)
    pixels = tf.cast(images, tf.float32)
    mixed = tf.reduce_sum(pixels * tf.constant(colors.LUMA), axis=-1, keepdims=True)
    return tf.cast(mixed, images.dtype)


def rgb_to_gray(image: Any) -> Any:
    """Return an image with one channel."""
    return _rgb_to_grayscale(image)


def random_rgb_to_gray(
    image: Any, probability: float = 0.1, seed: int | None = None, preprocess_vars_cache: Cache = None
) -> Any:
    """Return an image without its colours, with a probability."""
    drawn = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(seed=seed), PreprocessorCache.RGB_TO_GRAY, preprocess_vars_cache
    )

    def gray(rgb: Any) -> Any:
        return tf.image.grayscale_to_rgb(_rgb_to_grayscale(rgb))

    return tf.cond(drawn > probability, lambda: image, lambda: _augment_only_rgb_channels(image, gray))


def _augment_only_rgb_channels(image: Any, augment_function: Callable[[Any], Any]) -> Any:
    """Return an image with its first three channels changed by a function, and the others, if any, as they are."""
    image = tf.convert_to_tensor(image)
    augmented = augment_function(image[..., :3])
    return tf.concat([augmented, image[..., 3:]], axis=-1) if image.shape[-1] > 3 else augmented


def adjust_gamma(image: Any, gamma: float = 1.0, gain: float = 1.0) -> Any:
    """Return an image with all values, as parts of 255, raised to a power and multiplied by `gain`."""
    return tf.clip_by_value(tf.image.adjust_gamma(image / 255, gamma, gain) * 255, 0.0, 255.0)


def _adjust(
    image: Any,
    adjust: Callable[[Any, Any], Any],
    low: float,
    high: float,
    function_id: str,
    seed: int | None,
    cache: Cache,
) -> Any:
    """Return an image whose colours are changed by a function of values in [0, 1] and a number drawn uniformly."""
    drawn = _get_or_create_preprocess_rand_vars(lambda: _uniform(low, high, seed=seed), function_id, cache)
    return _augment_only_rgb_channels(
        image, lambda rgb: tf.clip_by_value(adjust(rgb / 255, drawn) * 255, 0.0, 255.0)
    )


def random_adjust_brightness(
    image: Any, max_delta: float = 0.2, seed: int | None = None, preprocess_vars_cache: Cache = None
) -> Any:
    """Return an image with one number added to all values, up to `max_delta` of the whole range."""
    name = PreprocessorCache.ADJUST_BRIGHTNESS
    adjust = tf.image.adjust_brightness
    return _adjust(image, adjust, -max_delta, max_delta, name, seed, preprocess_vars_cache)


def random_adjust_contrast(
    image: Any,
    min_delta: float = 0.8,
    max_delta: float = 1.25,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> Any:
    """Return an image with the distance of all values from the mean of their channel multiplied."""
    name = PreprocessorCache.ADJUST_CONTRAST
    adjust = tf.image.adjust_contrast
    return _adjust(image, adjust, min_delta, max_delta, name, seed, preprocess_vars_cache)


def random_adjust_hue(
    image: Any, max_delta: float = 0.02, seed: int | None = None, preprocess_vars_cache: Cache = None
) -> Any:
    """Return an image with the circle of colours turned by up to `max_delta` of it."""
    name = PreprocessorCache.ADJUST_HUE
    return _adjust(image, tf.image.adjust_hue, -max_delta, max_delta, name, seed, preprocess_vars_cache)


def random_adjust_saturation(
    image: Any,
    min_delta: float = 0.8,
    max_delta: float = 1.25,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> Any:
    """Return an image with the saturation of all pixels multiplied."""
    name = PreprocessorCache.ADJUST_SATURATION
    adjust = tf.image.adjust_saturation
    return _adjust(image, adjust, min_delta, max_delta, name, seed, preprocess_vars_cache)


def random_distort_color(image: Any, color_ordering: int = 0, preprocess_vars_cache: Cache = None) -> Any:
    """Return an image with another brightness, contrast, saturation and hue, in one of two orders.

    Raises:
        TensorError: for another order than 0 and 1.
    """
    if color_ordering not in (0, 1):
        raise TensorError(f"color_ordering must be in {{0, 1}}; it is {color_ordering}")
    shared: dict[str, Any] = {"preprocess_vars_cache": preprocess_vars_cache}
    image = random_adjust_brightness(image, max_delta=32 / 255, **shared)
    if color_ordering == 1:
        image = random_adjust_contrast(image, min_delta=0.5, max_delta=1.5, **shared)
    image = random_adjust_saturation(image, min_delta=0.5, max_delta=1.5, **shared)
    image = random_adjust_hue(image, max_delta=0.2, **shared)
    if color_ordering == 0:
        image = random_adjust_contrast(image, min_delta=0.5, max_delta=1.5, **shared)
    return image


def random_black_patches(
    image: Any,
    max_black_patches: int = 10,
    probability: float = 0.5,
    size_to_image_ratio: float = 0.1,
    random_seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> Any:
    """Return an image with black squares, each with a probability, of a fraction of the shorter side."""
    size = tf.cast(steps.size_of(image), tf.float32)
    chances = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(shape=[max_black_patches], seed=random_seed),
        PreprocessorCache.BLACK_PATCHES,
        preprocess_vars_cache,
    )
    positions = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(0.0, 1.0 - size_to_image_ratio, [max_black_patches, 2], random_seed),
        PreprocessorCache.ADD_BLACK_PATCH,
        preprocess_vars_cache,
    )
    start = tf.boolean_mask(tf.cast(positions * size, tf.int32), chances <= probability)
    side = tf.cast(tf.reduce_min(size) * size_to_image_ratio, tf.int32)
    return colors.black_squares(image, start, side)


def random_jpeg_quality(
    image: Any,
    min_jpeg_quality: int = 0,
    max_jpeg_quality: int = 100,
    random_coef: float = 0.0,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> Any:
    """Return an image compressed with a random quality; as it is with the probability `random_coef`."""
    image = tf.convert_to_tensor(image)

    def compressed() -> Any:
        quality = _get_or_create_preprocess_rand_vars(
            lambda: _random_integer(min_jpeg_quality, max_jpeg_quality, seed),
            PreprocessorCache.JPEG_QUALITY,
            preprocess_vars_cache,
            "quality",
        )
        compressed = tf.image.adjust_jpeg_quality(tf.cast(image, tf.uint8), quality)
        return tf.ensure_shape(tf.cast(compressed, image.dtype), image.shape)

    return _unless(
        random_coef, compressed, image, PreprocessorCache.JPEG_QUALITY, seed, preprocess_vars_cache
    )


def _unless(
    random_coef: float, change: Callable[[], Any], unchanged: Any, function_id: str, seed: Any, cache: Cache
) -> Any:
    """Return what `change` does, except with the probability `random_coef`."""
    if random_coef < _EPSILON:
        return change()
    drawn = _get_or_create_preprocess_rand_vars(lambda: _uniform(seed=seed), function_id, cache)
    return _cond(drawn > random_coef, _outside(change, cache), lambda: unchanged)


def _outside(change: Callable[[], Any], cache: Cache) -> Callable[[], Any]:
    """Return a branch of a graph that does what `change` does; with a cache, outside of the branch.

    What is drawn within a branch could not be used by another call.
    """
    if cache is None:
        return change
    changed = change()
    return lambda: changed


def random_patch_gaussian(
    image: Any,
    min_patch_size: int = 1,
    max_patch_size: int = 250,
    min_gaussian_stddev: float = 0.0,
    max_gaussian_stddev: float = 1.0,
    random_coef: float = 0.0,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> Any:
    """Return an image with normal noise in a square around a pixel; as it is with the probability `random_coef`."""
    image = tf.convert_to_tensor(image)
    name = PreprocessorCache.PATCH_GAUSSIAN

    def noisy() -> Any:
        height, width = tf.unstack(steps.size_of(image))
        side, row, column = _get_or_create_preprocess_rand_vars(
            lambda: (
                _random_integer(min_patch_size, max_patch_size, seed),
                _random_integer(0, height, seed),
                _random_integer(0, width, seed),
            ),
            name,
            preprocess_vars_cache,
            "patch",
        )
        start, end = colors.square(image, row, column, side)
        noise = _get_or_create_preprocess_rand_vars(
            lambda: (
                tf.random.normal(tf.shape(image), seed=seed)
                * _uniform(min_gaussian_stddev, max_gaussian_stddev, seed=seed)
            ),
            name,
            preprocess_vars_cache,
            "noise",
        )
        patch = (slice(start[0], end[0]), slice(start[1], end[1]))
        changed = tf.clip_by_value(tf.cast(image[patch], tf.float32) + 255 * noise[patch], 0.0, 255.0)
        return tf.ensure_shape(
            steps.paste(image, tf.cast(changed, image.dtype), start[0], start[1]), image.shape
        )

    return _unless(random_coef, noisy, image, name, seed, preprocess_vars_cache)


def autoaugment_image(image: Any, boxes: Any, policy_name: str = "v0") -> tuple[Any, Any]:
    """Return an image and boxes changed by one of the sub-policies of a policy of AutoAugment.

    An object that has left the image keeps its place, with an empty box at the top left.
    """
    image, boxes = tf.convert_to_tensor(image), tf.convert_to_tensor(boxes)
    step = policies.autoaugment_image(pipeline_pb2.AutoAugmentImage(policy_name=policy_name))
    numbers = tf.range(tf.shape(boxes)[0])
    sample = {"image": tf.cast(image, tf.uint8), "boxes": boxes, "classes": numbers}
    seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
    changed = step(sample, seed)
    left = tf.scatter_nd(changed["classes"][:, None], changed["boxes"], tf.shape(boxes))
    return tf.cast(changed["image"], image.dtype), left


def image_to_float(image: Any) -> Any:
    """Return an image as float32, its values as they are."""
    return tf.cast(image, tf.float32)


def subtract_channel_mean(image: Any, means: Sequence[float] | None = None) -> Any:
    """Return an image with a number subtracted from each channel.

    Raises:
        TensorError: unless there is one for each.
    """
    if image.shape.rank != 3:
        raise TensorError("Input must be of size [height, width, channels]")
    if means is None or len(means) != image.shape[-1]:
        raise TensorError(
            f"len(means) must match the number of channels; means is {means}, the image {image.shape}"
        )
    return image - tf.constant(list(means), image.dtype)


# ---------------------------------------------------------------------------------------------- labels


def retain_boxes_above_threshold(
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    threshold: float = 0.0,
) -> list[Any]:
    """Return the objects whose weight is above a threshold, or NaN."""
    kept = tf.where((label_weights > threshold) | tf.is_nan(label_weights))[:, 0]
    sample = _sample(
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        keypoints=keypoints,
    )
    return list(_take(sample, kept).values())


def drop_label_probabilistically(
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    dropped_label: int | None = None,
    drop_probability: float = 0.0,
    seed: int | None = None,
) -> list[Any]:
    """Return the objects without some of one label, each of which is dropped with a probability."""
    sample = _sample(
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        keypoints=keypoints,
    )
    is_spared = _uniform(shape=tf.shape(sample["labels"]), seed=seed) > drop_probability
    kept = tf.where(tf.not_equal(sample["labels"], dropped_label) | is_spared)[:, 0]
    return list(_take(sample, kept).values())


def remap_labels(
    labels: Any, original_labels: Sequence[int] | None = None, new_label: int | None = None
) -> Any:
    """Return labels with one label in place of some others."""
    labels = tf.convert_to_tensor(labels)
    for original in original_labels or ():
        labels = tf.where(
            tf.equal(labels, original), tf.fill(tf.shape(labels), tf.cast(new_label, labels.dtype)), labels
        )
    return labels


def one_hot_encoding(labels: Any, num_classes: int | None = None) -> Any:
    """Return int32 [num_classes], 1 for the classes among labels [n]; raise TensorError without a number."""
    if num_classes is None:
        raise TensorError("num_classes must be set; it is the length of the result")
    return tf.reduce_max(tf.one_hot(labels, num_classes, 1, 0), axis=0)


def convert_class_logits_to_softmax(multiclass_scores: Any, temperature: float = 1.0) -> Any:
    """Return the probabilities of logits [n, c], which are divided by a temperature."""
    return tf.nn.softmax(multiclass_scores / temperature)


# ---------------------------------------------------------------------------------------------- flips and turns


_flip_boxes_left_right = geometry.flip_left_right
_flip_boxes_up_down = geometry.flip_up_down
_rot90_boxes = geometry.rotate_90


def _flip_masks_left_right(masks: Any) -> Any:
    return masks[:, :, ::-1]


def _flip_masks_up_down(masks: Any) -> Any:
    return masks[:, ::-1, :]


def _rot90_masks(masks: Any) -> Any:
    return tf.transpose(masks, [0, 2, 1])[:, ::-1, :]


def _permuted(values: Any, permutation: Sequence[int] | None) -> Any:
    return values if permutation is None else tf.gather(values, permutation, axis=1)


def random_horizontal_flip(
    image: Any,
    boxes: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    keypoint_visibilities: Any = None,
    densepose_part_ids: Any = None,
    densepose_surface_coords: Any = None,
    keypoint_depths: Any = None,
    keypoint_depth_weights: Any = None,
    keypoint_flip_permutation: Sequence[int] | None = None,
    probability: float = 0.5,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return image and objects mirrored left and right with a probability.

    `keypoint_flip_permutation` is the new order of keypoints, which exchanges left and right ones.

    Raises:
        TensorError: for DensePose.
    """
    _refuse_densepose(densepose_part_ids, densepose_surface_coords)
    permutation = keypoint_flip_permutation

    def flip(sample: dict[str, Any]) -> dict[str, Any]:
        flips = {
            "image": tf.image.flip_left_right,
            "boxes": _flip_boxes_left_right,
            "masks": _flip_masks_left_right,
            "keypoints": lambda values: keypoint_ops.flip_horizontal(values, 0.5, permutation),
        }
        others = lambda values: _permuted(values, permutation)  # noqa: E731
        return {name: flips.get(name, others)(value) for name, value in sample.items()}

    sample = _sample(
        image=image,
        boxes=boxes,
        masks=masks,
        keypoints=keypoints,
        keypoint_visibilities=keypoint_visibilities,
        keypoint_depths=keypoint_depths,
        keypoint_depth_weights=keypoint_depth_weights,
    )
    drawn = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(seed=seed), PreprocessorCache.HORIZONTAL_FLIP, preprocess_vars_cache
    )
    return _perhaps(drawn <= probability, flip, sample)


def _refuse_densepose(*tensors: Any) -> None:
    if any(tensor is not None for tensor in tensors):
        raise TensorError("The surface coordinates of DensePose are not supported; leave them out.")


def random_vertical_flip(
    image: Any,
    boxes: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    keypoint_flip_permutation: Sequence[int] | None = None,
    probability: float = 0.5,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return image and objects mirrored top and bottom with a probability."""

    def flip(sample: dict[str, Any]) -> dict[str, Any]:
        flips = {
            "image": tf.image.flip_up_down,
            "boxes": _flip_boxes_up_down,
            "masks": _flip_masks_up_down,
            "keypoints": lambda values: keypoint_ops.flip_vertical(values, 0.5, keypoint_flip_permutation),
        }
        return {name: flips[name](value) for name, value in sample.items()}

    sample = _sample(image=image, boxes=boxes, masks=masks, keypoints=keypoints)
    drawn = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(seed=seed), PreprocessorCache.VERTICAL_FLIP, preprocess_vars_cache
    )
    return _perhaps(drawn <= probability, flip, sample)


def random_rotation90(
    image: Any,
    boxes: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    keypoint_rot_permutation: Sequence[int] | None = None,
    probability: float = 0.5,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return image and objects turned by 90 degrees, counter-clockwise, with a probability."""

    def turn(sample: dict[str, Any]) -> dict[str, Any]:
        turns = {
            "image": tf.image.rot90,
            "boxes": _rot90_boxes,
            "masks": _rot90_masks,
            "keypoints": lambda values: keypoint_ops.rot90(values, keypoint_rot_permutation),
        }
        return {name: turns[name](value) for name, value in sample.items()}

    sample = _sample(image=image, boxes=boxes, masks=masks, keypoints=keypoints)
    drawn = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(seed=seed), PreprocessorCache.ROTATION90, preprocess_vars_cache
    )
    return _perhaps(drawn <= probability, turn, sample)


def random_self_concat_image(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    concat_vertical_probability: float = 0.1,
    concat_horizontal_probability: float = 0.1,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return the image twice, one below or beside the other, each with a probability, and all objects."""
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
    )
    for axis, probability in enumerate((concat_vertical_probability, concat_horizontal_probability)):
        drawn = _get_or_create_preprocess_rand_vars(
            lambda: _uniform(seed=seed), PreprocessorCache.SELF_CONCAT_IMAGE, preprocess_vars_cache, axis
        )
        repeated = _perhaps(drawn < probability, partial(_repeat, axis=axis), sample)
        sample = dict(zip(sample, repeated, strict=True))
    return tuple(sample.values())


def _repeat(sample: dict[str, Any], axis: int) -> dict[str, Any]:
    """Put an image and its objects below (axis 0) or beside (axis 1) themselves."""
    repeated = {name: tf.concat([value] * 2, 0) for name, value in sample.items()}
    repeated["image"] = tf.concat([sample["image"]] * 2, axis)
    frame, second = ((2, 1), (1, 0)) if axis == 0 else ((1, 2), (0, 1))  # in images
    windows = (geometry.Window(start, (1, 1), frame) for start in ((0, 0), second))
    repeated["boxes"] = tf.concat(
        [geometry.from_window(sample["boxes"], window) for window in windows], axis=0
    )
    return repeated


# ---------------------------------------------------------------------------------------------- boxes


_JITTER_MODES = {
    "default": pipeline_pb2.RandomJitterBoxes.DEFAULT,
    "expand": pipeline_pb2.RandomJitterBoxes.EXPAND,
    "shrink": pipeline_pb2.RandomJitterBoxes.SHRINK,
    "expand_symmetric": pipeline_pb2.RandomJitterBoxes.EXPAND_SYMMETRIC,
    "shrink_symmetric": pipeline_pb2.RandomJitterBoxes.SHRINK_SYMMETRIC,
    "expand_symmetric_xy": pipeline_pb2.RandomJitterBoxes.EXPAND_SYMMETRIC_XY,
    "shrink_symmetric_xy": pipeline_pb2.RandomJitterBoxes.SHRINK_SYMMETRIC_XY,
}


def random_jitter_boxes(
    boxes: Any, ratio: float = 0.05, jitter_mode: str = "default", seed: int | None = None
) -> Any:
    """Return boxes with their sides moved, at most by half of `ratio` times the height or width.

    Raises:
        TensorError: for a mode that there is not.
    """
    if jitter_mode not in _JITTER_MODES:
        raise TensorError(f"Unknown jitter mode {jitter_mode}; choose one of: {', '.join(_JITTER_MODES)}")
    low = 1.0 if jitter_mode.startswith("expand") else 1.0 - ratio
    high = 1.0 if jitter_mode.startswith("shrink") else 1.0 + ratio
    columns = 1 if jitter_mode.endswith("xy") else 2 if jitter_mode.endswith("symmetric") else 4
    factors = _uniform(low, high, [tf.shape(boxes)[0], columns], seed)
    if columns < 4:
        factors = tf.tile(objects.within_image(boxes, factors), [1, 4 // columns])
    return geometry.clip(geometry.stretch(boxes, factors))


def scale_boxes_to_pixel_coordinates(image: Any, boxes: Any, keypoints: Any = None) -> tuple[Any, ...]:
    """Return the image, and boxes and keypoints in pixels."""
    height, width = tf.unstack(tf.cast(steps.size_of(image), tf.float32))
    scaled = box_list_ops.scale(BoxList(boxes), height, width).get()
    if keypoints is None:
        return image, scaled
    return image, scaled, keypoint_ops.scale(keypoints, height, width)


# ---------------------------------------------------------------------------------------------- crops


def _strict_random_crop_image(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    mask_weights: Any = None,
    keypoints: Any = None,
    keypoint_visibilities: Any = None,
    densepose_num_points: Any = None,
    densepose_part_ids: Any = None,
    densepose_surface_coords: Any = None,
    min_object_covered: float = 1.0,
    aspect_ratio_range: Pair = (0.75, 1.33),
    area_range: Pair = (0.1, 1.0),
    overlap_thresh: float = 0.3,
    clip_boxes: bool = True,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return a window of the image that covers enough of some object, and the objects that have enough in it."""
    _refuse_densepose(densepose_num_points, densepose_part_ids, densepose_surface_coords)
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        mask_weights=mask_weights,
        keypoints=keypoints,
        keypoint_visibilities=keypoint_visibilities,
    )
    start, size, window = _get_or_create_preprocess_rand_vars(
        lambda: tf.image.sample_distorted_bounding_box(
            tf.shape(sample["image"]),
            bounding_boxes=geometry.clip(sample["boxes"])[:, None],
            min_object_covered=min_object_covered,
            aspect_ratio_range=aspect_ratio_range,
            area_range=area_range,
            max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        ),
        PreprocessorCache.STRICT_CROP_IMAGE,
        preprocess_vars_cache,
        key=min_object_covered,
    )
    cropped = _crop(sample, start[:2], size[:2], window[0, 0], overlap_thresh, clip_boxes)
    return tuple(cropped.values())


def random_crop_image(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    mask_weights: Any = None,
    keypoints: Any = None,
    keypoint_visibilities: Any = None,
    densepose_num_points: Any = None,
    densepose_part_ids: Any = None,
    densepose_surface_coords: Any = None,
    min_object_covered: float = 1.0,
    aspect_ratio_range: Pair = (0.75, 1.33),
    area_range: Pair = (0.1, 1.0),
    overlap_thresh: float = 0.3,
    clip_boxes: bool = True,
    random_coef: float = 0.0,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return a window of the image that covers enough of some object; all of it with the probability `random_coef`.

    Args:
        image: [h, w, d].
        boxes: as of all functions here, and likewise what is not named.
        labels: likewise.
        label_weights: likewise.
        label_confidences: likewise.
        multiclass_scores: likewise.
        masks: likewise.
        mask_weights: float32 [n].
        keypoints: likewise.
        keypoint_visibilities: likewise.
        densepose_num_points: refused, like the two that follow.
        densepose_part_ids: refused.
        densepose_surface_coords: refused.
        min_object_covered: the least fraction of some box that is to be in the window.
        aspect_ratio_range: of the window, width / height.
        area_range: of the window, in fractions of the image.
        overlap_thresh: the least fraction of a box that has to be in the window for the object to be kept.
        clip_boxes: whether boxes are cut to the window, and keypoints outside of it become NaN.
        random_coef: a probability.
        seed: likewise.
        preprocess_vars_cache: likewise.

    Raises:
        TensorError: for DensePose.
    """
    given = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        mask_weights=mask_weights,
        keypoints=keypoints,
        keypoint_visibilities=keypoint_visibilities,
        densepose_num_points=densepose_num_points,
        densepose_part_ids=densepose_part_ids,
        densepose_surface_coords=densepose_surface_coords,
    )

    def crop() -> tuple[Any, ...]:
        return _strict_random_crop_image(
            **given,
            min_object_covered=min_object_covered,
            aspect_ratio_range=aspect_ratio_range,
            area_range=area_range,
            overlap_thresh=overlap_thresh,
            clip_boxes=clip_boxes,
            preprocess_vars_cache=preprocess_vars_cache,
        )

    unchanged = tuple(given.values())
    name = PreprocessorCache.CROP_IMAGE
    return tuple(_unless(random_coef, crop, unchanged, name, seed, preprocess_vars_cache))


def random_crop_to_aspect_ratio(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    aspect_ratio: float = 1.0,
    overlap_thresh: float = 0.3,
    clip_boxes: bool = True,
    center_crop: bool = False,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return the largest window of an aspect ratio (width / height), at a random position or in the middle."""
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        keypoints=keypoints,
    )
    image_size = steps.size_of(image)
    _, size = crops.largest_window(image, aspect_ratio, tf.zeros(2))
    if center_crop:
        start = (image_size - size) // 2
    else:
        start = _get_or_create_preprocess_rand_vars(
            lambda: tf.stack([_random_integer(0, image_size[i] - size[i] + 1, seed) for i in (0, 1)]),
            PreprocessorCache.CROP_TO_ASPECT_RATIO,
            preprocess_vars_cache,
        )
    window = geometry.Window(start, size, image_size).box
    return tuple(_crop(sample, start, size, window, overlap_thresh, clip_boxes).values())


def random_square_crop_by_scale(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    max_border: int = 128,
    scale_min: float = 0.6,
    scale_max: float = 1.3,
    num_scales: int = 8,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return a square around a pixel of the image, 0 where it leaves it.

    Its side is one of `num_scales` ratios times the longer side of the image; its centre keeps `max_border` pixels off
    the edge, halved until it is less than half of a side.
    """
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        masks=masks,
        keypoints=keypoints,
    )
    size = steps.size_of(image)
    border = crops.halved_below(max_border, size)
    number, row, column = _get_or_create_preprocess_rand_vars(
        lambda: (
            _random_integer(0, num_scales, seed),
            _random_integer(border[0], size[0] - border[0] + 1, seed),
            _random_integer(border[1], size[1] - border[1] + 1, seed),
        ),
        PreprocessorCache.SQUARE_CROP_BY_SCALE,
        preprocess_vars_cache,
    )
    scale = tf.linspace(scale_min, scale_max, num_scales)[number]
    side = tf.cast(scale * tf.cast(tf.reduce_max(size), tf.float32), tf.int32)
    square = tf.stack([side, side])
    viewed = _view(sample, tf.stack([row, column]) - side // 2, square)
    return tuple(viewed.values())


def _view(sample: dict[str, Any], start: Any, size: Any) -> dict[str, Any]:
    """Cut out a window (int32 [2] each) that may reach beyond the image, where it is 0."""
    image_size = steps.size_of(sample["image"])
    first = tf.clip_by_value(start, 0, image_size - 1)
    last = tf.clip_by_value(start + size, first + 1, image_size)
    window = geometry.Window(first, last - first, image_size).box
    return _pad(_crop(sample, first, last - first, window), first - start, size)


def random_scale_crop_and_pad_to_square(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    masks: Any = None,
    keypoints: Any = None,
    label_confidences: Any = None,
    scale_min: float = 0.1,
    scale_max: float = 2.0,
    output_size: int = 512,
    resize_method: Any = tf.image.ResizeMethod.BILINEAR,
    seed: int | None = None,
) -> tuple[Any, ...]:
    """Return the image in a random size, cut and padded with 0 to a square.

    Its longer side becomes `output_size` times a ratio drawn uniformly; what leaves the square is cut off, at a random
    position; smaller ones are at the top left.
    """
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        masks=masks,
        keypoints=keypoints,
        label_confidences=label_confidences,
    )
    size = tf.cast(steps.size_of(image), tf.float32)
    ratio = _uniform(scale_min, scale_max, seed=seed) * output_size / tf.reduce_max(size)
    large = scaled(size, ratio)
    left_over = tf.cast(tf.maximum(large - output_size, 0), tf.float32)
    start = tf.cast(left_over * tf.stack([_uniform(seed=seed) for _ in range(2)]), tf.int32)
    sample["image"] = _resize(image, large, resize_method)
    if masks is not None:
        sample["masks"] = _resize(sample["masks"][..., None], large, resize_method)[..., 0]
    viewed = _view(sample, start, tf.constant([output_size] * 2))
    viewed["image"].set_shape([output_size, output_size, image.shape[2]])
    return tuple(viewed.values())


# ---------------------------------------------------------------------------------------------- pads


def random_pad_image(
    image: Any,
    boxes: Any,
    masks: Any = None,
    keypoints: Any = None,
    densepose_surface_coords: Any = None,
    min_image_size: Any = None,
    max_image_size: Any = None,
    pad_color: Any = None,
    center_pad: bool = False,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return the image anywhere in a larger one, or in its middle.

    Its size is drawn from `min_image_size` (int32 [2], by default that of the image) to `max_image_size` (twice that);
    around it is `pad_color` [d], by default the mean colour.

    Raises:
        TensorError: for DensePose.
    """
    _refuse_densepose(densepose_surface_coords)
    sample = _sample(image=image, boxes=boxes, masks=masks, keypoints=keypoints)
    size = steps.size_of(image)
    least = size if min_image_size is None else min_image_size
    most = size * 2 if max_image_size is None else max_image_size
    return _random_pad(sample, least, most, pad_color, center_pad, seed, preprocess_vars_cache)


def _random_pad(
    sample: dict[str, Any],
    least: Any,
    most: Any,
    color: Any,
    center_pad: bool,
    seed: int | None,
    cache: Cache,
    key: Any = "",
) -> tuple[Any, ...]:
    """Pad to a size drawn from [`least`, `most`) (int32 [2]); in the mean colour where none is given."""
    image = sample["image"]
    size = steps.size_of(image)
    least, most = (tf.maximum(tf.cast(one, tf.int32), size) for one in (least, most))

    def draw() -> tuple[Any, Any]:
        target = tf.stack(
            [_random_integer(least[i], tf.maximum(most[i], least[i] + 1), seed) for i in (0, 1)]
        )
        target = tf.where(most > least, target, most)
        start = tf.stack([_random_integer(0, tf.maximum(target[i] - size[i], 1), seed) for i in (0, 1)])
        return target, start

    target, start = _get_or_create_preprocess_rand_vars(draw, PreprocessorCache.PAD_IMAGE, cache, key)
    if center_pad:
        start = (target - size) // 2
    mean = tf.reduce_mean(tf.cast(image, tf.float32), axis=[0, 1])
    padded = _pad(sample, start, target, mean if color is None else color)
    padded["image"].set_shape([None, None, image.shape[2]])
    return tuple(padded.values())


def random_absolute_pad_image(
    image: Any,
    boxes: Any,
    masks: Any = None,
    keypoints: Any = None,
    densepose_surface_coords: Any = None,
    max_height_padding: int | None = None,
    max_width_padding: int | None = None,
    pad_color: Any = None,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return the image anywhere in one that is higher and wider by less than so many pixels."""
    size = steps.size_of(image)
    return random_pad_image(
        image,
        boxes,
        masks,
        keypoints,
        densepose_surface_coords,
        min_image_size=size,
        max_image_size=size + tf.stack([max_height_padding or 0, max_width_padding or 0]),
        pad_color=pad_color,
        seed=seed,
        preprocess_vars_cache=preprocess_vars_cache,
    )


def random_crop_pad_image(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    min_object_covered: float = 1.0,
    aspect_ratio_range: Pair = (0.75, 1.33),
    area_range: Pair = (0.1, 1.0),
    overlap_thresh: float = 0.3,
    clip_boxes: bool = True,
    random_coef: float = 0.0,
    min_padded_size_ratio: Pair = (1.0, 1.0),
    max_padded_size_ratio: Pair = (2.0, 2.0),
    pad_color: Any = None,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return what `random_crop_image` does, padded; the ratios are of the size before the crop."""
    size = tf.cast(steps.size_of(image), tf.float32)
    cropped, cropped_boxes, *others = random_crop_image(
        image,
        boxes,
        labels,
        label_weights,
        label_confidences,
        multiclass_scores,
        min_object_covered=min_object_covered,
        aspect_ratio_range=aspect_ratio_range,
        area_range=area_range,
        overlap_thresh=overlap_thresh,
        clip_boxes=clip_boxes,
        random_coef=random_coef,
        seed=seed,
        preprocess_vars_cache=preprocess_vars_cache,
    )
    least, most = (
        tf.cast(size * tf.constant(ratio), tf.int32)
        for ratio in (min_padded_size_ratio, max_padded_size_ratio)
    )
    sample = _sample(image=cropped, boxes=cropped_boxes)
    # Of several crops each has its own, as of windows.
    key = min_object_covered
    padded = _random_pad(sample, least, most, pad_color, False, seed, preprocess_vars_cache, key)
    return (*padded, *others)


def random_pad_to_aspect_ratio(
    image: Any,
    boxes: Any,
    masks: Any = None,
    keypoints: Any = None,
    aspect_ratio: float = 1.0,
    min_padded_size_ratio: Pair = (1.0, 1.0),
    max_padded_size_ratio: Pair = (2.0, 2.0),
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return the image at the top left of one of an aspect ratio (width / height), 0 elsewhere.

    Height and width grow by ratios in a range, as far as the aspect ratio admits it.
    """
    sample = _sample(image=image, boxes=boxes, masks=masks, keypoints=keypoints)
    shape, least, most = crops.smallest_frame(
        image, aspect_ratio, min_padded_size_ratio, max_padded_size_ratio
    )
    scale = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(least, most, seed=seed),
        PreprocessorCache.PAD_TO_ASPECT_RATIO,
        preprocess_vars_cache,
    )
    target = tf.maximum(tf.cast(tf.round(shape * scale), tf.int32), steps.size_of(image))
    padded = _pad(sample, tf.zeros(2, tf.int32), target)
    padded["image"].set_shape([None, None, sample["image"].shape[2]])
    return tuple(padded.values())


# ---------------------------------------------------------------------------------------------- crops of SSD


def _one_crop(
    sample: dict[str, Any],
    crop: Callable[..., tuple[Any, ...]],
    each: Mapping[str, Sequence[Any]],
    function_id: str,
    seed: int | None,
    cache: Cache,
) -> tuple[Any, ...]:
    """Return what one crop of several does; `each` has an argument of each by the argument's name."""
    count = len(next(iter(each.values())))
    chosen = _get_or_create_preprocess_rand_vars(
        lambda: _random_integer(0, count, seed), PreprocessorCache.SELECTOR_TUPLES, cache, function_id
    )

    def with_arguments(index: int) -> Callable[[], tuple[Any, ...]]:
        arguments = {name: values[index] for name, values in each.items()}
        change = partial(crop, **sample, **arguments, seed=seed, preprocess_vars_cache=cache)
        return _outside(change, cache)

    return tuple(tf.switch_case(chosen, [with_arguments(index) for index in range(count)]))


def ssd_random_crop(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    min_object_covered: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    aspect_ratio_range: Sequence[Pair] = ((0.5, 2.0),) * 7,
    area_range: Sequence[Pair] = ((0.1, 1.0),) * 7,
    overlap_thresh: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    clip_boxes: Sequence[bool] = (True,) * 7,
    random_coef: Sequence[float] = (0.15,) * 7,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return what one of several crops of `random_crop_image` does, each as likely as the others."""
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        keypoints=keypoints,
    )
    each = {
        "min_object_covered": min_object_covered,
        "aspect_ratio_range": aspect_ratio_range,
        "area_range": area_range,
        "overlap_thresh": overlap_thresh,
        "clip_boxes": clip_boxes,
        "random_coef": random_coef,
    }
    name = PreprocessorCache.SSD_CROP_SELECTOR_ID
    return _one_crop(sample, random_crop_image, each, name, seed, preprocess_vars_cache)


def ssd_random_crop_pad(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    min_object_covered: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    aspect_ratio_range: Sequence[Pair] = ((0.5, 2.0),) * 6,
    area_range: Sequence[Pair] = ((0.1, 1.0),) * 6,
    overlap_thresh: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    clip_boxes: Sequence[bool] = (True,) * 6,
    random_coef: Sequence[float] = (0.15,) * 6,
    min_padded_size_ratio: Sequence[Pair] = ((1.0, 1.0),) * 6,
    max_padded_size_ratio: Sequence[Pair] = ((2.0, 2.0),) * 6,
    pad_color: Sequence[Any] = (None,) * 6,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return what one of several crops of `random_crop_pad_image` does, each as likely as the others."""
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
    )
    each = {
        "min_object_covered": min_object_covered,
        "aspect_ratio_range": aspect_ratio_range,
        "area_range": area_range,
        "overlap_thresh": overlap_thresh,
        "clip_boxes": clip_boxes,
        "random_coef": random_coef,
        "min_padded_size_ratio": min_padded_size_ratio,
        "max_padded_size_ratio": max_padded_size_ratio,
        "pad_color": pad_color,
    }
    name = PreprocessorCache.SSD_CROP_PAD_SELECTOR_ID
    return _one_crop(sample, random_crop_pad_image, each, name, seed, preprocess_vars_cache)


def ssd_random_crop_fixed_aspect_ratio(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    min_object_covered: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    aspect_ratio: float = 1.0,
    area_range: Sequence[Pair] = ((0.1, 1.0),) * 7,
    overlap_thresh: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    clip_boxes: Sequence[bool] = (True,) * 7,
    random_coef: Sequence[float] = (0.15,) * 7,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return what `ssd_random_crop` does with windows of one aspect ratio (width / height), cut to that ratio."""
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        keypoints=keypoints,
    )
    cropped = ssd_random_crop(
        **sample,
        min_object_covered=min_object_covered,
        aspect_ratio_range=((aspect_ratio, aspect_ratio),) * len(area_range),
        area_range=area_range,
        overlap_thresh=overlap_thresh,
        clip_boxes=clip_boxes,
        random_coef=random_coef,
        seed=seed,
        preprocess_vars_cache=preprocess_vars_cache,
    )
    # Where no crop was made or found, the image still has its own shape.
    return random_crop_to_aspect_ratio(
        **dict(zip(sample, cropped, strict=True)),
        aspect_ratio=aspect_ratio,
        clip_boxes=all(clip_boxes),
        seed=seed,
        preprocess_vars_cache=preprocess_vars_cache,
    )


def ssd_random_crop_pad_fixed_aspect_ratio(
    image: Any,
    boxes: Any,
    labels: Any,
    label_weights: Any,
    label_confidences: Any = None,
    multiclass_scores: Any = None,
    masks: Any = None,
    keypoints: Any = None,
    min_object_covered: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    aspect_ratio: float = 1.0,
    aspect_ratio_range: Sequence[Pair] = ((0.5, 2.0),) * 7,
    area_range: Sequence[Pair] = ((0.1, 1.0),) * 7,
    overlap_thresh: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    clip_boxes: Sequence[bool] = (True,) * 7,
    random_coef: Sequence[float] = (0.15,) * 7,
    min_padded_size_ratio: Pair = (1.0, 1.0),
    max_padded_size_ratio: Pair = (2.0, 2.0),
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return what `ssd_random_crop` does, padded to an aspect ratio (width / height)."""
    sample = _sample(
        image=image,
        boxes=boxes,
        labels=labels,
        label_weights=label_weights,
        label_confidences=label_confidences,
        multiclass_scores=multiclass_scores,
        masks=masks,
        keypoints=keypoints,
    )
    cropped = ssd_random_crop(
        **sample,
        min_object_covered=min_object_covered,
        aspect_ratio_range=aspect_ratio_range,
        area_range=area_range,
        overlap_thresh=overlap_thresh,
        clip_boxes=clip_boxes,
        random_coef=random_coef,
        seed=seed,
        preprocess_vars_cache=preprocess_vars_cache,
    )
    sample = dict(zip(sample, cropped, strict=True))
    moved = [name for name in ("image", "boxes", "masks", "keypoints") if name in sample]
    padded = random_pad_to_aspect_ratio(
        **{name: sample[name] for name in moved},
        aspect_ratio=aspect_ratio,
        min_padded_size_ratio=min_padded_size_ratio,
        max_padded_size_ratio=max_padded_size_ratio,
        seed=seed,
        preprocess_vars_cache=preprocess_vars_cache,
    )
    return tuple((sample | dict(zip(moved, padded, strict=True))).values())


# ---------------------------------------------------------------------------------------------- sizes


def _known_size(image: Any, new_size: Callable[[Any], Any]) -> Any:
    """Return what a function makes of the size (int32 [2]) of an image: a list of numbers where that is known."""
    if None in image.shape[:2].as_list():
        return new_size(steps.size_of(image))
    with tf.init_scope():
        return new_size(tf.constant(image.shape[:2].as_list())).numpy().tolist()


def _checked_image(image: Any) -> Any:
    image = tf.convert_to_tensor(image)
    if len(image.shape) != 3:
        raise TensorError(f"Image should be 3D tensor; it is {image.shape}")
    return image


def _resized(image: Any, masks: Any, size: Any, method: Any, align_corners: bool = False) -> list[Any]:
    """Return an image and masks in another size, and the true shape int32 [3] of the image."""
    resized = _resize(image, size, method, align_corners)
    result = [resized]
    if masks is not None:
        result.append(_resize_masks(masks, size, align_corners))
    return [*result, tf.stack([size[0], size[1], tf.shape(resized)[2]])]


def random_image_scale(
    image: Any,
    masks: Any = None,
    min_scale_ratio: float = 0.5,
    max_scale_ratio: float = 2.0,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return an image and masks made larger or smaller by a ratio drawn uniformly."""
    ratio = _get_or_create_preprocess_rand_vars(
        lambda: _uniform(min_scale_ratio, max_scale_ratio, seed=seed),
        PreprocessorCache.IMAGE_SCALE,
        preprocess_vars_cache,
    )
    size = scaled(steps.size_of(image), ratio)
    return tuple(_resized(image, masks, size, tf.image.ResizeMethod.BILINEAR, align_corners=True)[:-1])


def random_downscale_to_target_pixels(
    image: Any,
    masks: Any = None,
    min_target_pixels: int = 300000,
    max_target_pixels: int = 800000,
    random_coef: float = 0.0,
    seed: int | None = None,
    preprocess_vars_cache: Cache = None,
) -> tuple[Any, ...]:
    """Return an image and masks shrunk to a random number of pixels; as they are with the probability `random_coef`.

    Smaller ones stay as they are.
    """
    name = PreprocessorCache.DOWNSCALE_TO_TARGET_PIXELS
    sample = _sample(image=image, masks=masks)
    image = sample["image"]

    def downscale() -> tuple[Any, ...]:
        size = tf.cast(steps.size_of(image), tf.float32)
        target = _get_or_create_preprocess_rand_vars(
            lambda: _random_integer(min_target_pixels, max_target_pixels, seed),
            name,
            preprocess_vars_cache,
            "target_pixels",
        )
        ratio = tf.sqrt(tf.cast(target, tf.float32) / tf.reduce_prod(size))
        smaller = scaled(size, ratio)

        def resized() -> tuple[Any, ...]:
            shrunk, *others = _resized(image, masks, smaller, tf.image.ResizeMethod.BILINEAR)[:-1]
            return (tf.cast(shrunk, image.dtype), *others)

        return _cond(ratio < 1, resized, lambda: tuple(sample.values()))

    unchanged = tuple(sample.values())
    return tuple(_unless(random_coef, downscale, unchanged, name, seed, preprocess_vars_cache))


def random_resize_method(image: Any, target_size: Sequence[int], preprocess_vars_cache: Cache = None) -> Any:
    """Return an image in another size, interpolated in one of four ways."""
    method = tf.image.ResizeMethod
    methods = (method.BILINEAR, method.NEAREST_NEIGHBOR, method.BICUBIC, method.AREA)
    chosen = _get_or_create_preprocess_rand_vars(
        lambda: _random_integer(0, len(methods), None), PreprocessorCache.RESIZE_METHOD, preprocess_vars_cache
    )
    resizes = [
        lambda method=method: tf.cast(_resize(image, target_size, method), tf.float32) for method in methods
    ]
    return tf.switch_case(chosen, resizes)


def resize_to_range(
    image: Any,
    masks: Any = None,
    min_dimension: int | None = None,
    max_dimension: int | None = None,
    method: Any = tf.image.ResizeMethod.BILINEAR,
    align_corners: bool = False,
    pad_to_max_dimension: bool = False,
    per_channel_pad_value: Sequence[float] = (0, 0, 0),
) -> list[Any]:
    """Return an image, its masks if any, and its true shape (int32 [3]) as `size_in_range` of boxtune wants it.

    With `pad_to_max_dimension` they are squares then, with `per_channel_pad_value` below and on the right.

    Raises:
        TensorError: for another rank, and unless there is a value for each channel.
    """
    image = _checked_image(image)
    size = _known_size(image, lambda size: size_in_range(size, min_dimension or 0, max_dimension))
    resized = _resized(image, masks, size, method, align_corners)
    if not pad_to_max_dimension:
        return resized
    if image.shape[2] != len(per_channel_pad_value):
        raise TensorError("Number of channels must be equal to the length of per-channel pad value.")
    square = tf.constant([max_dimension] * 2)
    padded = _pad(
        _sample(image=resized[0], masks=None if masks is None else resized[1]),
        tf.zeros(2, tf.int32),
        square,
        per_channel_pad_value,
    )
    padded["image"].set_shape([max_dimension, max_dimension, image.shape[2]])
    if masks is not None:
        padded["masks"].set_shape([masks.shape[0], max_dimension, max_dimension])
    return [*padded.values(), resized[-1]]


def resize_to_min_dimension(
    image: Any, masks: Any = None, min_dimension: int = 600, method: Any = tf.image.ResizeMethod.BILINEAR
) -> tuple[Any, ...]:
    """Return an image, its masks if any, and its shape, enlarged if its shorter side is below `min_dimension`."""
    image = _checked_image(image)
    size = _known_size(image, lambda size: size_at_least(size, min_dimension))
    return tuple(_resized(image, masks, size, method, align_corners=True))


def resize_to_max_dimension(
    image: Any, masks: Any = None, max_dimension: int = 600, method: Any = tf.image.ResizeMethod.BILINEAR
) -> tuple[Any, ...]:
    """Return an image, its masks if any, and its shape, reduced if its longer side is above `max_dimension`."""
    image = _checked_image(image)
    size = _known_size(image, lambda size: size_at_most(size, max_dimension))
    return tuple(_resized(image, masks, size, method, align_corners=True))


def resize_pad_to_multiple(image: Any, masks: Any = None, multiple: int = 1) -> tuple[Any, ...]:
    """Return an image and its masks with zeros below and on the right, up to multiples, and the shape without them."""
    image = _checked_image(image)
    result = [ops.pad_to_multiple(image[None], multiple)[0]]
    if masks is not None:
        result.append(ops.pad_to_multiple(masks[..., None], multiple)[..., 0])
    return (*result, tf.shape(image))


def resize_image(
    image: Any,
    masks: Any = None,
    new_height: int = 600,
    new_width: int = 1024,
    method: Any = tf.image.ResizeMethod.BILINEAR,
    align_corners: bool = False,
) -> list[Any]:
    """Return an image, its masks if any, and its shape (int32 [3]), in another size."""
    return _resized(image, masks, [new_height, new_width], method, align_corners)


# ---------------------------------------------------------------------------------------------- several functions


def get_default_func_arg_map(
    include_label_weights: bool = True,
    include_label_confidences: bool = False,
    include_multiclass_scores: bool = False,
    include_instance_masks: bool = False,
    include_instance_mask_weights: bool = False,
    include_keypoints: bool = False,
    include_keypoint_visibilities: bool = False,
    include_dense_pose: bool = False,
    include_keypoint_depths: bool = False,
) -> dict[Callable[..., Any], tuple[str | None, ...]]:
    """Return the keys of the tensors that each function takes, in the order of its arguments; None for none."""
    fields = InputDataFields
    image, boxes, labels = fields.image, fields.groundtruth_boxes, fields.groundtruth_classes
    weights = fields.groundtruth_weights if include_label_weights else None
    confidences = fields.groundtruth_confidences if include_label_confidences else None
    scores = fields.multiclass_scores if include_multiclass_scores else None
    masks = fields.groundtruth_instance_masks if include_instance_masks else None
    mask_weights = fields.groundtruth_instance_mask_weights if include_instance_mask_weights else None
    keypoints = fields.groundtruth_keypoints if include_keypoints else None
    visibilities = fields.groundtruth_keypoint_visibilities if include_keypoint_visibilities else None
    dp_num_points = fields.groundtruth_dp_num_points if include_dense_pose else None
    dp_part_ids = fields.groundtruth_dp_part_ids if include_dense_pose else None
    dp_coords = fields.groundtruth_dp_surface_coords if include_dense_pose else None
    depths = fields.groundtruth_keypoint_depths if include_keypoint_depths else None
    depth_weights = fields.groundtruth_keypoint_depth_weights if include_keypoint_depths else None
    objects = (boxes, labels, weights, confidences, scores)
    of_image = (
        normalize_image, random_pixel_value_scale, random_rgb_to_gray, adjust_gamma, random_adjust_brightness,
        random_adjust_contrast, random_adjust_hue, random_adjust_saturation, random_distort_color,
        random_black_patches, random_jpeg_quality, random_patch_gaussian, image_to_float, random_resize_method,
        subtract_channel_mean, rgb_to_gray,
    )  # fmt: skip
    of_image_and_masks = (
        random_image_scale, random_downscale_to_target_pixels, resize_to_range, resize_to_min_dimension,
        resize_to_max_dimension, resize_pad_to_multiple, resize_image,
    )  # fmt: skip
    return {
        **dict.fromkeys(of_image, (image,)),
        **dict.fromkeys(of_image_and_masks, (image, masks)),
        **dict.fromkeys((random_vertical_flip, random_rotation90), (image, boxes, masks, keypoints)),
        **dict.fromkeys((random_pad_image, random_absolute_pad_image), (image, boxes, masks, keypoints, dp_coords)),
        **dict.fromkeys(
            (retain_boxes_above_threshold, drop_label_probabilistically), (*objects, masks, keypoints)
        ),
        **dict.fromkeys(
            (random_crop_pad_image, ssd_random_crop_pad, random_self_concat_image), (image, *objects)
        ),
        **dict.fromkeys(
            (
                random_crop_to_aspect_ratio,
                ssd_random_crop,
                ssd_random_crop_fixed_aspect_ratio,
                ssd_random_crop_pad_fixed_aspect_ratio,
            ),
            (image, *objects, masks, keypoints),
        ),
        random_horizontal_flip: (
            image, boxes, masks, keypoints, visibilities, dp_part_ids, dp_coords, depths, depth_weights,
        ),
        random_jitter_boxes: (boxes,),
        random_crop_image: (
            image, *objects, masks, mask_weights, keypoints, visibilities, dp_num_points, dp_part_ids, dp_coords,
        ),
        random_pad_to_aspect_ratio: (image, boxes, masks, keypoints),
        autoaugment_image: (image, boxes),
        remap_labels: (labels,),
        scale_boxes_to_pixel_coordinates: (image, boxes, keypoints),
        one_hot_encoding: (fields.groundtruth_image_classes,),
        convert_class_logits_to_softmax: (scores,),
        random_square_crop_by_scale: (image, boxes, labels, weights, confidences, masks, keypoints),
        random_scale_crop_and_pad_to_square: (image, boxes, labels, weights, masks, keypoints, confidences),
    }  # fmt: skip


def preprocess(
    tensor_dict: dict[str, Any],
    preprocess_options: Sequence[tuple[Callable[..., Any], Mapping[str, Any]]],
    func_arg_map: Mapping[Callable[..., Any], Sequence[str | None]] | None = None,
    preprocess_vars_cache: Cache = None,
) -> dict[str, Any]:
    """Apply functions to the tensors of a dict, in place, one after another; return the dict.

    Args:
        tensor_dict: tensors by the names of `standard_fields.InputDataFields`; the image is [1, h, w, d], before and
            after.
        preprocess_options: functions of this module, each with its further arguments.
        func_arg_map: the keys of the tensors that each function takes; that of `get_default_func_arg_map` by default.
        preprocess_vars_cache: keeps what is drawn.

    Raises:
        TensorError: for another rank of the image, an unknown function, and tensors that are not in the dict.
    """
    func_arg_map = get_default_func_arg_map() if func_arg_map is None else func_arg_map
    name = InputDataFields.image
    if name in tensor_dict:
        if len(tensor_dict[name].shape) != 4:
            raise TensorError(f"images in tensor_dict should be rank 4; they are {tensor_dict[name].shape}")
        tensor_dict[name] = tf.squeeze(tensor_dict[name], axis=0)
    for function, arguments in preprocess_options:
        if function not in func_arg_map:
            raise TensorError(f"The function {function.__name__} does not exist in func_arg_map.")
        keys = func_arg_map[function]
        for key in keys:
            if key is not None and key not in tensor_dict:
                raise TensorError(f"The function {function.__name__} requires argument {key}.")
        more = dict(arguments)
        if preprocess_vars_cache is not None and "preprocess_vars_cache" in _names_of_arguments(function):
            more["preprocess_vars_cache"] = preprocess_vars_cache
        results = function(*(None if key is None else tensor_dict[key] for key in keys), **more)
        results = results if isinstance(results, list | tuple) else (results,)
        # Some return the shape behind the tensors that they were given.
        tensor_dict.update(zip((key for key in keys if key is not None), results, strict=False))
    if name in tensor_dict:
        tensor_dict[name] = tf.expand_dims(tensor_dict[name], 0)
    return tensor_dict


def _names_of_arguments(function: Callable[..., Any]) -> Any:
    return inspect.signature(function).parameters
