"""The learning rates of a configuration: where they are set, scaling them, and warnings about them."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from boxtune.config import pipeline_pb2

RATE_PER_IMAGE = 0.01
"""With momentum: of the runs in docs/recipes.md, those above it for each image of a batch were worse on some data."""

LEAST_RATE_TIMES_STEPS = 4.0
"""With momentum: of those runs, all below it learned too little."""


@dataclass(frozen=True)
class RateField:
    """A field of the configuration that holds a learning rate."""

    path: str
    message: Message
    name: str

    @property
    def value(self) -> float:
        """Its value, or its default."""
        return float(getattr(self.message, self.name))


def rate_fields(settings: pipeline_pb2.TrainConfig) -> list[RateField]:
    """Return every learning rate of the schedule that `train_config` sets."""
    kind = settings.optimizer.WhichOneof("optimizer")
    section = getattr(settings.optimizer, kind).learning_rate
    schedule = section.WhichOneof("learning_rate")
    path = f"train_config.optimizer.{kind}.learning_rate.{schedule}"
    return list(_rates_in(getattr(section, schedule), path))


def _rates_in(message: Message, path: str) -> Iterator[RateField]:
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            for i, part in enumerate(getattr(message, field.name)):  # the steps of manual_step_learning_rate
                yield from _rates_in(part, f"{path}.{field.name}[{i}]")
        elif "learning_rate" in field.name:
            yield RateField(f"{path}.{field.name}", message, field.name)


def highest_rate(settings: pipeline_pb2.TrainConfig) -> RateField:
    """Return the field of the highest learning rate."""
    return max(rate_fields(settings), key=lambda field: field.value)


def scale(settings: pipeline_pb2.TrainConfig, reference_batch_size: int) -> float:
    """Multiply every learning rate by `batch_size / reference_batch_size` and return that factor.

    Source: the linear scaling rule of Goyal et al. 2017 (arXiv:1706.02677).
    """
    factor = settings.batch_size / reference_batch_size
    for field in rate_fields(settings):
        setattr(field.message, field.name, field.value * factor)
    return factor


def how_to_stabilize(settings: pipeline_pb2.TrainConfig) -> str:
    """Return what to try with a run that diverges, as a sentence."""
    highest = highest_rate(settings)
    clipping = (
        "" if settings.gradient_clipping_by_norm else " or --set train_config.gradient_clipping_by_norm=10"
    )
    return f"Try a lower learning rate (--set {highest.path}={highest.value / 3:.2g}), a longer warm-up{clipping}"


def warnings(settings: pipeline_pb2.TrainConfig) -> list[str]:
    """Return what is probably a mistake, each as a sentence with the way out."""
    kind = settings.optimizer.WhichOneof("optimizer")
    section = getattr(settings.optimizer, kind).learning_rate
    found = list(_warnings_about_height(settings)) if kind == "momentum_optimizer" else []
    warmup = section.cosine_decay_learning_rate.warmup_steps
    if section.HasField("cosine_decay_learning_rate") and warmup >= settings.num_steps:
        path = f"train_config.optimizer.{kind}.learning_rate.cosine_decay_learning_rate"
        found.append(
            f"The learning rate warms up for {warmup} steps, but the run ends after {settings.num_steps}: it never "
            f"reaches its height. Set {path}.warmup_steps and .total_steps to fit"
        )
    return found


def _warnings_about_height(settings: pipeline_pb2.TrainConfig) -> Iterator[str]:
    highest, safe_rate = highest_rate(settings), RATE_PER_IMAGE * settings.batch_size
    if highest.value > safe_rate * 1.001:
        yield (
            f"The learning rate {highest.value:g} is high for batches of {settings.batch_size} images. Such runs in "
            "docs/recipes.md gained 0.03 mAP on some photographs, lost 0.28 on others, or diverged. "
            f"Should the results be poor, try --set {highest.path}={safe_rate:.2g}"
        )
    if 0 < highest.value * settings.num_steps < LEAST_RATE_TIMES_STEPS * 0.999:
        better = min(safe_rate, LEAST_RATE_TIMES_STEPS / settings.num_steps)
        higher = f", or try --set {highest.path}={better:.2g}" if better > highest.value * 1.001 else ""
        yield (
            f"The learning rate {highest.value:g} is low for {settings.num_steps} steps: of the short runs in "
            f"docs/recipes.md, such ones reached half the mAP of others. Train longer{higher}"
        )
