"""Export a trained detector as the API's script of this name does, flag for flag.

exporter_main_v2.py --pipeline_config_path=F --trained_checkpoint_dir=D --output_directory=O
"""

import sys
import tempfile
from pathlib import Path

from absl import app, flags

from boxtune import cli, config
from boxtune.errors import ConfigError

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
    if FLAGS.use_side_inputs:
        raise ConfigError("--use_side_inputs is not supported; leave it out")
    with tempfile.TemporaryDirectory() as folder:
        exported = cli.load("export").export(
            _merged_config(Path(folder)),
            FLAGS.trained_checkpoint_dir,
            FLAGS.output_directory,
            input_type=FLAGS.input_type,
        )
    print(f"Exported to {exported}")


def _merged_config(folder: Path) -> Path:
    """Return a configuration with --config_override merged into it."""
    if not FLAGS.config_override:
        return Path(FLAGS.pipeline_config_path)
    pipeline = config.load(FLAGS.pipeline_config_path)
    pipeline.MergeFrom(config.parse(FLAGS.config_override, "--config_override"))
    config.write(pipeline, folder / "pipeline.config")
    return folder / "pipeline.config"


if __name__ == "__main__":
    app.run(main, [argument for argument in sys.argv if argument != "--"])
