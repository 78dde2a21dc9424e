"""Shapes of tensors, of which some sides may be known only when the graph runs."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from object_detection.utils import static_shape
from object_detection.utils.ops import TensorError

get_dim_as_int = static_shape.get_dim_as_int


# Padding and clipping


def pad_tensor(t: Any, length: Any) -> Any:
    """Return a tensor [n, ...] with zeros behind it, as [length, ...]."""
    missing = tf.maximum(length - tf.shape(t)[0], 0)
    return _with_length(tf.pad(t, [[0, missing], *[[0, 0]] * (t.shape.rank - 1)]), length)


def clip_tensor(t: Any, length: Any) -> Any:
    """Return the first `length` rows of a tensor."""
    return _with_length(t[:length], length)


def pad_or_clip_tensor(t: Any, length: Any) -> Any:
    """Return a tensor [n, ...] as [length, ...], padded with zeros or clipped."""
    return pad_tensor(clip_tensor(tf.convert_to_tensor(t), tf.convert_to_tensor(length)), length)


def pad_or_clip_nd(tensor: Any, output_shape: Sequence[Any]) -> Any:
    """Return a tensor with zeros behind it, or clipped, along each dimension for which a length is given, not None."""
    clipped = tensor[tuple(slice(length) for length in output_shape)]
    shape = tf.unstack(tf.shape(clipped))
    missing = [0 if length is None else length - own for length, own in zip(output_shape, shape, strict=True)]
    padded = tf.pad(clipped, [[0, number] for number in missing])
    padded.set_shape([None if tf.is_tensor(length) else length for length in output_shape])
    return padded


def _with_length(t: Any, length: Any) -> Any:
    return t if tf.is_tensor(length) else tf.ensure_shape(t, [length, *t.shape[1:]])


# Static and dynamic


def combined_static_and_dynamic_shape(tensor: Any) -> list[Any]:
    """Return the shape of a tensor: an int for each dimension that is known, else a tensor."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if side is None else side for axis, side in enumerate(tensor.shape.as_list())]


