"""The verb `lr-range`: try learning rates from low to high, and show what the loss does."""

import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from boxtune import config, models
from boxtune.backends import prepare_backend
from boxtune.data.files import held, whole_file, writing
from boxtune.data.input import naming_faults, open_records
from boxtune.errors import BoxtuneError, ConfigError, many
from boxtune.report.chart import Curve, Mark, draw_chart
from boxtune.training.batches import batches, images_per_step
from boxtune.training.build import build_detector, load_initial_weights
from boxtune.training.callbacks import Step, StepCallbacks
from boxtune.training.learning_rates import highest_rate
from boxtune.training.loggers import Progress
from boxtune.training.range_test import MIN_STEPS, RangeTest, set_growing_rate

IMAGE, NUMBERS, SUMMARIES = "learning_rate_range.png", "learning_rate_range.json", "learning_rate_range"


@dataclass(frozen=True)
class RangeResult:
    """The curve and where it is; printed, a summary for people."""

    output_dir: Path
    test: RangeTest
    field: str
    """Of the configuration, that holds the learning rate."""
    configured: float

    def __str__(self) -> str:
        lowest, suggested = self.test.lowest, self.test.suggested
        if lowest is None or suggested is None:
            return (
                "The loss never fell below its first value, so the curve says nothing "
                f"({self.output_dir / IMAGE}). Start lower (--lowest) or make more steps (--num_steps)"
            )
        return (
            f"The loss was lowest at {lowest:.2g}; a third of that is {suggested:.2g}, the configuration has "
            f"{self.configured:.2g}.\n{self.output_dir / IMAGE} shows the curve. To train so:  "
            f"--set {self.field}={suggested:.2g}"
        )


def lr_range(
    pipeline_config_path: str | Path,
    output_dir: str | Path,
    *,
    lowest: float = 1e-5,
    highest: float = 10.0,
    num_steps: int = 100,
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> RangeResult:
    """Make steps with growing learning rates until the loss diverges; draw the curve and say what it shows.

    No checkpoint is written.

    Args:
        pipeline_config_path: the configuration; its weights to start from, batch size and optimizer are used.
        output_dir: for the curve as an image, as JSON and for TensorBoard.
        lowest: the learning rate of the first step.
        highest: of the last.
        num_steps: at most.
        overrides: "path.to.field=value" changes of the configuration.
        seed: of the first weights, the order of the examples and their augmentation.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    if not (0 < lowest < highest and num_steps > MIN_STEPS):
        raise ConfigError(
            f"lowest {lowest:g}, highest {highest:g}, num_steps {num_steps}: the learning rate has to grow from "
            f"above 0, in more than {MIN_STEPS} steps"
        )
    prepare_backend()
    output_dir = Path(output_dir)
    pipeline = config.load(pipeline_config_path, overrides)
    config.check_for_training(pipeline, pipeline_config_path)
    configured = highest_rate(pipeline.train_config)
    field, rate = configured.path, configured.value
    set_growing_rate(pipeline.train_config.optimizer, lowest, highest, num_steps)

    records = open_records(pipeline.train_input_reader, models.num_classes(pipeline.model), for_training=True)
    detector = build_detector(pipeline, records.label_map, seed)
    print(load_initial_weights(detector, pipeline, records.label_map), flush=True)

    rates: list[float] = []
    losses: list[float] = []

    def note(step: Step) -> None:
        broken = not math.isfinite(step.total_loss)
        if not broken:
            rates.append(step.learning_rate)
            losses.append(step.total_loss)
        detector.stop_training = broken or RangeTest(rates, losses).diverged

    progress = Progress(0, num_steps)
    batches_per_step = pipeline.boxtune.accumulate_batches
    callbacks = StepCallbacks(
        0, images_per_step(pipeline), [progress.add_step, note], batches_per_step=batches_per_step
    )
    with held(output_dir):
        with naming_faults(records):
            detector.fit(
                batches(pipeline, records, seed=seed, start_step=0),
                steps_per_epoch=num_steps * batches_per_step,
                shuffle=False,
                verbose=0,
                callbacks=[callbacks],
            )
        progress.clear()
        if len(losses) <= MIN_STEPS:
            raise BoxtuneError(
                f"After {many(len(losses), 'step')} the loss was infinite or NaN; start lower (--lowest)"
            )
        test = RangeTest(rates, losses)
        _write(test, output_dir)
    return RangeResult(output_dir, test, field, rate)


def _write(test: RangeTest, output_dir: Path) -> None:
    curve = draw(test)
    with whole_file(output_dir / IMAGE) as temporary:
        curve.save(temporary, format="PNG")
    content = [
        {"learning_rate": rate, "loss": loss, "mean": mean}
        for rate, loss, mean in zip(test.learning_rates, test.losses, test.means, strict=True)
    ]
    with whole_file(output_dir / NUMBERS) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    folder = output_dir / SUMMARIES
    with writing(folder), closing(tf.summary.create_file_writer(str(folder))) as writer, writer.as_default():
        for step, one in enumerate(content, start=1):
            for name, value in one.items():
                tf.summary.scalar(f"learning_rate_range/{name}", value, step)
        tf.summary.image("learning_rate_range", np.asarray(curve)[None], len(content))


def draw(test: RangeTest) -> Image.Image:
    """Return the curve of a range test."""
    means = test.means
    marks = []
    if test.lowest is not None and test.suggested is not None:
        marks = [
            Mark(test.lowest, f"lowest at {test.lowest:.2g}"),
            Mark(test.suggested, f"a third of that: {test.suggested:.2g}", "#3cb44b"),
        ]
    return draw_chart(
        "Loss while the learning rate grows",
        "learning rate",
        [
            Curve("each step", test.learning_rates, test.losses, "#a8c4e8", 1),
            Curve("mean", test.learning_rates, means, "#1f4e9a", 3),
        ],
        y_range=(min(means) * 0.9, max(means[:MIN_STEPS]) * 1.1),
        marks=marks,
    )
