"""Export a trained detector as the API's script of this name does, flag for flag.

exporter_main_v2.py --pipeline_config_path=F --trained_checkpoint_dir=D --output_directory=O
"""

import sys

from absl import app, flags

from boxtune import cli
from object_detection.edited_config import merged_config

FLAGS = flags.FLAGS
flags.DEFINE_string("input_type", "image_tensor", "What the exported model takes.")
flags.DEFINE_string("pipeline_config_path", None, "The pipeline.config.", required=True)
flags.DEFINE_string("trained_checkpoint_dir", None, "The folder of the checkpoint.", required=True)
flags.DEFINE_string("output_directory", None, "Takes saved_model, checkpoint and config.", required=True)
flags.DEFINE_string("config_override", "", "Text of a pipeline.config to merge into the configuration.")
flags.DEFINE_bool("use_side_inputs", False, "Not available.")
flags.DEFINE_string("side_input_shapes", "", "Not available.")
flags.DEFINE_string("side_input_types", "", "Not available.")
flags.DEFINE_string("side_input_names", "", "Not available.")


def main(_: list[str]) -> int:
    """Call the verb."""
    return cli.run(_export, {})


def _export() -> None:
    cli.load("export")  # in silence
    from object_detection import exporter_lib_v2

    exporter_lib_v2.export_inference_graph(
        FLAGS.input_type,
        merged_config(FLAGS.pipeline_config_path, FLAGS.config_override),
        FLAGS.trained_checkpoint_dir,
        FLAGS.output_directory,
        FLAGS.use_side_inputs,
        FLAGS.side_input_shapes,
        FLAGS.side_input_types,
        FLAGS.side_input_names,
    )
    print(f"Exported to {FLAGS.output_directory}")


if __name__ == "__main__":
    app.run(main, [argument for argument in sys.argv if argument != "--"])
