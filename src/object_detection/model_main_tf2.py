"""Train or evaluate as the API's script of this name does, flag for flag.

Training:    model_main_tf2.py --pipeline_config_path=F --model_dir=D
Evaluation:  the same with --checkpoint_dir=D
"""

import sys

from absl import app, flags

from boxtune import cli
from boxtune.errors import ConfigError
from boxtune.training.cluster import cluster_from_environment

FLAGS = flags.FLAGS
flags.DEFINE_string("pipeline_config_path", None, "The pipeline.config.", required=True)
flags.DEFINE_string("model_dir", None, "Takes checkpoints and summaries.", required=True)
flags.DEFINE_integer("num_train_steps", None, "In place of train_config.num_steps.", lower_bound=1)
flags.DEFINE_string(
    "checkpoint_dir", None, "Evaluate every checkpoint of this folder, until its training has ended."
)
flags.DEFINE_integer("checkpoint_every_n", 1000, "Steps between checkpoints.", lower_bound=1)
flags.DEFINE_integer("sample_1_of_n_eval_examples", None, "Evaluate on every n-th only.", lower_bound=1)
flags.DEFINE_integer("num_workers", 1, "Workers that train together: those of TF_CONFIG.")
flags.DEFINE_bool("use_tpu", False, "Not available.")
flags.DEFINE_string("tpu_name", None, "Not available.")
flags.DEFINE_string("train_dir", None, "A flag of TensorFlow 1's train.py.")
flags.DEFINE_integer("eval_timeout", 3600, "Seconds without a new checkpoint that end an evaluation.")
flags.DEFINE_bool("eval_on_train_data", False, "Without effect, as in the API under TensorFlow 2.")
flags.DEFINE_integer("sample_1_of_n_eval_on_train_examples", 5, "Without effect.")
flags.DEFINE_bool("record_summaries", True, "Without effect: summaries are always written.")


def main(_: list[str]) -> int:
    """Call the verb that the flags ask for."""
    return cli.run(_evaluate if FLAGS.checkpoint_dir else _train, {})


def _train() -> None:
    _refuse_unavailable()
    cluster = cluster_from_environment()
    if FLAGS.num_workers != (cluster.count if cluster else 1):
        raise ConfigError(
            f"--num_workers is {FLAGS.num_workers}, TF_CONFIG names {cluster.count if cluster else 'no others'}: "
            "make them agree"
        )
    cli.load("train", FLAGS.model_dir)  # in silence, and with the settings of the run
    from object_detection import model_lib_v2

    model_lib_v2.train_loop(
        FLAGS.pipeline_config_path,
        FLAGS.model_dir,
        train_steps=FLAGS.num_train_steps,
        checkpoint_every_n=FLAGS.checkpoint_every_n,
    )


def _evaluate() -> None:
    _refuse_unavailable()
    cli.load("evaluate")
    from object_detection import model_lib_v2

    model_lib_v2.eval_continuously(
        FLAGS.pipeline_config_path,
        train_steps=FLAGS.num_train_steps,
        sample_1_of_n_eval_examples=FLAGS.sample_1_of_n_eval_examples,
        model_dir=FLAGS.model_dir,
        checkpoint_dir=FLAGS.checkpoint_dir,
        timeout=FLAGS.eval_timeout,
    )


def _refuse_unavailable() -> None:
    if FLAGS.train_dir:
        raise ConfigError("--train_dir is a flag of TensorFlow 1; write --model_dir")
    if FLAGS.use_tpu:
        raise ConfigError("--use_tpu is not supported; leave it out")


if __name__ == "__main__":
    # A lone "--", which the API's documentation has behind the script's name, would end the flags.
    app.run(main, [argument for argument in sys.argv if argument != "--"])
