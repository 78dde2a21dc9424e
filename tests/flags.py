"""Trainings with options by the names of the command line's flags, which a test can list in one dictionary."""

from boxtune.report.box_drawing import training_images
from boxtune.report.evaluation import publish
from boxtune.train import Reporting, train
from boxtune.training.checkpoint_manager import CheckpointOptions
from boxtune.training.early_stopping import EvaluationOptions
from boxtune.training.memory import doubt

CHECKPOINTING = {
    "checkpoint_every_n": "every_n",
    "checkpoint_max_to_keep": "max_to_keep",
    "checkpoint_keep_every_n": "keep_every_n",
}
EVALUATING = {
    "evaluate_every_n": "every_n",
    "best_metric": "metric",
    "patience": "patience",
    "min_delta": "min_delta",
    "recalibrate": "recalibrate",
}


def train_by_flags(*paths, **options):
    """Train as `boxtune train` does with these flags."""

    def taken(names):
        return {field: options.pop(flag) for flag, field in names.items() if flag in options}

    return train(
        *paths,
        checkpoint_options=CheckpointOptions(**taken(CHECKPOINTING)),
        evaluation_options=EvaluationOptions(**taken(EVALUATING)),
        reporting=Reporting(publish, training_images, doubt),
        **options,
    )
