"""Sets one value of a configuration from the command line: ``train_config.batch_size=8``."""

import re
from dataclasses import dataclass
from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.config.text import TextError, expected, fill, is_map, no_such_field, quoted
from boxtune.errors import ConfigError, many

_STEP = re.compile(r"([A-Za-z_]\w*)(?:\[(\d{1,9})\])?")


def apply_override(config: TrainEvalPipelineConfig, override: str) -> None:
    """Set one value of `config` in place.

    `override` is ``PATH=VALUE``. PATH names fields from the top, with ``[i]`` for one of a list:
    ``eval_input_reader[0].label_map_path``. VALUE is as in the file: ``8``, ``true``,
    ``RELU_6``, ``[1.0, 2.0]`` for a whole list, ``{ fixed_shape_resizer { height: 320 } }`` for a whole
    message; text needs no quotes. Within `model` the name of the family may be left out if the configuration has
    it: ``model.num_classes``.

    Raises:
        ConfigError: the path leads nowhere or the value does not fit, naming the part and what is expected.
    """
    path, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f'override "{quoted(override)}" has no "="; write PATH=VALUE.')
    try:
        *parents, last = [_step(part) for part in _full_path(path.strip(), config).split(".")]
        message: Message = config
        for step in parents:
            message = _descend(message, step)
        _assign(message, last, value.strip())
    except ConfigError as exc:
        raise ConfigError(f'override "{quoted(override)}": {exc}') from None


def short(path: str) -> str:
    """Return a path into a family's section without the family: ``model.ssd.num_classes`` as ``model.num_classes``."""
    model, _, rest = path.split(".", 2)
    return f"{model}.{rest}"


def _full_path(path: str, config: TrainEvalPipelineConfig) -> str:
    """Return a path with the family of `model`, if it was left out."""
    model, _, rest = path.partition(".")
    family = config.model.WhichOneof("model")
    name = rest.partition(".")[0].partition("[")[0]
    if model != "model" or not rest or family is None or name in config.model.DESCRIPTOR.fields_by_name:
        return path
    return f"{model}.{family}.{rest}"


@dataclass(frozen=True)
class _Step:
    """One part of a path: a field, or one item of a repeated field."""

    name: str
    index: int | None

    def __str__(self) -> str:
        return self.name if self.index is None else f"{self.name}[{self.index}]"


def _step(part: str) -> _Step:
    match = _STEP.fullmatch(part.strip())
    if match is None:
        raise ConfigError(f'"{quoted(part)}" is not the name of a field, nor NAME[INDEX].')
    return _Step(match[1], None if match[2] is None else int(match[2]))


def _field(message: Message, step: _Step) -> FieldDescriptor:
    """Return the field, after checking that it exists and has the item."""
    field = cast(FieldDescriptor | None, message.DESCRIPTOR.fields_by_name.get(step.name))
    if field is None:
        raise ConfigError(no_such_field(message.DESCRIPTOR.full_name, step.name))
    if step.index is not None:
        if is_map(field):
            raise ConfigError(f'"{step.name}" is a map; set all of it, as in {step.name}={expected(field)}.')
        if not field.is_repeated:
            raise ConfigError(f'"{step.name}" is not a list; write it without [{step.index}].')
        length = len(getattr(message, step.name))
        if step.index >= length:
            raise ConfigError(f'there is no "{step}": the list has {many(length, "item")}, counted from 0.')
    return field


def _descend(message: Message, step: _Step) -> Message:
    field = _field(message, step)
    if field.message_type is None or is_map(field):
        raise ConfigError(f'"{step}" has no fields: it is {expected(field)}.')
    if not field.is_repeated:
        return getattr(message, step.name)
    if step.index is None:
        raise ConfigError(f'"{step}" is a list; say which item, as in {step}[0].')
    return getattr(message, step.name)[step.index]


def _assign(message: Message, step: _Step, value: str) -> None:
    field = _field(message, step)
    parsed = _parsed(type(message)(), field, value)
    if step.index is None:
        message.ClearField(step.name)
        message.MergeFrom(parsed)
        return
    there, items = getattr(message, step.name), getattr(parsed, step.name)
    if len(items) != 1:
        raise ConfigError(f'"{step}" has to be one item, not {len(items)}.')
    if field.message_type is None:
        there[step.index] = items[0]
    else:
        there[step.index].CopyFrom(items[0])


def _parsed(empty: Message, field: FieldDescriptor, value: str) -> Message:
    """Return `empty` with only this field, read as ``field: value`` in a file."""
    if field.type == FieldDescriptor.TYPE_STRING:
        value = _with_quotes(value, is_list=field.is_repeated)
    try:
        fill(empty, f"{field.name}: {value}")
    except TextError as exc:
        raise ConfigError(str(exc)) from None
    if any(other.name != field.name for other, _ in empty.ListFields()):
        raise ConfigError(f'"{quoted(value)}" is more than one value.')
    return empty


def _with_quotes(value: str, *, is_list: bool) -> str:
    """Return text of the command line with quotes, unless it has them already."""
    if value.startswith(("'", '"')):
        return value
    if is_list and value.startswith("[") and value.endswith("]"):
        inner = value[1:-1]
        if "'" in inner or '"' in inner or not inner.strip():
            return value
        return f"[{', '.join(_quote(item.strip()) for item in inner.split(','))}]"
    return _quote(value)


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
