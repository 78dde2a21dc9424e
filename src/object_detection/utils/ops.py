"""Operations on tensors that scripts import from the API's module of this name.

Dimension letters: b, images; n, boxes; h w, pixels; c, channels or classes.
"""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune.data.decoder import decoded
from boxtune.detection import boxes as box_arithmetic
from boxtune.errors import DataError
from object_detection.core.standard_fields import SEQUENCE_FIELDS, InputDataFields

EqualizationLossConfig = namedtuple("EqualizationLossConfig", ["weight", "exclude_prefixes"])

_SMALLEST_SIDE = 1e-4  # of a box, as a fraction of the image, that a mask is stretched from
_PER_OBJECT = (
    InputDataFields.groundtruth_boxes,
    InputDataFields.groundtruth_classes,
    InputDataFields.groundtruth_confidences,
    InputDataFields.groundtruth_weights,
    InputDataFields.groundtruth_keypoints,
    InputDataFields.groundtruth_keypoint_visibilities,
    InputDataFields.groundtruth_keypoint_depths,
    InputDataFields.groundtruth_keypoint_depth_weights,
    InputDataFields.groundtruth_instance_masks,
    InputDataFields.groundtruth_instance_mask_weights,
    InputDataFields.groundtruth_dp_num_points,
    InputDataFields.groundtruth_dp_part_ids,
    InputDataFields.groundtruth_dp_surface_coords,
    InputDataFields.groundtruth_track_ids,
    InputDataFields.groundtruth_temporal_offset,
    InputDataFields.groundtruth_track_match_flags,
    InputDataFields.groundtruth_is_crowd,
    InputDataFields.groundtruth_area,
    InputDataFields.groundtruth_difficult,
    InputDataFields.groundtruth_label_types,
    InputDataFields.groundtruth_group_of,
)


class TensorError(DataError, ValueError):
    """A tensor or a number that does not fit; a ValueError too, which is what the API raises."""

    # TensorFlow raises the errors of a graph anew; it keeps the class of those that are made like this.
    __init__ = Exception.__init__


# Masks and boxes


def reframe_box_masks_to_image_masks(
    box_masks: Any, boxes: Any, image_height: int, image_width: int, resize_method: str = "bilinear"
) -> Any:
    """Return masks [n, h, w] of whole images from masks [n, y, x] of boxes [n, 4] in fractions.

    Masks of uint8 are stretched by `resize_method` "nearest", whatever is given. Outside of its box a mask is 0.
    """
    box_masks, boxes = tf.convert_to_tensor(box_masks), tf.convert_to_tensor(boxes)
    method = "nearest" if box_masks.dtype == tf.uint8 else resize_method
    corner, size = boxes[:, :2], tf.maximum(boxes[:, 2:] - boxes[:, :2], _SMALLEST_SIDE)
    whole_image = tf.concat([-corner / size, (1 - corner) / size], axis=1)  # in the frame of each box

    def stretched() -> Any:
        masks = tf.image.crop_and_resize(
            box_masks[..., tf.newaxis],
            tf.cast(whole_image, tf.float32),
            tf.range(tf.shape(box_masks)[0]),
            [image_height, image_width],
            method=method,
        )
        return tf.cast(masks[..., 0], box_masks.dtype)

    nothing = tf.zeros([0, image_height, image_width], box_masks.dtype)
    return tf.cond(tf.shape(box_masks)[0] > 0, stretched, lambda: nothing)


def normalized_to_image_coordinates(
    normalized_boxes: Any, image_shape: Any, parallel_iterations: int = 32
) -> Any:
    """Return boxes [b, n, 4] in pixels from fractions of images of the shape [b, h, w, c]."""
    height, width = tf.cast(image_shape[1], tf.float32), tf.cast(image_shape[2], tf.float32)
    return normalized_boxes * tf.stack([height, width, height, width])


def giou(boxes1: Any, boxes2: Any) -> Any:
    """Return the generalized intersection over union [n] of boxes [n, 4] and [n, 4], one by one."""
    return box_arithmetic.giou(boxes1, boxes2)


