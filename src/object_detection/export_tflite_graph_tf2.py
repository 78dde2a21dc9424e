"""Export a trained detector for TensorFlow Lite as the API's script of this name does, flag for flag.

export_tflite_graph_tf2.py --pipeline_config_path=F --trained_checkpoint_dir=D --output_directory=O
tflite_convert --saved_model_dir=O/saved_model --output_file=model.tflite
"""

import sys

from absl import app, flags

from boxtune import cli
from object_detection.edited_config import merged_config

FLAGS = flags.FLAGS
flags.DEFINE_string("pipeline_config_path", None, "The pipeline.config.", required=True)
flags.DEFINE_string("trained_checkpoint_dir", None, "The folder of the checkpoint.", required=True)
flags.DEFINE_string("output_directory", None, "Takes saved_model.", required=True)
flags.DEFINE_string("config_override", "", "Text of a pipeline.config to merge into the configuration.")
flags.DEFINE_integer("max_detections", 10, "The most that are returned of an image.")
flags.DEFINE_bool("ssd_use_regular_nms", False, "Suppress class by class, which finds more and takes longer.")
flags.DEFINE_bool("ssd_add_postprocessing_op", True, "Without effect, as in the API under TensorFlow 2.")
flags.DEFINE_bool("centernet_include_keypoints", False, "Not available.")
flags.DEFINE_string("keypoint_label_map_path", None, "Not available.")


def main(_: list[str]) -> int:
    """Call the library."""
    return cli.run(_export, {})


def _export() -> None:
    from object_detection import export_tflite_graph_lib_tf2

    export_tflite_graph_lib_tf2.export_tflite_model(
        merged_config(FLAGS.pipeline_config_path, FLAGS.config_override),
        FLAGS.trained_checkpoint_dir,
        FLAGS.output_directory,
        FLAGS.max_detections,
        FLAGS.ssd_use_regular_nms,
        FLAGS.centernet_include_keypoints,
        FLAGS.keypoint_label_map_path,
    )
    print(f"Exported to {FLAGS.output_directory}")


if __name__ == "__main__":
    app.run(main, [argument for argument in sys.argv if argument != "--"])