def static_or_dynamic_map_fn(
    fn: Callable[[Any], Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int = 32,
    back_prop: bool = True,
) -> Any:
    """Return what `fn` gives for each row of `elems`, a tensor or a list of them, stacked.

    `fn` returns a tensor or a list of tensors. Without a loop of TensorFlow where the number of rows is known.

    Raises:
        TensorError: for anything but tensors.
    """
    several = isinstance(elems, list)
    tensors = elems if several else [elems]
    if not all(map(tf.is_tensor, tensors)):
        raise TensorError("`elems` must be a Tensor or list of Tensors.")
    counts = {tensor.shape[0] if tensor.shape.rank else None for tensor in tensors}
    if len(counts) > 1 or not counts - {None, 0}:
        mapped = tf.map_fn(fn, elems, dtype, parallel_iterations, back_prop)
        return mapped if back_prop else tf.nest.map_structure(tf.stop_gradient, mapped)
    rows = [list(row) for row in zip(*map(tf.unstack, tensors), strict=True)]
    outputs = [fn(row if several else row[0]) for row in rows]
    if all(map(tf.is_tensor, outputs)):
        return tf.stack(outputs)
    if all(isinstance(output, list) and all(map(tf.is_tensor, output)) for output in outputs):
        return [tf.stack(column) for column in zip(*outputs, strict=True)]
    raise TensorError("`fn` should return a Tensor or a list of Tensors.")


# Checks


def check_min_image_dim(min_dim: int, image_tensor: Any) -> Any:
    """Return images [b, h, w, d] if h and w are at least `min_dim` pixels.

    Raises:
        TensorError: if they are known not to be; TensorFlow's InvalidArgumentError if it turns out later.
    """
    message = f"image size must be >= {min_dim} in both height and width; image dim ="
    sides = combined_static_and_dynamic_shape(image_tensor)[1:3]
    if any(isinstance(side, int) and side < min_dim for side in sides):
        raise TensorError(f"{message} {image_tensor.shape[1:3].as_list()}.")
    checks = [
        tf.debugging.assert_greater_equal(side, min_dim, message) for side in sides if tf.is_tensor(side)
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(image_tensor) if checks else image_tensor


def assert_shape_equal(shape_a: Sequence[Any], shape_b: Sequence[Any]) -> Any:
    """Return an operation that checks that two shapes are the same; raise TensorError if they are known not to be."""
    return _assert_equal(list(shape_a), list(shape_b), "Unequal shapes")


def assert_shape_equal_along_first_dimension(shape_a: Sequence[Any], shape_b: Sequence[Any]) -> Any:
    """Return an operation that checks that two shapes start alike; raise TensorError if they are known not to."""
    return _assert_equal([shape_a[0]], [shape_b[0]], "Unequal first dimension")


def _assert_equal(shape_a: list[Any], shape_b: list[Any], message: str) -> Any:
    if all(isinstance(side, int) for side in [*shape_a, *shape_b]):
        if shape_a != shape_b:
            raise TensorError(f"{message} {shape_a}, {shape_b}.")
        return tf.no_op()
    checked = tf.debugging.assert_equal(tf.stack(shape_a), tf.stack(shape_b), message)
    return tf.no_op() if checked is None else checked


def assert_box_normalized(boxes: Any, maximum_normalized_coordinate: float = 1.1) -> Any:
    """Return an operation that checks that all coordinates of boxes [n, 4] are in [0, maximum].

    It fails with TensorFlow's InvalidArgumentError.
    """
    least, most = tf.reduce_min(boxes), tf.reduce_max(boxes)
    right = tf.logical_and(most <= maximum_normalized_coordinate, least >= 0)
    return tf.debugging.Assert(right, [boxes])


# Folding


def flatten_dimensions(inputs: Any, first: int, last: int) -> Any:
    """Return a tensor with its dimensions from `first` to before `last` folded into one.

    Raises:
        TensorError: if there are not so many.
    """
    if first >= inputs.shape.rank or last > inputs.shape.rank:
        raise TensorError(
            f"`first` and `last` must be less than inputs.shape.ndims. found {first} and {last} respectively while "
            f"ndims is {inputs.shape.rank}"
        )
    shape = combined_static_and_dynamic_shape(inputs)
    return tf.reshape(inputs, [*shape[:first], _product(shape[first:last]), *shape[last:]])


def flatten_first_n_dimensions(inputs: Any, n: int) -> Any:
    """Return a tensor with its first n dimensions folded into one."""
    return flatten_dimensions(inputs, first=0, last=n)


def expand_first_dimension(inputs: Any, dims: Sequence[Any]) -> Any:
    """Return a tensor [n, ...] with `dims`, whose product is n, in place of n; checked when the graph runs."""
    shape = combined_static_and_dynamic_shape(inputs)
    message = "First dimension in `inputs` cannot be expanded into given `dims`"
    check = tf.debugging.assert_equal(_product(dims), shape[0], message)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.reshape(inputs, [*dims, *shape[1:]])


def _product(sides: Sequence[Any]) -> Any:
    product: Any = 1
    for side in sides:
        product = product * side
    return product


def resize_images_and_return_shapes(inputs: Any, image_resizer_fn: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return images float32 [b, h, w, d] resized one by one, and int32 [b, 3], the true shape of each.

    `image_resizer_fn` returns the image, masks if any, and the true shape last.

    Raises:
        TensorError: for another type than float32.
    """
    if inputs.dtype is not tf.float32:
        raise TensorError("`resize_images_and_return_shapes` expects a tf.float32 tensor")

    def resized(image: Any) -> list[Any]:
        outputs = image_resizer_fn(image)
        return [outputs[0], outputs[-1]]

    images, shapes = static_or_dynamic_map_fn(resized, inputs, dtype=[tf.float32, tf.int32])
    return images, shapes