def center_to_corner_coordinate(input_tensor: Any) -> Any:
    """Return boxes [..., 4] from centre y, centre x, height and width [..., 4]."""
    return box_arithmetic.from_centers(*tf.unstack(input_tensor, axis=-1))


def dense_to_sparse_boxes(dense_locations: Any, dense_num_boxes: Any, num_classes: int) -> tuple[Any, Any]:
    """Return boxes [n, 4] and classes int32 [n] from boxes in the order of their classes, and the number of each class.

    Args:
        dense_locations: [most, 4], of which the first n are boxes.
        dense_num_boxes: int32 [c], which add up to n.
        num_classes: c.
    """
    classes = tf.repeat(tf.range(num_classes), dense_num_boxes)
    return dense_locations[: tf.size(classes)], classes


def merge_boxes_with_multiple_labels(
    boxes: Any, classes: Any, confidences: Any, num_classes: int, quantization_bins: int = 10000
) -> tuple[Any, Any, Any, Any]:
    """Return each box once, with all of its classes.

    Args:
        boxes: [n, 4] in fractions.
        classes: int64 [n], from 0 on.
        confidences: float32 [n].
        num_classes: c.
        quantization_bins: boxes whose sides are equal in so many steps are the same.

    Returns:
        The boxes [m, 4], in the order of their first objects; int64 [m, c], 1 for the classes of their objects; float32
        [m, c], their confidences, else 0; and int32 [m], the number of the first object of each.

    Raises:
        TensorError: for other shapes.
    """
    boxes, classes = tf.convert_to_tensor(boxes), tf.convert_to_tensor(classes)
    confidences = tf.convert_to_tensor(confidences)
    if (
        boxes.shape.rank != 2
        or boxes.shape[-1] != 4
        or classes.shape.rank != 1
        or confidences.shape.rank != 1
    ):
        raise TensorError(
            f"boxes, classes and confidences are {boxes.shape}, {classes.shape} and {confidences.shape}; they have to "
            "be [n, 4], [n] and [n]."
        )
    steps = tf.cast(boxes * (quantization_bins - 1), tf.int64)
    codes = tf.reduce_sum(
        steps * tf.constant([quantization_bins**side for side in range(4)], tf.int64), axis=1
    )
    unique, owners = tf.unique(codes)
    count = tf.size(unique)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(codes)), owners, count)
    places = tf.stack([owners, tf.cast(classes, tf.int32)], axis=1)

    def spread(values: Any) -> Any:
        return tf.tensor_scatter_nd_update(tf.zeros([count, num_classes], values.dtype), places, values)

    of_class = spread(tf.ones_like(codes))
    return tf.gather(boxes, first), of_class, spread(confidences), first


def fpn_feature_levels(num_levels: int, unit_scale_index: int, image_ratio: float, boxes: Any) -> Any:
    """Return int32 [b, n], the level of a feature pyramid for each of `boxes` [b, n, 4] in fractions, from 0 on.

    A box as large as the image is of level `unit_scale_index` if `image_ratio`, the side of the image over that of the
    images of the pretraining, is 1. Source: Lin et al. 2017 (arXiv:1612.03144), equation 1.
    """
    side = tf.sqrt(box_arithmetic.area(boxes)) * image_ratio
    level = tf.math.floor(tf.math.log(side) / np.log(2)) + unit_scale_index
    return tf.cast(tf.clip_by_value(level, 0, num_levels - 1), tf.int32)


def native_crop_and_resize(image: Any, boxes: Any, crop_size: Any, scope: str | None = None) -> Any:
    """Return crops [b, n, *crop_size, c] of images [b, h, w, c] within boxes [b, n, 4] in fractions, bilinearly."""
    return matmul_crop_and_resize(image, boxes, crop_size, scope=scope)


