"""Records as tensors by the names of `standard_fields`, for input pipelines of one's own.

Images are decoded to the pixels that every verb of boxtune has. What a record lacks is empty, but for weights, which
are 1. Training reads records by `boxtune.data.decoder`, which checks them.

Dimension letters: n, objects; k, keypoints of an object; h w, pixels.
"""

import enum
import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from boxtune.config.pipeline_pb2 import InstanceMaskType
from boxtune.data.decoder import SIDES, decoded
from boxtune.errors import ConfigError
from object_detection.core.data_decoder import DataDecoder
from object_detection.core.standard_fields import InputDataFields, TfExampleFields
from object_detection.utils import label_map_util

Tensors = dict[str, Any]

_STRINGS = {
    InputDataFields.source_id: TfExampleFields.source_id,
    InputDataFields.key: "image/key/sha256",
    InputDataFields.filename: TfExampleFields.filename,
}
_LISTS: dict[str, tuple[str, tf.DType]] = {
    InputDataFields.groundtruth_image_confidences: (TfExampleFields.image_class_confidence, tf.float32),
    InputDataFields.groundtruth_verified_neg_classes: ("image/neg_category_ids", tf.int64),
    InputDataFields.groundtruth_not_exhaustive_classes: ("image/not_exhaustive_category_ids", tf.int64),
    InputDataFields.groundtruth_area: ("image/object/area", tf.float32),
    InputDataFields.groundtruth_is_crowd: (TfExampleFields.object_is_crowd, tf.int64),
    InputDataFields.groundtruth_difficult: (TfExampleFields.object_difficult, tf.int64),
    InputDataFields.groundtruth_group_of: (TfExampleFields.object_group_of, tf.int64),
    InputDataFields.groundtruth_weights: (TfExampleFields.object_weight, tf.float32),
}
"""What is a list in a record: its key there, and its type."""

_BOOLEANS = (InputDataFields.groundtruth_is_crowd, InputDataFields.groundtruth_group_of)
_MASK = "image/object/mask"
_MASK_WEIGHTS = "image/object/mask/weight"
_KEYPOINT = "image/object/keypoint/"
_CHANNELS = "image/additional_channels/encoded"
_CONTEXT, _CONTEXT_LENGTH = "image/context_features", "image/context_feature_length"
_OF_BOXES = (
    InputDataFields.groundtruth_boxes,
    InputDataFields.groundtruth_area,
    InputDataFields.groundtruth_is_crowd,
    InputDataFields.groundtruth_difficult,
    InputDataFields.groundtruth_group_of,
    InputDataFields.groundtruth_weights,
    InputDataFields.groundtruth_instance_masks,
    InputDataFields.groundtruth_instance_mask_weights,
    InputDataFields.groundtruth_keypoints,
    InputDataFields.groundtruth_keypoint_visibilities,
    InputDataFields.groundtruth_track_ids,
)
"""What is repeated with a box for the classes above its own."""


class DecoderValueError(ConfigError, ValueError):
    """An argument that cannot be used; a ValueError too, which is what the API raises."""


class Visibility(enum.Enum):
    """How much of a keypoint is seen, as in COCO."""

    UNLABELED = 0
    NOT_VISIBLE = 1
    VISIBLE = 2


