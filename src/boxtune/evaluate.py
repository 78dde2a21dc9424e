"""The verb `evaluate`: measure a checkpoint on the validation records of its configuration."""

from collections.abc import Sequence
from pathlib import Path

from boxtune import config, models
from boxtune.data.input import open_records
from boxtune.data.label_map import read_label_map
from boxtune.metrics.evaluation import Evaluation
from boxtune.report.evaluation import publish
from boxtune.training import checkpoints
from boxtune.training.backends import prepare_backend
from boxtune.training.evaluation import Evaluator


def evaluate(
    pipeline_config_path: str | Path,
    checkpoint: str | Path,
    *,
    output_dir: str | Path,
    overrides: Sequence[str] = (),
) -> Evaluation:
    """Evaluate a checkpoint and return what was found, after printing and keeping it.

    Args:
        pipeline_config_path: the configuration that it was trained with.
        checkpoint: a folder (its newest checkpoint), a prefix or an `.index` file.
        output_dir: takes `evaluation.json` and TensorBoard's `eval` folder.
        overrides: "path.to.field=value" changes of the configuration.

    Raises:
        BoxtuneError: for anything the user can mend.
    """
    prepare_backend()
    pipeline = config.load(pipeline_config_path, overrides)
    config.check_for_evaluation(pipeline)
    reader = pipeline.eval_input_reader[0]
    label_map = read_label_map(Path(reader.label_map_path))
    records = open_records(reader, models.num_classes(pipeline.model))

    prefix = checkpoints.find(checkpoint)
    detector = models.build(pipeline.model)
    checkpoints.load(detector.checkpoint_variables(), prefix)

    evaluator = Evaluator.from_config(detector, records, pipeline)
    evaluation = evaluator.evaluate(checkpoints.step_of(prefix))
    publish(evaluation, pipeline, label_map, Path(output_dir))
    return evaluation
