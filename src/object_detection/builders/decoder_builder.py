"""The decoder of records that an input reader asks for."""

from boxtune.config.pipeline_pb2 import InputReader, InputType
from boxtune.errors import ConfigError
from object_detection.core.data_decoder import DataDecoder
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
from object_detection.utils.config_util import ConfigValueError


def build(input_reader_config: InputReader) -> DataDecoder:
    """Return the decoder of an input reader.

    Raises:
        ConfigValueError: if it is no input reader, or not one of TFRecords.
        ConfigError: for sequences of images.
    """
    if not isinstance(input_reader_config, InputReader):
        raise ConfigValueError(
            f"input_reader_config is {type(input_reader_config).__name__}, not InputReader"
        )
    if input_reader_config.WhichOneof("input_reader") != "tf_record_input_reader":
        raise ConfigValueError("input_reader_config has no tf_record_input_reader")
    if input_reader_config.input_type != InputType.Value("TF_EXAMPLE"):
        kind = InputType.Name(input_reader_config.input_type)
        raise ConfigError(
            f"input_type is {kind}; only TF_EXAMPLE can be read so. boxtune train reads sequences"
        )
    return TfExampleDecoder(
        load_instance_masks=input_reader_config.load_instance_masks,
        instance_mask_type=input_reader_config.mask_type,
        label_map_proto_file=input_reader_config.label_map_path or None,
        use_display_name=input_reader_config.use_display_name,
        num_keypoints=input_reader_config.num_keypoints,
        num_additional_channels=input_reader_config.num_additional_channels,
        load_multiclass_scores=input_reader_config.load_multiclass_scores,
        load_context_features=input_reader_config.load_context_features,
        expand_hierarchy_labels=input_reader_config.expand_labels_hierarchy,
        load_dense_pose=input_reader_config.load_dense_pose,
        load_track_id=input_reader_config.load_track_id,
        load_keypoint_depth_features=input_reader_config.load_keypoint_depth_features,
    )