class TfExampleDecoder(DataDecoder):
    """Makes tensors of serialized records."""

    def __init__(
        self,
        load_instance_masks: bool = False,
        instance_mask_type: int = InstanceMaskType.Value("NUMERICAL_MASKS"),
        label_map_proto_file: str | os.PathLike[str] | None = None,
        use_display_name: bool = False,
        dct_method: str = "",
        num_keypoints: int = 0,
        num_additional_channels: int = 0,
        load_multiclass_scores: bool = False,
        load_context_features: bool = False,
        expand_hierarchy_labels: bool = False,
        load_dense_pose: bool = False,
        load_track_id: bool = False,
        load_keypoint_depth_features: bool = False,
    ):
        """Prepare to decode.

        Args:
            load_instance_masks: read masks, too.
            instance_mask_type: PNG_MASKS or NUMERICAL_MASKS, of `input_reader_pb2`.
            label_map_proto_file: classes are by the texts of records then, -1 where it lacks one; without texts, and
                without this file, by the numbers.
            use_display_name: without effect: the texts are names or display names.
            dct_method: without effect: JPEG is decoded exactly.
            num_keypoints: k; of a label map with keypoints, records name theirs.
            num_additional_channels: images of one channel to read besides.
            load_multiclass_scores: read the scores of all classes, one object after another.
            load_context_features: read features of other images.
            expand_hierarchy_labels: repeat objects for the classes above theirs, as the label map has them.
            load_dense_pose, load_keypoint_depth_features: refused.
            load_track_id: read numbers of tracks.

        Raises:
            DecoderValueError: for another type of masks, and a hierarchy without a label map.
            ConfigError: for what is refused.
            DataError: if the label map cannot be used.
        """
        refused = {
            "load_dense_pose": load_dense_pose,
            "load_keypoint_depth_features": load_keypoint_depth_features,
        }
        for name, is_asked_for in refused.items():
            if is_asked_for:
                raise ConfigError(f"{name} is not supported; leave it out.")
        if load_instance_masks and instance_mask_type not in InstanceMaskType.values():
            raise DecoderValueError(
                f"instance_mask_type is {instance_mask_type}; it has to be PNG_MASKS or NUMERICAL_MASKS."
            )
        if expand_hierarchy_labels and label_map_proto_file is None:
            raise DecoderValueError("expand_hierarchy_labels needs label_map_proto_file.")
        self._masks_are_png = instance_mask_type == InstanceMaskType.Value("PNG_MASKS")
        self._load_masks = load_instance_masks
        self._num_keypoints = num_keypoints
        self._num_channels = num_additional_channels
        self._load_context = load_context_features
        self._lists = dict(_LISTS)
        if load_multiclass_scores:
            key = "image/object/class/multiclass_scores"
            self._lists[InputDataFields.multiclass_scores] = (key, tf.float32)
        if load_track_id:
            self._lists[InputDataFields.groundtruth_track_ids] = ("image/object/track/label", tf.int64)
        self._class_of_text, self._keypoint_of_text = _lookups(label_map_proto_file)
        self._relatives = _relatives(label_map_proto_file) if expand_hierarchy_labels else None
        self._features = self._features_of_record()

    def _features_of_record(self) -> dict[str, Any]:
        lists = dict(self._lists.values())
        lists |= dict.fromkeys(SIDES, tf.float32)
        for of in ("class", "object/class"):
            lists |= {f"image/{of}/text": tf.string, f"image/{of}/label": tf.int64}
        if self._load_masks:
            lists |= {_MASK: tf.string if self._masks_are_png else tf.float32, _MASK_WEIGHTS: tf.float32}
        if self._num_keypoints:
            lists |= {f"{_KEYPOINT}{axis}": tf.float32 for axis in "yx"}
            lists |= {f"{_KEYPOINT}visibility": tf.int64, f"{_KEYPOINT}text": tf.string}
        if self._num_channels:
            lists[_CHANNELS] = tf.string
        if self._load_context:
            lists |= {_CONTEXT: tf.float32, _CONTEXT_LENGTH: tf.int64}
        strings = (TfExampleFields.image_encoded, *_STRINGS.values())
        return {
            **{key: tf.io.FixedLenFeature([], tf.string, "") for key in strings},
            **{key: tf.io.VarLenFeature(dtype) for key, dtype in lists.items()},
        }

    def decode(self, tf_example_string_tensor: Any) -> Tensors:
        """Return the tensors of a serialized record, for use in `tf.data`, too.

        `image` is uint8 [h, w, 3], `original_image_spatial_shape` int32 [2]; boxes are float32 [n, 4], classes int64
        [n], masks float32 [n, h, w] of 0 and 1, keypoints float32 [n, k, 2] as `[y, x]`, not a number where they are
        not labelled, and their visibilities bool [n, k].
        """
        parsed = tf.io.parse_single_example(tf_example_string_tensor, self._features)
        fields = {
            key: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
            for key, value in parsed.items()
        }
        image = decoded(fields[TfExampleFields.image_encoded])
        boxes = tf.stack(
            [parsed[side].values for side in SIDES], axis=-1
        )  # of any number, also of a constant
        count = tf.shape(boxes)[0]
        tensors: Tensors = {
            InputDataFields.image: image,
            InputDataFields.original_image_spatial_shape: tf.shape(image)[:2],
            InputDataFields.groundtruth_boxes: boxes,
            InputDataFields.groundtruth_classes: self._classes(fields, "image/object/class"),
            InputDataFields.groundtruth_image_classes: self._classes(fields, "image/class"),
            **{name: fields[key] for name, key in _STRINGS.items()},
            **{name: fields[key] for name, (key, _) in self._lists.items()},
        }
        weights = InputDataFields.groundtruth_weights
        tensors[weights] = _or(tensors[weights], lambda: tf.ones([count]))
        for name in _BOOLEANS:
            tensors[name] = tf.cast(tensors[name], tf.bool)
        if self._load_masks:
            tensors |= self._masks(fields, tf.shape(image)[:2], count)
        if self._num_keypoints:
            tensors |= self._keypoints(fields, count)
        if self._num_channels:
            tensors[InputDataFields.image_additional_channels] = self._additional_channels(fields, image)
        if self._load_context:
            length = tf.reshape(fields[_CONTEXT_LENGTH], [-1])[:1]
            columns = tf.cast(tf.reduce_sum(length), tf.int32)
            tensors[InputDataFields.context_feature_length] = columns
            tensors[InputDataFields.context_features] = tf.reshape(
                fields[_CONTEXT], [-1, tf.maximum(columns, 1)]
            )
        return _expanded(tensors, *self._relatives) if self._relatives else tensors

    def _classes(self, fields: Mapping[str, Any], key: str) -> Any:
        labels, texts = fields[f"{key}/label"], fields[f"{key}/text"]
        if self._class_of_text is None:
            return labels
        return _or(self._class_of_text.lookup(texts), lambda: labels)

    def _masks(self, fields: Mapping[str, Any], size: Any, count: Any) -> Tensors:
        images = fields[_MASK]
        if self._masks_are_png:
            images = tf.cond(
                tf.size(images) > 0,
                lambda: _decode_masks(fields[_MASK]),
                lambda: tf.zeros([0, 0, 0], tf.uint8),
            )
        # A record without masks has no sides of them, either.
        masks = tf.cast(tf.reshape(images, tf.concat([[-1], size], axis=0)) > 0, tf.float32)
        return {
            InputDataFields.groundtruth_instance_masks: masks,
            InputDataFields.groundtruth_instance_mask_weights: _or(
                fields[_MASK_WEIGHTS], lambda: tf.ones([count])
            ),
        }

    def _keypoints(self, fields: Mapping[str, Any], count: Any) -> Tensors:
        points = tf.stack([fields[f"{_KEYPOINT}{axis}"] for axis in "yx"], axis=-1)
        seen = _or(
            fields[f"{_KEYPOINT}visibility"], lambda: tf.fill([tf.shape(points)[0]], tf.constant(2, tf.int64))
        )
        visible = seen > Visibility.UNLABELED.value
        points = tf.where(visible[:, tf.newaxis], points, float("nan"))
        if self._keypoint_of_text is None:
            places = tf.zeros([0], tf.int64)
        else:
            places = self._keypoint_of_text.lookup(fields[f"{_KEYPOINT}text"])
        in_order = [-1, self._num_keypoints]

        def by_name() -> tuple[Any, Any]:
            number = tf.maximum(tf.size(places), 1)
            owners = tf.cast(tf.range(tf.size(places)) * count // number, tf.int64)
            # tf.gather, not tf.boolean_mask, as a graph may know already that there are points but no names.
            known = tf.where((places >= 0) & (places < self._num_keypoints))[:, 0]
            where = tf.gather(tf.stack([owners, places], axis=1), known)
            shape = tf.stack([count, self._num_keypoints])
            empty = tf.fill(tf.concat([shape, [2]], axis=0), float("nan"))
            return (
                tf.tensor_scatter_nd_update(empty, where, tf.gather(points, known)),
                tf.tensor_scatter_nd_update(tf.fill(shape, False), where, tf.gather(visible, known)),
            )

        are_named = (tf.size(places) > 0) | ((tf.size(points) == 0) & (self._keypoint_of_text is not None))
        keypoints, visibilities = tf.cond(
            are_named,
            by_name,
            lambda: (tf.reshape(points, [*in_order, 2]), tf.reshape(visible, in_order)),
        )
        return {
            InputDataFields.groundtruth_keypoints: keypoints,
            InputDataFields.groundtruth_keypoint_visibilities: visibilities,
        }

    def _additional_channels(self, fields: Mapping[str, Any], image: Any) -> Any:
        spec = tf.TensorSpec([None, None], tf.uint8)
        channels = tf.map_fn(lambda one: decoded(one)[..., 0], fields[_CHANNELS], fn_output_signature=spec)
        shape = tf.concat([[self._num_channels], tf.shape(image)[:2]], axis=0)
        return tf.ensure_shape(
            tf.transpose(tf.reshape(channels, shape), [1, 2, 0]), [None, None, self._num_channels]
        )


def _expanded(tensors: Tensors, above: Any, below: Any) -> Tensors:
    """Repeat objects for the classes above theirs; and image labels likewise, those that are denied for the
    classes below."""
    classes = tf.gather(above, tensors[InputDataFields.groundtruth_classes])
    rows, count = classes.value_rowids(), tf.shape(tensors[InputDataFields.groundtruth_boxes])[0]

    def repeated(values: Any) -> Any:
        kept = tf.cond(tf.shape(values)[0] == count, lambda: tf.gather(values, rows), lambda: values)
        return tf.ensure_shape(kept, [None, *values.shape[1:]])

    expanded = {name: repeated(tensors[name]) for name in _OF_BOXES if name in tensors}
    labels = tensors[InputDataFields.groundtruth_image_classes]
    confidences = tensors[InputDataFields.groundtruth_image_confidences]

    def related(table: Any, confidence: float) -> Any:
        chosen = tf.boolean_mask(labels, tf.equal(confidences, confidence))
        return tf.sort(tf.unique(tf.gather(table, chosen).values)[0])

    present, absent = related(above, 1.0), related(below, 0.0)
    return {
        **tensors,
        **expanded,
        InputDataFields.groundtruth_classes: classes.values,
        InputDataFields.groundtruth_image_classes: tf.concat([present, absent], axis=0),
        InputDataFields.groundtruth_image_confidences: tf.concat(
            [tf.ones_like(present, tf.float32), tf.zeros_like(absent, tf.float32)], axis=0
        ),
    }


def _or(values: Any, default: Callable[[], Any]) -> Any:
    """Return a list of a record, or a default where it is empty."""
    return tf.cond(tf.size(values) > 0, lambda: values, default)


def _decode_masks(encoded: Any) -> Any:
    """Return uint8 [n, h, w] from PNG files [n]."""
    spec = tf.TensorSpec([None, None], tf.uint8)
    return tf.map_fn(lambda one: tf.io.decode_png(one, channels=1)[..., 0], encoded, fn_output_signature=spec)


def _lookups(label_map_path: Any) -> tuple[Any, Any]:
    """Return tables from names to numbers of classes and of keypoints; None for what there is none of."""
    if label_map_path is None:
        return None, None
    label_map = label_map_util.load_labelmap(label_map_path)
    shown = label_map_util.get_label_map_dict(label_map, use_display_name=True)
    names = label_map_util.get_label_map_dict(label_map)
    keypoints = {point.label: point.id for item in label_map.item for point in item.keypoints}
    return _table(shown | names), _table(keypoints) if keypoints else None


def _table(numbers: Mapping[str, int]) -> Any:
    values = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(numbers), tf.string), tf.constant(list(numbers.values()), tf.int64)
    )
    return tf.lookup.StaticHashTable(values, default_value=-1)


def _relatives(label_map_path: Any) -> tuple[Any, Any]:
    """Return for each id, from 0 on, itself and the ids above it, and itself and those below it, as ragged tensors."""
    tables = label_map_util.get_label_map_hierarchy_lut(label_map_path, include_identity=True)
    above, below = ([[0], *((row.nonzero()[0] + 1).tolist() for row in table)] for table in tables)
    return tf.ragged.constant(above, tf.int64), tf.ragged.constant(below, tf.int64)
