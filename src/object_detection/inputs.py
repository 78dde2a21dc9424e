"""What a training or an evaluation reads, as batches of features and labels for loops of one's own.

Features are `image`, preprocessed, and `true_image_shape`; labels are ground truth by the names of
`standard_fields.InputDataFields`, padded to the same number of objects.

Dimension letters: b, batch; n, objects; c, classes; h w d.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from boxtune import config
from boxtune.config.pipeline_pb2 import (
    DetectionModel,
    EvalConfig,
    ImageResizer,
    InputReader,
    InputType,
    TrainConfig,
)
from boxtune.data import resize
from boxtune.data.geometry import to_input_frame
from boxtune.errors import ConfigError
from object_detection.builders import dataset_builder, model_builder, preprocessor_builder
from object_detection.core import preprocessor
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import config_util, ops

HASH_KEY = "hash"
HASH_BINS = 1 << 31
SERVING_FED_EXAMPLE_KEY = "serialized_example"

INPUT_BUILDER_UTIL_MAP: dict[str, Callable[..., Any]] = {
    "dataset_build": dataset_builder.build,
    "model_build": model_builder.build,
}
"""The functions that an input is made of, by the API's names."""

Tensors = dict[str, Any]
Function = Callable[..., Any]

_FIRST_ID = 1
"""The id of class 0 in a label map."""
_UNKNOWN = -1

_OF_OBJECTS = {
    Fields.groundtruth_difficult: (),
    Fields.groundtruth_boxes: (4,),
    Fields.groundtruth_classes: ("c",),
    Fields.groundtruth_confidences: ("c",),
    Fields.groundtruth_weights: (),
    Fields.groundtruth_is_crowd: (),
    Fields.groundtruth_group_of: (),
    Fields.groundtruth_area: (),
    Fields.groundtruth_label_types: (),
    Fields.groundtruth_instance_masks: ("h", "w"),
    Fields.groundtruth_instance_mask_weights: (),
    Fields.groundtruth_keypoints: (None, 2),
    Fields.groundtruth_keypoint_visibilities: (None,),
    Fields.groundtruth_keypoint_weights: (None,),
    Fields.groundtruth_track_ids: (),
}
"""What has a row for each object, and the shape of a row."""

_OF_IMAGES = {
    Fields.image: ("h", "w", None),
    Fields.original_image: ("h", "w", None),
    Fields.original_image_spatial_shape: (2,),
    Fields.true_image_shape: (3,),
    Fields.source_id: (),
    Fields.filename: (),
    Fields.key: (),
    Fields.num_groundtruth_boxes: (),
    Fields.groundtruth_image_classes: ("c",),
    Fields.groundtruth_image_confidences: ("c",),
    Fields.groundtruth_labeled_classes: ("c",),
    Fields.groundtruth_verified_neg_classes: ("c",),
    Fields.groundtruth_not_exhaustive_classes: ("c",),
}
"""What belongs to the whole image, and its shape."""

_NEEDED_LABELS = (
    Fields.num_groundtruth_boxes,
    Fields.groundtruth_boxes,
    Fields.groundtruth_classes,
    Fields.groundtruth_weights,
)
_OTHER_LABELS = (
    *(name for name in _OF_OBJECTS if name not in _NEEDED_LABELS),
    Fields.groundtruth_image_classes,
    Fields.groundtruth_image_confidences,
    Fields.groundtruth_labeled_classes,
    Fields.groundtruth_verified_neg_classes,
    Fields.groundtruth_not_exhaustive_classes,
)
_LABELED = {
    Fields.groundtruth_labeled_classes: True,
    Fields.groundtruth_image_classes: True,
    Fields.groundtruth_verified_neg_classes: False,
    Fields.groundtruth_not_exhaustive_classes: False,
}
"""Lists of classes of an image, and whether an empty one stands for all classes."""


class DoubleLabelsError(ConfigError, KeyError):
    """Labels of images that are given twice; a KeyError too, which is what the API raises."""


# One record


