"""Windows that are cut out of images, and larger ones that images are put into.

Source of steps, ranges and order: the API's core.preprocessor.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from boxtune.config import pipeline_pb2
from boxtune.data import geometry, stateless_random
from boxtune.data.augmentation.steps import (
    MAX_SIDE,
    Step,
    check,
    check_probability,
    check_range,
    check_size,
    keep,
    one_after_another,
    one_of,
    paste,
    size_of,
    to_bytes,
    with_probability,
)
from boxtune.data.augmentation.whole_image import resize
from boxtune.data.decoder import Sample
from boxtune.data.geometry import Window, move_objects

_BLACK = (0.0, 0.0, 0.0)
_LEAST_FRACTION = 0.3  # of a box, that must be inside, where a step has no field for it


# ---------------------------------------------------------------------------------------------- windows


def crop_to(
    sample: Sample, start: Any, size: Any, overlap_thresh: float = 0.0, clip_boxes: bool = True
) -> Sample:
    """Cut out a window and drop the objects that have too little in it.

    Args:
        sample: with `image` [h, w, 3] and objects.
        start: int32 [2], top and left of the window in pixels.
        size: int32 [2], its height and width.
        overlap_thresh: least fraction of a box's area that must lie in the window.
        clip_boxes: cut the boxes to the window.
    """
    image = tf.slice(sample["image"], tf.concat([start, [0]], 0), tf.concat([size, [-1]], 0))
    window = Window(start, size, size_of(sample["image"]))
    # Measured before boxes are moved, so that no rounding takes a fraction of 1 from those that lie within.
    inside = geometry.fractions_inside(sample["boxes"], window.box)
    moved = move_objects(sample, geometry.to_window, window=window)
    moved["image"] = tf.ensure_shape(image, [None, None, 3])
    if clip_boxes:
        moved["boxes"] = geometry.clip(moved["boxes"])
    return keep(moved, (inside > 0) & (inside >= overlap_thresh))


def pad_to(sample: Sample, start: Any, size: Any, color: Any) -> Sample:
    """Put the image into a larger one.

    Args:
        sample: with `image` [h, w, 3] and objects.
        start: int32 [2], where its top and left are in the larger one, in pixels.
        size: int32 [2], height and width of the larger one.
        color: [3], red, green and blue of what is around it, in [0, 255].
    """
    canvas = tf.broadcast_to(to_bytes(tf.cast(color, tf.float32)), tf.concat([size, [3]], 0))
    image = paste(canvas, sample["image"], start[0], start[1])
    window = Window(start, size_of(sample["image"]), size)
    return move_objects(sample, geometry.from_window, window=window) | {"image": image}


def mean_color(image: Any) -> Any:
    """Return the mean colour (float32 [3]) of an image uint8 [h, w, 3]."""
    # Sums of bytes along one side are whole numbers that float32 holds, and so the same in whatever order.
    rows = tf.cast(tf.reduce_sum(tf.cast(image, tf.float32), 0), tf.float64)
    return tf.cast(tf.reduce_sum(rows, 0) / tf.cast(tf.reduce_prod(size_of(image)), tf.float64), tf.float32)


# ---------------------------------------------------------------------------------------------- crops around objects


def random_crop_image(section: Any, aspect_ratio: float | None = None) -> Step:
    """Read `random_crop_image`, or a section with its fields: cut out a window that covers enough of some object.

    All windows are of one `aspect_ratio` where that is given, whatever the section says.
    """
    check(section.min_object_covered >= 0, f"min_object_covered is {section.min_object_covered:g}, below 0")
    if aspect_ratio is None:
        aspect_ratios = check_range(section, "min_aspect_ratio", "max_aspect_ratio", 1e-3, 1e3)
    else:
        aspect_ratios = aspect_ratio, aspect_ratio
    fractions = check_range(section, "min_area", "max_area", 1e-6, 1)
    kept_whole = check_probability(section, "random_coef")

    def crop(sample: Sample, seed: Any) -> Sample:
        start, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(sample["image"]),
            geometry.clip(sample["boxes"])[None],
            seed,
            min_object_covered=section.min_object_covered,
            aspect_ratio_range=aspect_ratios,
            area_range=fractions,
            max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        )
        return crop_to(sample, start[:2], size[:2], section.overlap_thresh, section.clip_boxes)

    return with_probability(1 - kept_whole, crop)


def ssd_random_crop(section: pipeline_pb2.SSDRandomCrop) -> Step:
    """Read `ssd_random_crop`: one of several crops, that ask for more and more of an object.

    Source: Liu et al. 2016 (SSD, arXiv:1512.02325), section 2.2.
    """
    operations = section.operations or _defaults(pipeline_pb2.SSDRandomCropOperation)
    return one_of([random_crop_image(operation) for operation in operations])


def ssd_random_crop_fixed_aspect_ratio(section: pipeline_pb2.SSDRandomCropFixedAspectRatio) -> Step:
    """Read `ssd_random_crop_fixed_aspect_ratio`: crops as of `ssd_random_crop`, all of one shape."""
    ratio = _aspect_ratio(section)
    operations = section.operations or _defaults(pipeline_pb2.SSDRandomCropOperation)
    crops = one_of([random_crop_image(operation, ratio) for operation in operations])
    # Where no crop was made or found, the image still has its own shape.
    return one_after_another([crops, _crop_to_aspect_ratio(ratio, _LEAST_FRACTION, clip_boxes=True)])


def _defaults(operation: Any, covered: Iterable[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)) -> list[Any]:
    return [
        operation(
            min_object_covered=fraction,
            min_aspect_ratio=0.5,
            max_aspect_ratio=2.0,
            min_area=0.1,
            max_area=1.0,
            overlap_thresh=fraction,
            random_coef=0.15,
        )
        for fraction in covered
    ]


# ---------------------------------------------------------------------------------------------- crops to a shape


def random_crop_to_aspect_ratio(section: pipeline_pb2.RandomCropToAspectRatio) -> Step:
    """Read `random_crop_to_aspect_ratio`: the largest window of a shape (width / height), at a random position."""
    return _crop_to_aspect_ratio(_aspect_ratio(section), section.overlap_thresh, section.clip_boxes)


def _crop_to_aspect_ratio(ratio: float, overlap_thresh: float, clip_boxes: bool) -> Step:
    def crop(sample: Sample, seed: Any) -> Sample:
        position = stateless_random.uniform(seed, shape=[2])
        return crop_to(sample, *largest_window(sample["image"], ratio, position), overlap_thresh, clip_boxes)

    return crop


def largest_window(image: Any, aspect_ratio: Any, position: Any) -> tuple[Any, Any]:
    """Return start and size (int32 [2]) of the largest window of an aspect ratio (width / height) in an image.

    `position` [2], in [0, 1), says where along the height or width that is left over it starts.
    """
    height, width = tf.unstack(tf.cast(size_of(image), tf.float32))
    shape = tf.minimum(height, width / aspect_ratio) * tf.stack([1.0, aspect_ratio])
    size = tf.maximum(tf.cast(tf.round(shape), tf.int32), 1)
    left_over = tf.cast(size_of(image) - size + 1, tf.float32)
    return tf.cast(tf.floor(position * left_over), tf.int32), size


def random_square_crop_by_scale(section: pipeline_pb2.RandomSquareCropByScale) -> Step:
    """Read `random_square_crop_by_scale`: a square around a point of the image, black where it leaves it.

    Its side is one of `num_scales` ratios times the longer side of the image; its centre keeps `max_border` pixels
    off the edge, halved until it is less than half of a side. Source: Zhou et al. 2019 (CenterNet, arXiv:1904.07850).
    """
    low, high = check_range(section, "scale_min", "scale_max", 0.01, 10)
    check(section.num_scales >= 1, f"num_scales is {section.num_scales}; there must be 1 at least")
    check(section.max_border >= 0, f"max_border is {section.max_border} pixels, below 0")

    def crop(sample: Sample, seed: Any) -> Sample:
        scale_seed, row_seed, column_seed = stateless_random.split(seed, 3)
        number = stateless_random.integer(scale_seed, 0, section.num_scales)
        scale = tf.linspace(low, high, section.num_scales)[number]
        size = size_of(sample["image"])
        side = tf.maximum(tf.cast(scale * tf.cast(tf.reduce_max(size), tf.float32), tf.int32), 2)
        border = halved_below(section.max_border, size)
        row = stateless_random.integer(row_seed, border[0], size[0] - border[0] + 1)
        column = stateless_random.integer(column_seed, border[1], size[1] - border[1] + 1)
        return _view(sample, tf.stack([row, column]) - side // 2, tf.stack([side, side]))

    return crop


def halved_below(border: int, size: Any) -> Any:
    """Return `border`, halved until it is at most half of each side of `size` (int32 [2])."""
    ratio = 2.0 * border / tf.cast(size, tf.float32)
    halvings = tf.maximum(tf.math.ceil(tf.math.log(tf.maximum(ratio, 1.0)) / tf.math.log(2.0)), 0.0)
    return border // tf.cast(tf.pow(2.0, halvings), tf.int32)


def _view(sample: Sample, start: Any, size: Any) -> Sample:
    """Cut out a window that may reach beyond the image, where it is black; drop the objects outside of it."""
    first = tf.clip_by_value(start, 0, size_of(sample["image"]) - 1)
    last = tf.clip_by_value(start + size, first + 1, size_of(sample["image"]))
    return pad_to(crop_to(sample, first, last - first), first - start, size, _BLACK)


def random_scale_crop_and_pad_to_square(section: pipeline_pb2.RandomScaleCropAndPadToSquare) -> Step:
    """Read `random_scale_crop_and_pad_to_square`: the image in a random size, cut and padded to a square.

    Its longer side becomes `output_size` times a ratio drawn uniformly; what leaves the square is cut off, at a random
    position; below and to the right of a smaller one it is black.

    Source: Tan et al. 2020 (EfficientDet, arXiv:1911.09070).
    """
    low, high = check_range(section, "scale_min", "scale_max", 0.01, 10)
    side = section.output_size
    check(1 <= side <= MAX_SIDE, f"output_size is {side}; it must be in [1, {MAX_SIDE}]")

    def crop(sample: Sample, seed: Any) -> Sample:
        scale_seed, position_seed = stateless_random.split(seed, 2)
        size = tf.cast(size_of(sample["image"]), tf.float32)
        ratio = stateless_random.uniform(scale_seed, low, high) * side / tf.reduce_max(size)
        large = tf.maximum(tf.cast(size * ratio, tf.int32), 1)
        left_over = tf.cast(tf.maximum(large - side, 0), tf.float32)
        start = tf.cast(left_over * stateless_random.uniform(position_seed, shape=[2]), tf.int32)
        resized = sample | {"image": resize(sample["image"], large)}
        return _view(resized, start, tf.constant([side, side]))

    return crop


# ---------------------------------------------------------------------------------------------- pads


def random_pad_image(section: pipeline_pb2.RandomPadImage) -> Step:
    """Read `random_pad_image`: put the image anywhere in a larger one of a size drawn uniformly.

    From its own size, or `min_image_height` and `min_image_width`, up to twice its own size, or the given one.
    """
    least = _size_or_none(section, "min_image_height", "min_image_width")
    most = _size_or_none(section, "max_image_height", "max_image_width")
    color = _color(section)

    def pad(sample: Sample, seed: Any) -> Sample:
        size = size_of(sample["image"])
        return _pad(sample, seed, size if least is None else least, 2 * size if most is None else most, color)

    return pad


def random_absolute_pad_image(section: pipeline_pb2.RandomAbsolutePadImage) -> Step:
    """Read `random_absolute_pad_image`: put the image anywhere in one that is some pixels higher and wider.

    By less than `max_height_padding` and `max_width_padding` pixels.
    """
    most, color = check_size(section, "max_height_padding", "max_width_padding", 0), _color(section)

    def pad(sample: Sample, seed: Any) -> Sample:
        size = size_of(sample["image"])
        return _pad(sample, seed, size, size + most, color)

    return pad


def random_crop_pad_image(section: pipeline_pb2.RandomCropPadImage) -> Step:
    """Read `random_crop_pad_image`: crop as `random_crop_image`, then pad by ratios of the size before the crop."""
    return _crop_and_pad(section, _color(section))


def ssd_random_crop_pad(section: pipeline_pb2.SSDRandomCropPad) -> Step:
    """Read `ssd_random_crop_pad`: one of several crops, that ask for more and more of an object, each padded."""
    if not section.operations:
        covered = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
        defaults = _defaults(pipeline_pb2.SSDRandomCropPadOperation, covered)
        return one_of([_crop_and_pad(operation, None) for operation in defaults])
    colors = ([one.pad_color_r, one.pad_color_g, one.pad_color_b] for one in section.operations)
    return one_of(list(map(_crop_and_pad, section.operations, colors)))


def ssd_random_crop_pad_fixed_aspect_ratio(section: pipeline_pb2.SSDRandomCropPadFixedAspectRatio) -> Step:
    """Read `ssd_random_crop_pad_fixed_aspect_ratio`: crops as of `ssd_random_crop`, then black to reach a shape.

    The black is below and to the right, and as much that height and width grow by ratios in a range.
    """
    ratio, (least, most) = _aspect_ratio(section), _padded_size_ratios(section)
    operations = section.operations or _defaults(pipeline_pb2.SSDRandomCropPadFixedAspectRatioOperation)

    def pad(sample: Sample, seed: Any) -> Sample:
        shape, least_scale, most_scale = smallest_frame(sample["image"], ratio, least, most)
        target = tf.cast(tf.round(shape * stateless_random.uniform(seed, least_scale, most_scale)), tf.int32)
        target = tf.maximum(target, size_of(sample["image"]))
        return pad_to(sample, tf.zeros(2, tf.int32), target, _BLACK)

    return one_after_another([one_of(list(map(random_crop_image, operations))), pad])


def smallest_frame(image: Any, aspect_ratio: Any, least: Any, most: Any) -> tuple[Any, Any, Any]:
    """Return the size of the smallest frame of an aspect ratio (width / height) around an image, and two scales of it.

    The size is float32 [2]. From the first scale on, the frame is at least `least` times as high and wide as the image,
    up to the second at most `most` times ([2] each), as far as the aspect ratio admits it.
    """
    size = tf.cast(size_of(image), tf.float32)
    height, width = tf.unstack(size)
    shape = tf.maximum(height, width / aspect_ratio) * tf.stack([1.0, aspect_ratio])
    most_scale = tf.reduce_min(tf.maximum(size * most, shape) / shape)
    least_scale = tf.minimum(tf.reduce_max(tf.maximum(size * least, shape) / shape), most_scale)
    return shape, least_scale, most_scale


def _crop_and_pad(section: Any, color: Sequence[float] | None) -> Step:
    crop, (least, most) = random_crop_image(section), _padded_size_ratios(section)

    def crop_and_pad(sample: Sample, seed: Any) -> Sample:
        crop_seed, pad_seed = stateless_random.split(seed, 2)
        size = tf.cast(size_of(sample["image"]), tf.float32)
        low, high = (tf.cast(size * ratio, tf.int32) for ratio in (least, most))
        return _pad(crop(sample, crop_seed), pad_seed, low, high, color)

    return crop_and_pad


def _pad(sample: Sample, seed: Any, least: Any, most: Any, color: Sequence[float] | None) -> Sample:
    """Pad to a size drawn from [`least`, `most`), at a random position; in the mean colour where none is given."""
    height_seed, width_seed, top_seed, left_seed = stateless_random.split(seed, 4)
    size = size_of(sample["image"])
    least, most = tf.maximum(least, size), tf.maximum(most, size)
    height = stateless_random.integer(height_seed, least[0], most[0])
    width = stateless_random.integer(width_seed, least[1], most[1])
    top = stateless_random.integer(top_seed, 0, height - size[0])
    left = stateless_random.integer(left_seed, 0, width - size[1])
    filled = mean_color(sample["image"]) if color is None else color
    return pad_to(sample, tf.stack([top, left]), tf.stack([height, width]), filled)


# ---------------------------------------------------------------------------------------------- fields


def _aspect_ratio(section: Any) -> float:
    ratio: float = section.aspect_ratio
    check(1e-3 <= ratio <= 1e3, f"aspect_ratio is {ratio:g}, width / height; it must be in [0.001, 1000]")
    return ratio


def _color(section: Any) -> list[float] | None:
    color = list(section.pad_color)
    fault = f"pad_color is {color}; give red, green and blue in [0, 255], or none for the mean of the image"
    check(not color or (len(color) == 3 and all(0 <= value <= 255 for value in color)), fault)
    return color or None


def _size_or_none(section: Any, height: str, width: str) -> tuple[int, int] | None:
    check(section.HasField(height) == section.HasField(width), f"set both {height} and {width}, or neither")
    return check_size(section, height, width, 0) if section.HasField(height) else None


def _padded_size_ratios(section: Any) -> tuple[list[float], list[float]]:
    least, most = list(section.min_padded_size_ratio), list(section.max_padded_size_ratio)
    fault = (
        f"min_padded_size_ratio is {least} and max_padded_size_ratio {most}; give a ratio for the height and one for "
        "the width, each in [0, 10], or none"
    )
    check(all(len(ratios) in (0, 2) for ratios in (least, most)), fault)
    check(all(0 <= ratio <= 10 for ratio in least + most), fault)
    return least or [1.0, 1.0], most or [2.0, 2.0]
