"""What the classes of a label map weigh in the loss."""

from collections.abc import Iterable

from boxtune.config import pipeline_pb2
from boxtune.data.label_map import LabelMap
from boxtune.errors import ConfigError, DataError


def class_weights(
    weights: Iterable[pipeline_pb2.ClassWeight], label_map: LabelMap, num_classes: int
) -> list[float] | None:
    """Read `boxtune.class_weights`: the weight of each class in the order of their numbers, 1 for those not named.

    None if there are no weights.

    Raises:
        ConfigError: for a class that the label map does not have or that is named twice, and a weight below 0.
    """
    named: dict[int, float] = {}
    for item in weights:
        number = _number(item.name, label_map) - 1
        if number in named:
            raise ConfigError(f'boxtune.class_weights: "{item.name}" is given twice; one weight is enough')
        if not 0 <= item.weight < float("inf"):
            raise ConfigError(
                f'boxtune.class_weights: "{item.name}" weighs {item.weight:g}; it must be 0 or more, 1 as the others do'
            )
        named[number] = item.weight
    return [named.get(number, 1.0) for number in range(num_classes)] if named else None


def _number(name: str, label_map: LabelMap) -> int:
    try:
        return label_map.label(name).id
    except DataError as error:
        raise ConfigError(f"boxtune.class_weights: {error}") from None
