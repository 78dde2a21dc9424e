"""The learning rate of a configuration: where it stands, scaling it, and what is known to go wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from boxtune.config import pipeline_pb2

STOCK_BATCH_SIZE = 128
"""That the learning rates of the stock recipes were made for."""

STOCK_RATE = 0.08
"""The highest of most of them, with momentum."""

TRIED_FACTOR = 16
"""How many times its rate for each image a stock recipe was seen to bear: 0.08 at batches of 8 (docs/recipes.md)."""


@dataclass(frozen=True)
class RateField:
    """A field of the configuration that holds a learning rate."""

    path: str
    message: Message
    name: str

    @property
    def value(self) -> float:
        """What it is set to, or its default."""
        return float(getattr(self.message, self.name))


def rate_fields(settings: pipeline_pb2.TrainConfig) -> list[RateField]:
    """Return every learning rate of the schedule that `train_config` chooses."""
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


def how_to_calm(settings: pipeline_pb2.TrainConfig) -> str:
    """Return what to try with a run that diverges, as a sentence."""
    highest = highest_rate(settings)
    clipping = (
        "" if settings.gradient_clipping_by_norm else " or --set train_config.gradient_clipping_by_norm=10"
    )
    return f"Try a lower learning rate (--set {highest.path}={highest.value / 3:.2g}), a longer warm-up{clipping}"


def doubts(settings: pipeline_pb2.TrainConfig) -> list[str]:
    """Return what is probably not meant, each as a sentence with the way out."""
    return [*_too_high_for_the_batch(settings), *_never_warm(settings)]


def _too_high_for_the_batch(settings: pipeline_pb2.TrainConfig) -> Iterator[str]:
    highest = highest_rate(settings)
    bearable = TRIED_FACTOR * STOCK_RATE / STOCK_BATCH_SIZE * settings.batch_size
    if settings.optimizer.HasField("momentum_optimizer") and highest.value > bearable * 1.001:
        scaled = highest.value * settings.batch_size / STOCK_BATCH_SIZE
        yield (
            f"The learning rate {highest.value:g} suits batches of {STOCK_BATCH_SIZE} images, these have "
            f"{settings.batch_size}. Should the loss rise, train with --scale_lr (then it is {scaled:.2g}) or "
            f"--set {highest.path}={bearable:.2g}"
        )


def _never_warm(settings: pipeline_pb2.TrainConfig) -> Iterator[str]:
    kind = settings.optimizer.WhichOneof("optimizer")
    section = getattr(settings.optimizer, kind).learning_rate
    warmup = section.cosine_decay_learning_rate.warmup_steps
    if section.HasField("cosine_decay_learning_rate") and warmup >= settings.num_steps:
        path = f"train_config.optimizer.{kind}.learning_rate.cosine_decay_learning_rate"
        yield (
            f"The learning rate climbs for {warmup} steps, but the run ends after {settings.num_steps}: it never "
            f"reaches its height. Set {path}.warmup_steps and .total_steps to fit"
        )