def matmul_crop_and_resize(
    image: Any, boxes: Any, crop_size: Any, extrapolation_value: float = 0.0, scope: str | None = None
) -> Any:
    """Return the same as `native_crop_and_resize`, with `extrapolation_value` outside of the image.

    Raises:
        TensorError: for other shapes.
    """
    image, boxes = tf.convert_to_tensor(image), tf.convert_to_tensor(boxes)
    if image.shape.rank != 4 or boxes.shape.rank != 3 or np.shape(crop_size) != (2,):
        raise TensorError(
            f"The images are {image.shape} and the boxes {boxes.shape}, crop_size is {crop_size}; give [b, h, w, c], "
            "[b, n, 4] and two numbers."
        )
    with tf.name_scope(scope or "CropAndResize"):
        num_images, num_boxes = tf.unstack(tf.shape(boxes)[:2])
        crops = tf.image.crop_and_resize(
            image,
            tf.reshape(boxes, [-1, 4]),
            tf.repeat(tf.range(num_images), num_boxes),
            crop_size,
            extrapolation_value=extrapolation_value,
        )
        return tf.reshape(crops, tf.concat([[num_images, num_boxes], tf.shape(crops)[1:]], axis=0))


def position_sensitive_crop_regions(
    image: Any, boxes: Any, crop_size: Sequence[int], num_spatial_bins: Sequence[int], global_pool: bool
) -> Any:
    """Return what `batch_position_sensitive_crop_regions` does, of one image [h, w, c] and boxes [n, 4]."""
    image, boxes = tf.convert_to_tensor(image), tf.convert_to_tensor(boxes)
    crops = batch_position_sensitive_crop_regions(
        image[tf.newaxis], boxes[tf.newaxis], crop_size, num_spatial_bins, global_pool
    )
    return crops[0]