def convert_labeled_classes_to_k_hot(
    groundtruth_labeled_classes: Any, num_classes: int, map_empty_to_ones: bool = False
) -> Any:
    """Return float32 [c]: 1 for the classes of some ids (from 1 on), else 0; for no ids all ones, if asked for."""
    numbers = tf.cast(groundtruth_labeled_classes, tf.int64) - _FIRST_ID
    hot = tf.reduce_max(tf.one_hot(tf.concat([numbers, [_UNKNOWN]], axis=0), num_classes), axis=0)
    if map_empty_to_ones:
        return tf.where(tf.size(numbers) > 0, hot, tf.ones_like(hot))
    return hot


def assert_or_prune_invalid_boxes(boxes: Any) -> Any:
    """Return boxes [n, 4] without those that are not a number.

    Raises:
        tf.errors.InvalidArgumentError: when they are read, if the minimum of one is above its maximum.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    checks = [
        tf.debugging.assert_equal(tf.reduce_any(sides < 0), False, "a box has its minimum above its maximum")
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.boolean_mask(boxes, tf.reduce_all(sides >= 0, axis=1))


def transform_input_data(
    tensor_dict: Mapping[str, Any],
    model_preprocess_fn: Function,
    image_resizer_fn: Function,
    num_classes: int,
    data_augmentation_fn: Function | None = None,
    merge_multiple_boxes: bool = False,
    retain_original_image: bool = False,
    use_multiclass_scores: bool = False,
    use_bfloat16: bool = False,
    retain_original_image_additional_channels: bool = False,
    keypoint_type_weight: Sequence[float] | None = None,
) -> Tensors:
    """Return a decoded record as a model takes it.

    Objects without a class are left out, boxes become fractions of the padded image, and classes one-hot from 0 on.

    Args:
        tensor_dict: as a decoder returns it.
        model_preprocess_fn: from images float32 [1, h, w, 3] to such and their sizes int32 [1, 3].
        image_resizer_fn: from an image and masks or None to a list that begins with the image.
        num_classes: c.
        data_augmentation_fn: from tensors to tensors.
        merge_multiple_boxes: objects with the same box become one with all of their classes.
        retain_original_image: keep the image, resized, as `original_image`.
        use_multiclass_scores: classes are `multiclass_scores`, without background.
        use_bfloat16: of the image.
        retain_original_image_additional_channels: keep the additional channels.
        keypoint_type_weight: not supported.

    Raises:
        DoubleLabelsError: if the image has both `groundtruth_labeled_classes` and `groundtruth_image_classes`.
        ConfigError: for keypoint_type_weight.
    """
    if keypoint_type_weight:
        raise ConfigError("keypoint_type_weight is not supported: leave it out")
    tensors = dict(tensor_dict)
    if Fields.groundtruth_labeled_classes in tensors and Fields.groundtruth_image_classes in tensors:
        raise DoubleLabelsError(
            "groundtruth_labeled_classes and groundtruth_image_classes say the same of an image; leave one out"
        )
    for name, empty_is_all in _LABELED.items():
        if name in tensors:
            known = tf.boolean_mask(tensors[name], tensors[name] != _UNKNOWN)
            tensors[name] = convert_labeled_classes_to_k_hot(known, num_classes, empty_is_all)
    if Fields.multiclass_scores in tensors:
        tensors[Fields.multiclass_scores] = _scores_of_known(tensors, num_classes)
    if Fields.groundtruth_boxes in tensors:
        tensors = ops.filter_groundtruth_with_nan_box_coordinates(tensors)
        tensors = ops.filter_unrecognized_classes(tensors)
    if retain_original_image:
        tensors[Fields.original_image] = tf.cast(image_resizer_fn(tensors[Fields.image], None)[0], tf.uint8)
    if Fields.image_additional_channels in tensors:
        channels = tensors[Fields.image_additional_channels]
        tensors[Fields.image] = tf.concat([tensors[Fields.image], channels], axis=2)
        if not retain_original_image_additional_channels:
            del tensors[Fields.image_additional_channels]
    if data_augmentation_fn is not None:
        tensors = data_augmentation_fn(tensors)
    tensors |= _preprocessed(tensors, model_preprocess_fn, image_resizer_fn)
    if use_bfloat16:
        tensors[Fields.image] = tf.cast(tensors[Fields.image], tf.bfloat16)
    tensors |= _classes(tensors, num_classes, use_multiclass_scores)
    tensors.pop(Fields.multiclass_scores, None)
    if merge_multiple_boxes:
        tensors = _merged(tensors, num_classes)
    if Fields.groundtruth_boxes in tensors:
        tensors[Fields.num_groundtruth_boxes] = tf.shape(tensors[Fields.groundtruth_boxes])[0]
    return tensors


def _scores_of_known(tensors: Mapping[str, Any], num_classes: int) -> Any:
    """Return the scores [n, c] of the objects that are kept; without any, 1 for the class of each."""
    boxes, classes = tensors[Fields.groundtruth_boxes], tensors[Fields.groundtruth_classes]
    scores = tf.cond(
        tf.size(tensors[Fields.multiclass_scores]) > 0,
        lambda: tf.reshape(tensors[Fields.multiclass_scores], [tf.shape(boxes)[0], num_classes]),
        lambda: tf.one_hot(tf.cast(classes, tf.int64) - _FIRST_ID, num_classes),
    )
    kept = (classes != _UNKNOWN) & ~tf.reduce_any(tf.math.is_nan(boxes), axis=1)
    return tf.boolean_mask(scores, kept)


def _preprocessed(tensors: Mapping[str, Any], preprocess: Function, resize_image: Function) -> Tensors:
    """Return image and masks as the model takes them, and boxes and keypoints in their frame."""
    image = tf.cast(tensors[Fields.image], tf.float32)
    images, shapes = preprocess(image[None])
    moved: Tensors = {Fields.image: images[0], Fields.true_image_shape: shapes[0]}
    size, frame = shapes[0, :2], tf.shape(images)[1:3]
    if Fields.groundtruth_boxes in tensors:
        boxes = to_input_frame(tensors[Fields.groundtruth_boxes][None], size[None], frame)[0]
        moved[Fields.groundtruth_boxes] = assert_or_prune_invalid_boxes(boxes)
    if Fields.groundtruth_keypoints in tensors:
        fractions = tf.cast(size, tf.float32) / tf.cast(frame, tf.float32)
        moved[Fields.groundtruth_keypoints] = tensors[Fields.groundtruth_keypoints] * fractions
    if Fields.groundtruth_instance_masks in tensors:
        _, masks, _ = resize_image(image, tensors[Fields.groundtruth_instance_masks])
        moved[Fields.groundtruth_instance_masks] = masks
    return moved


def _classes(tensors: Mapping[str, Any], num_classes: int, use_multiclass_scores: bool) -> Tensors:
    """Return classes and confidences, float32 [n, c]."""
    if use_multiclass_scores:
        classes = tensors[Fields.multiclass_scores]
    else:
        classes = tf.one_hot(tf.cast(tensors[Fields.groundtruth_classes], tf.int64) - _FIRST_ID, num_classes)
    confidences = classes
    if Fields.groundtruth_confidences in tensors:
        confidences = tf.reshape(tensors[Fields.groundtruth_confidences], [-1, 1]) * classes
    return {Fields.groundtruth_classes: classes, Fields.groundtruth_confidences: confidences}


def _merged(tensors: Mapping[str, Any], num_classes: int) -> Tensors:
    """Return a record in which objects of the same box are one, with all of their classes."""
    boxes, classes, confidences, first = ops.merge_boxes_with_multiple_labels(
        tensors[Fields.groundtruth_boxes],
        tf.argmax(tensors[Fields.groundtruth_classes], axis=-1),
        tf.reduce_max(tensors[Fields.groundtruth_confidences], axis=-1),
        num_classes,
    )
    return ops.retain_groundtruth(tensors, first) | {
        Fields.groundtruth_boxes: tf.reshape(boxes, [-1, 4]),
        Fields.groundtruth_classes: tf.cast(tf.reshape(classes, [-1, num_classes]), tf.float32),
        Fields.groundtruth_confidences: tf.reshape(confidences, [-1, num_classes]),
    }


def augment_input_data(
    tensor_dict: Mapping[str, Any],
    data_augmentation_options: Sequence[tuple[Function, Mapping[str, Any]]],
) -> Tensors:
    """Return a decoded record with its image, float32, and its objects changed at random.

    Args:
        tensor_dict: as a decoder returns it.
        data_augmentation_options: functions of `core.preprocessor`, each with its further arguments, as
            `preprocessor_builder.build` returns them.
    """
    image = tf.cast(tensor_dict[Fields.image], tf.float32)
    tensors = {**tensor_dict, Fields.image: image[None]}
    arguments = preprocessor.get_default_func_arg_map(
        include_label_weights=Fields.groundtruth_weights in tensors,
        include_label_confidences=Fields.groundtruth_confidences in tensors,
        include_multiclass_scores=Fields.multiclass_scores in tensors,
        include_instance_masks=Fields.groundtruth_instance_masks in tensors,
        include_instance_mask_weights=Fields.groundtruth_instance_mask_weights in tensors,
        include_keypoints=Fields.groundtruth_keypoints in tensors,
        include_keypoint_visibilities=Fields.groundtruth_keypoint_visibilities in tensors,
        include_keypoint_depths=Fields.groundtruth_keypoint_depths in tensors,
    )
    changed = preprocessor.preprocess(tensors, data_augmentation_options, arguments)
    return {**changed, Fields.image: changed[Fields.image][0]}


def pad_input_data_to_static_shapes(
    tensor_dict: Mapping[str, Any],
    max_num_boxes: int | None,
    num_classes: int,
    spatial_image_shape: Sequence[int] | None = None,
    max_num_context_features: int | None = None,
    context_feature_length: int | None = None,
    max_dp_points: int = 336,
) -> Tensors:
    """Return a record in which every tensor has a shape that is known, padded with zeros or cut.

    Args:
        tensor_dict: as `transform_input_data` returns it.
        max_num_boxes: n; None to keep all objects, for batches of one.
        num_classes: c.
        spatial_image_shape: h and w; None or [-1, -1] where they vary.
        max_num_context_features, context_feature_length, max_dp_points: without effect.

    Raises:
        ConfigValueError: for a tensor of an unknown name.
    """
    height, width = spatial_image_shape or (-1, -1)
    sides = {"h": None if height == -1 else height, "w": None if width == -1 else width, "c": num_classes}
    padded = {}
    for name, tensor in tensor_dict.items():
        if name in _OF_OBJECTS:
            shape: tuple[Any, ...] = (max_num_boxes, *_OF_OBJECTS[name])
        elif name in _OF_IMAGES:
            shape = _OF_IMAGES[name]
        else:
            known = ", ".join(sorted({*_OF_OBJECTS, *_OF_IMAGES}))
            raise config_util.ConfigValueError(f"{name} is not one of {known}: nobody knows its shape")
        padded[name] = _of_shape(tensor, [sides.get(side, side) for side in shape])
    if Fields.num_groundtruth_boxes in padded and max_num_boxes is not None:
        count = padded[Fields.num_groundtruth_boxes]
        padded[Fields.num_groundtruth_boxes] = tf.minimum(count, max_num_boxes)
    return padded


def _of_shape(tensor: Any, shape: Sequence[int | None]) -> Any:
    """Return a tensor padded with zeros at its ends or cut to a shape; None stands for any length."""
    tensor = tf.convert_to_tensor(tensor)
    cut = tensor[tuple(slice(side) for side in shape)]
    lengths = tf.unstack(tf.shape(cut), num=len(shape))
    paddings = [
        [0, 0 if side is None else side - length] for side, length in zip(shape, lengths, strict=True)
    ]
    known = [own if side is None else side for side, own in zip(shape, tensor.shape, strict=True)]
    return tf.ensure_shape(tf.pad(cut, paddings) if paddings else cut, known)


# Data sets


def create_train_input_fn(
    train_config: TrainConfig, train_input_config: InputReader, model_config: DetectionModel
) -> Function:
    """Return `train_input` of a configuration, a function of `params` alone."""
    return lambda params=None: train_input(train_config, train_input_config, model_config, params=params)


def train_input(
    train_config: TrainConfig,
    train_input_config: InputReader,
    model_config: DetectionModel,
    model: Any = None,
    params: Mapping[str, Any] | None = None,
    input_context: Any = None,
) -> tf.data.Dataset:
    """Return the batches of a training: pairs of features and labels, augmented and shuffled, without an end.

    Args:
        train_config: of `batch_size`, `data_augmentation_options` and how objects are read.
        train_input_config: the records; `max_number_of_boxes` is to how many objects labels are padded; an image with
            more is an error when it is read, where the API drops some.
        model_config: the model.
        model: that is built; without it one is built here.
        params: may have another `batch_size`.
        input_context: as of `dataset_builder.build`.

    Raises:
        ConfigTypeError: for sections of other types.
        BoxtuneError: for what cannot be read.
    """
    _require_types(
        train_config=(train_config, TrainConfig),
        train_input_config=(train_input_config, InputReader),
        model_config=(model_config, DetectionModel),
    )
    steps = [preprocessor_builder.build(step) for step in train_config.data_augmentation_options]
    transform = partial(
        transform_input_data,
        data_augmentation_fn=partial(augment_input_data, data_augmentation_options=steps),
        merge_multiple_boxes=train_config.merge_multiple_label_boxes,
        retain_original_image=train_config.retain_original_images,
        use_multiclass_scores=train_config.use_multiclass_scores,
        use_bfloat16=train_config.use_bfloat16,
    )
    batch_size = params["batch_size"] if params else train_config.batch_size
    return _input(
        train_input_config, model_config, model, transform, batch_size, input_context, is_training=True
    )


def create_eval_input_fn(
    eval_config: EvalConfig, eval_input_config: InputReader, model_config: DetectionModel
) -> Function:
    """Return `eval_input` of a configuration, a function of `params` alone."""
    return lambda params=None: eval_input(eval_config, eval_input_config, model_config, params=params)


def eval_input(
    eval_config: EvalConfig,
    eval_input_config: InputReader,
    model_config: DetectionModel,
    model: Any = None,
    params: Mapping[str, Any] | None = None,
    input_context: Any = None,
) -> tf.data.Dataset:
    """Return the batches of an evaluation: pairs of features and labels, as often as `num_epochs` says.

    The last batch may be smaller, where the API leaves it out, unless `drop_remainder: true` is in the reader.

    Args:
        eval_config: of `batch_size` and `retain_original_images`.
        eval_input_config, model_config, model, params, input_context: as of `train_input`.

    Raises:
        ConfigTypeError: for sections of other types.
        BoxtuneError: for what cannot be read.
    """
    _require_types(
        eval_config=(eval_config, EvalConfig),
        eval_input_config=(eval_input_config, InputReader),
        model_config=(model_config, DetectionModel),
    )
    transform = partial(
        transform_input_data,
        retain_original_image=eval_config.retain_original_images,
        retain_original_image_additional_channels=eval_config.retain_original_image_additional_channels,
    )
    batch_size = params["batch_size"] if params else eval_config.batch_size
    reader = InputReader.FromString(eval_input_config.SerializeToString())
    if not reader.HasField("drop_remainder"):
        reader.drop_remainder = False
    return _input(reader, model_config, model, transform, batch_size, input_context, is_training=False)


def create_predict_input_fn(model_config: DetectionModel, predict_input_config: InputReader) -> Function:
    """Return a function that refuses, by a ConfigError: inputs of Estimators are of TensorFlow 1."""

    def refuse(params: Mapping[str, Any] | None = None) -> Any:
        raise ConfigError(
            "Inputs of Estimators are not supported; export the model, and call the SavedModel."
        )

    return refuse


def get_reduce_to_frame_fn(input_reader_config: InputReader, is_training: bool) -> Function:
    """Return what `dataset_builder.build` calls to make frames of sequences: nothing, as images are read alone.

    Raises:
        ConfigError: for sequences of images.
    """
    if input_reader_config.input_type == InputType.Value("TF_SEQUENCE_EXAMPLE"):
        raise ConfigError(
            "input_type: TF_SEQUENCE_EXAMPLE is not supported here; boxtune train reads sequences."
        )
    return lambda dataset, dataset_map_fn, batch_size, config: dataset


def _require_types(**given: tuple[Any, type]) -> None:
    for name, (value, expected) in given.items():
        if not isinstance(value, expected):
            raise config_util.ConfigTypeError(f"{name} is {type(value).__name__}, not {expected.__name__}")


def _input(
    reader: InputReader,
    model_config: DetectionModel,
    model: Any,
    transform: Function,
    batch_size: int,
    input_context: Any,
    *,
    is_training: bool,
) -> tf.data.Dataset:
    if model is None:
        model = INPUT_BUILDER_UTIL_MAP["model_build"](model_config, is_training=is_training)
    section = config_util.get_image_resizer_config(model_config)
    num_classes = config_util.get_number_of_classes(model_config)
    transform = partial(
        transform,
        model_preprocess_fn=model.preprocess,
        image_resizer_fn=_image_resizer(section),
        num_classes=num_classes,
    )
    sides = config.fixed_size(section)
    too_many = (
        f"an image has more objects than max_number_of_boxes ({reader.max_number_of_boxes}): set that higher"
    )

    @tf.autograph.experimental.do_not_convert
    def features_and_labels(tensors: Tensors) -> tuple[Tensors, Tensors]:
        transformed = transform(_without_lists(tensors))
        tf.debugging.assert_less_equal(
            transformed[Fields.num_groundtruth_boxes], reader.max_number_of_boxes, too_many
        )
        padded = pad_input_data_to_static_shapes(
            transformed, reader.max_number_of_boxes, num_classes, list(sides or (-1, -1))
        )
        return _features(padded), _labels(padded)

    dataset: tf.data.Dataset = INPUT_BUILDER_UTIL_MAP["dataset_build"](
        reader,
        transform_input_data_fn=features_and_labels,
        batch_size=batch_size,
        input_context=input_context,
        reduce_to_frame_fn=get_reduce_to_frame_fn(reader, is_training),
    )
    return dataset


def _without_lists(tensors: Tensors) -> Tensors:
    """Return a decoded record in which what is there for each object is there for all of them."""
    count = tf.shape(tensors[Fields.groundtruth_boxes])[0]

    def one_each(values: Any) -> Any:
        return tf.cond(
            tf.shape(values)[0] == count,
            lambda: values,
            lambda: tf.zeros(tf.concat([[count], tf.shape(values)[1:]], axis=0), values.dtype),
        )

    flags = (Fields.groundtruth_area, Fields.groundtruth_is_crowd, Fields.groundtruth_difficult)
    names = [name for name in (*flags, Fields.groundtruth_group_of) if name in tensors]
    return tensors | {name: tf.ensure_shape(one_each(tensors[name]), [None]) for name in names}


def _image_resizer(section: ImageResizer) -> Function:
    """Return a function from an image and None to the resized image, None and its shape without padding."""
    resizer = resize.resizer(section)

    def resized(image: Any, masks: Any = None) -> list[Any]:
        if masks is not None:
            raise ConfigError("load_instance_masks is not supported here; leave it out")
        made = resizer(tf.cast(image, tf.float32))
        return [made.image, None, tf.concat([made.size, tf.shape(image)[-1:]], axis=0)]

    return resized


def _features(tensors: Mapping[str, Any]) -> Tensors:
    identity = tensors[Fields.source_id]
    number = tf.strings.as_string(tf.random.uniform([], maxval=tf.int32.max, dtype=tf.int32))
    identity = tf.where(tf.strings.length(identity) > 0, identity, number)
    kept = (Fields.image, Fields.true_image_shape, Fields.original_image_spatial_shape, Fields.original_image)
    return {
        **{name: tensors[name] for name in kept if name in tensors},
        HASH_KEY: tf.cast(tf.strings.to_hash_bucket_fast(identity, HASH_BINS), tf.int32),
    }


def _labels(tensors: Mapping[str, Any]) -> Tensors:
    labels = {name: tensors[name] for name in _NEEDED_LABELS}
    labels |= {name: tensors[name] for name in _OTHER_LABELS if name in tensors}
    if Fields.groundtruth_difficult in labels:
        labels[Fields.groundtruth_difficult] = tf.cast(labels[Fields.groundtruth_difficult], tf.int32)
    return labels
