"""The decoder of records that a configuration describes."""

from boxtune.config import pipeline_pb2
from object_detection.builders.checked import SectionError, checked
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder


def build(input_reader_config: pipeline_pb2.InputReader) -> TfExampleDecoder:
    """Return the decoder of the records of an input reader.

    Raises:
        SectionError: for an external reader, and records that are sequences of images.
    """
    checked("input_reader_config", input_reader_config, pipeline_pb2.InputReader)
    if input_reader_config.WhichOneof("input_reader") != "tf_record_input_reader":
        raise SectionError("Unsupported input_reader_config: set tf_record_input_reader.")
    if input_reader_config.input_type != pipeline_pb2.InputType.Value("TF_EXAMPLE"):
        kind = pipeline_pb2.InputType.Name(input_reader_config.input_type)
        raise SectionError(f"Unsupported input_type in config: {kind}; boxtune reads TF_EXAMPLE.")
    return TfExampleDecoder(
        load_instance_masks=input_reader_config.load_instance_masks,
        load_multiclass_scores=input_reader_config.load_multiclass_scores,
        load_context_features=input_reader_config.load_context_features,
        instance_mask_type=input_reader_config.mask_type,
        label_map_proto_file=input_reader_config.label_map_path or None,
        use_display_name=input_reader_config.use_display_name,
        num_additional_channels=input_reader_config.num_additional_channels,
        num_keypoints=input_reader_config.num_keypoints,
        expand_hierarchy_labels=input_reader_config.expand_labels_hierarchy,
        load_dense_pose=input_reader_config.load_dense_pose,
        load_track_id=input_reader_config.load_track_id,
        load_keypoint_depth_features=input_reader_config.load_keypoint_depth_features,
    )