def batch_position_sensitive_crop_regions(
    images: Any,
    boxes: Any,
    crop_size: Sequence[int],
    num_spatial_bins: Sequence[int],
    global_pool: bool,
    parallel_iterations: int = 64,
) -> Any:
    """Return crops of images [b, h, w, c] within boxes [b, n, 4] in fractions: each part of a box has its own channels.

    `num_spatial_bins` rows and columns of parts share the channels out, row by row. The crops are [b, n, *crop_size,
    c / parts], or with `global_pool` the mean of each, [b, n, 1, 1, c / parts]; `parallel_iterations` makes no
    difference. Source: Dai et al. 2016 (R-FCN, arXiv:1605.06409), section 2.

    Raises:
        TensorError: for sizes that the parts do not divide, and without `global_pool` for parts that are not square.
    """
    rows, columns = num_spatial_bins
    if rows < 1 or columns < 1:
        raise TensorError(f"num_spatial_bins should be >= 1; they are {num_spatial_bins}")
    if crop_size[0] % rows or crop_size[1] % columns:
        raise TensorError(
            f"crop_size should be divisible by num_spatial_bins; they are {crop_size} and {num_spatial_bins}"
        )
    size = [crop_size[0] // rows, crop_size[1] // columns]
    if not global_pool and size[0] != size[1]:
        raise TensorError(f"Only support square bin crop size for now. It is {size}.")
    top, left, bottom, right = tf.unstack(boxes, axis=-1)
    height, width = (bottom - top) / rows, (right - left) / columns
    crops = []
    for number, channels in enumerate(tf.split(images, rows * columns, axis=-1)):
        row, column = divmod(number, columns)
        start = [top + row * height, left + column * width]
        part = tf.stack([*start, start[0] + height, start[1] + width], axis=-1)
        crops.append(matmul_crop_and_resize(channels, part, size))
    if global_pool:
        return tf.reduce_mean(tf.add_n(crops) / len(crops), axis=[2, 3], keepdims=True)
    lines = [tf.concat(crops[first : first + columns], axis=3) for first in range(0, len(crops), columns)]
    return tf.concat(lines, axis=2)


# Ground truth, in a dict by the names of `standard_fields`


def retain_groundtruth(tensor_dict: Mapping[str, Any], valid_indices: Any) -> dict[str, Any]:
    """Return ground truth with some of its objects, by their numbers [m] or [m, 1].

    What a record does not have is empty and stays so. Raises TensorError for numbers of another shape, and if there
    are no boxes.
    """
    indices = tf.convert_to_tensor(valid_indices)
    if indices.shape.rank not in (1, 2) or (indices.shape.rank == 2 and indices.shape[1] != 1):
        raise TensorError(f"valid_indices is {indices.shape}; it has to be [m] or [m, 1].")
    if InputDataFields.groundtruth_boxes not in tensor_dict:
        raise TensorError(f"There is no {InputDataFields.groundtruth_boxes} in the dict.")
    indices = tf.reshape(indices, [-1])
    count = tf.shape(tensor_dict[InputDataFields.groundtruth_boxes])[0]

    def retained(values: Any) -> Any:
        values = tf.convert_to_tensor(values)
        kept = tf.cond(tf.shape(values)[0] == count, lambda: tf.gather(values, indices), lambda: values)
        return tf.ensure_shape(kept, [None, *values.shape[1:]])

    return {name: retained(value) if name in _PER_OBJECT else value for name, value in tensor_dict.items()}


def retain_groundtruth_with_positive_classes(tensor_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return ground truth without the objects of classes below 1; raise TensorError if there are no classes."""
    if InputDataFields.groundtruth_classes not in tensor_dict:
        raise TensorError(f"There is no {InputDataFields.groundtruth_classes} in the dict.")
    return _retain_where(tensor_dict, tf.greater(tensor_dict[InputDataFields.groundtruth_classes], 0))


def filter_groundtruth_with_crowd_boxes(tensor_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ground truth without crowds."""
    if InputDataFields.groundtruth_is_crowd not in tensor_dict:
        return tensor_dict
    is_crowd = tf.cast(tensor_dict[InputDataFields.groundtruth_is_crowd], tf.bool)
    return _retain_where(tensor_dict, tf.logical_not(is_crowd))


def filter_groundtruth_with_nan_box_coordinates(tensor_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return ground truth without boxes that lack a number."""
    is_nan = tf.math.is_nan(tensor_dict[InputDataFields.groundtruth_boxes])
    return _retain_where(tensor_dict, tf.logical_not(tf.reduce_any(is_nan, axis=1)))


def filter_unrecognized_classes(tensor_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return ground truth without objects of class -1; raise TensorError if there are no classes."""
    if InputDataFields.groundtruth_classes not in tensor_dict:
        raise TensorError(f"There is no {InputDataFields.groundtruth_classes} in the dict.")
    return _retain_where(tensor_dict, tf.not_equal(tensor_dict[InputDataFields.groundtruth_classes], -1))


def _retain_where(tensor_dict: Mapping[str, Any], is_kept: Any) -> dict[str, Any]:
    return retain_groundtruth(tensor_dict, tf.where(is_kept))


def replace_nan_groundtruth_label_scores_with_ones(label_scores: Any) -> Any:
    """Return scores with 1 in place of those that are not a number."""
    return tf.where(tf.math.is_nan(label_scores), tf.ones_like(label_scores), label_scores)


def tile_context_tensors(tensor_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a sequence; what it has once is repeated for each frame."""
    count = tf.shape(tensor_dict[InputDataFields.image])[0]

    def tiled(values: Any) -> Any:
        return tf.repeat(tf.expand_dims(values, 0), count, axis=0)

    return {name: value if name in SEQUENCE_FIELDS else tiled(value) for name, value in tensor_dict.items()}


def decode_image(tensor_dict: dict[str, Any]) -> dict[str, Any]:
    """Decode the image of a dict, in place, to uint8 [h, w, 3]; return the dict."""
    tensor_dict[InputDataFields.image] = decoded(tensor_dict[InputDataFields.image])
    return tensor_dict


# Shapes


def expanded_shape(orig_shape: Any, start_dim: int, num_dims: int) -> Any:
    """Return a shape, int32, with `num_dims` ones in it before the dimension `start_dim`."""
    ones = tf.ones([num_dims], tf.int32)
    return tf.concat([orig_shape[:start_dim], ones, orig_shape[start_dim:]], axis=0)


def meshgrid(x: Any, y: Any) -> tuple[Any, Any]:
    """Return `x` and `y`, of any shapes, each repeated for the elements of the other: both of the shape of y and x."""
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    shape = tf.concat([tf.shape(y), tf.shape(x)], axis=0)
    y_columns = tf.reshape(y, expanded_shape(tf.shape(y), y.shape.rank, x.shape.rank))
    static = y.shape.concatenate(x.shape)
    return tuple(tf.ensure_shape(tf.broadcast_to(one, shape), static) for one in (x, y_columns))


def fixed_padding(inputs: Any, kernel_size: int, rate: int = 1) -> Any:
    """Return images [b, h, w, c] with the zeros around them that a convolution needs to keep their size."""
    total = kernel_size + (kernel_size - 1) * (rate - 1) - 1
    sides = [total // 2, total - total // 2]
    return tf.pad(inputs, [[0, 0], sides, sides, [0, 0]])


def pad_to_multiple(tensor: Any, multiple: int) -> Any:
    """Return images [b, h, w, c] with zeros below and on the right, up to multiples of a number."""
    height, width = (side if side is not None else tf.shape(tensor)[axis + 1]
                     for axis, side in enumerate(tensor.shape[1:3]))  # fmt: skip
    return tf.pad(tensor, [[0, 0], [0, -height % multiple], [0, -width % multiple], [0, 0]])


def nearest_neighbor_upsampling(
    input_tensor: Any,
    scale: int | None = None,
    height_scale: int | None = None,
    width_scale: int | None = None,
) -> Any:
    """Return images [b, h, w, c] in which each pixel is repeated; `scale` is of both sides.

    Raises TensorError if there is no scale.
    """
    if not scale and (height_scale is None or width_scale is None):
        raise TensorError("Give scale, or height_scale and width_scale.")
    rows = tf.repeat(input_tensor, scale or height_scale, axis=1)
    return tf.repeat(rows, scale or width_scale, axis=2)


def reduce_sum_trailing_dimensions(tensor: Any, ndims: int) -> Any:
    """Return the sums over all dimensions but the first `ndims`."""
    return tf.reduce_sum(tensor, axis=tuple(range(ndims, tensor.shape.rank)))


# Choosing


def padded_one_hot_encoding(indices: Any, depth: int, left_pad: int) -> Any:
    """Return float32 [n, left_pad + depth], 1 in the column of each of `indices` [n] behind `left_pad` zeros.

    None if `depth` is 0. Raises TensorError for negative numbers, fractions and other shapes.
    """
    if not all(isinstance(number, int | np.integer) and number >= 0 for number in (depth, left_pad)):
        raise TensorError(f"depth is {depth} and left_pad {left_pad}; both have to be integers from 0 on.")
    if depth == 0:
        return None
    indices = tf.convert_to_tensor(indices)
    if indices.shape.rank != 1:
        raise TensorError(f"indices is {indices.shape}; it has to be [n].")
    return tf.pad(tf.one_hot(indices, depth), [[0, 0], [left_pad, 0]])


def indices_to_dense_vector(
    indices: Any,
    size: Any,
    indices_value: float = 1.0,
    default_value: float = 0,
    dtype: tf.DType = tf.float32,
) -> Any:
    """Return a vector [size] of `indices_value` at `indices` [n], and `default_value` elsewhere."""
    vector = tf.fill([size], tf.cast(default_value, dtype))
    values = tf.fill([tf.size(indices)], tf.cast(indices_value, dtype))
    return tf.tensor_scatter_nd_update(vector, tf.expand_dims(indices, -1), values)


def matmul_gather_on_zeroth_axis(params: Any, indices: Any, scope: str | None = None) -> Any:
    """Return the rows of `params` at `indices`."""
    return tf.gather(params, indices)


def gather_with_padding_values(input_tensor: Any, indices: Any, padding_value: Any) -> Any:
    """Return the rows of `input_tensor` [n, ...] at `indices`, and `padding_value` [...] for index -1."""
    padded = tf.concat([tf.expand_dims(padding_value, 0), input_tensor], axis=0)
    return tf.gather(padded, indices + 1)


def bfloat16_to_float32_nested(input_nested: Any) -> Any:
    """Return tensors in nested lists and dicts, those of bfloat16 as float32; tuples become lists."""
    if isinstance(input_nested, Mapping):
        return {name: bfloat16_to_float32_nested(value) for name, value in input_nested.items()}
    if isinstance(input_nested, list | tuple):
        return [bfloat16_to_float32_nested(value) for value in input_nested]
    is_bfloat16 = tf.is_tensor(input_nested) and input_nested.dtype == tf.bfloat16
    return tf.cast(input_nested, tf.float32) if is_bfloat16 else input_nested
