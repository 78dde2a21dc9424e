"""Refuses the features of the API that boxtune does not have, where they would be used."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from boxtune.config.locations import line_of
from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.config.text import TextError, fill, is_map, readable
from boxtune.config.unsupported import Missing, missing, reason
from boxtune.errors import ConfigError, some

MODEL = ("model",)
"""The sections that a detector is built from."""

TRAINING = (*MODEL, "train_config", "train_input_reader")
"""The sections that training reads."""

EVALUATION = ("eval_config", "eval_input_reader")
"""The sections that evaluation reads besides the detector's own."""

Function = Callable[..., Any]

_MOST_PATHS = 5

Steps = tuple[tuple[str, int | None], ...]
"""The names of fields from the top, each with its index in a list, or None."""


class _Unsupported(NamedTuple):
    """A field that is set and that boxtune does not have."""

    path: Steps
    missing: Missing
    value: Any

    def __str__(self) -> str:
        return ".".join(name if index is None else f"{name}[{index}]" for name, index in self.path)


def refuse(
    config: TrainEvalPipelineConfig,
    source: str | os.PathLike[str] | None = None,
    sections: Collection[str] = (*TRAINING, *EVALUATION),
) -> None:
    """Raise ConfigError if one of the `sections` sets a field that boxtune does not have.

    `source` is the file that the configuration was read from: the error names it, and the line, if the
    field is set there.
    """
    _raise_for([one for one in _unsupported_in(config) if one.path[0][0] in sections], source)


def refuse_family(config: TrainEvalPipelineConfig, source: str | os.PathLike[str]) -> None:
    """Raise ConfigError, as `refuse` does, if boxtune does not have this family of detectors."""
    family = config.model.WhichOneof("model")
    _raise_for(
        [one for one in _unsupported_in(config) if one.path == (("model", None), (family, None))], source
    )


def _unsupported_in(message: Message, parents: Steps = ()) -> Iterator[_Unsupported]:
    for field, value in message.ListFields():
        path: Steps = (*parents, (field.name, None))
        unsupported = missing(field.full_name, ".".join(name for name, _ in path))
        is_scalar = not field.is_repeated and field.message_type is None
        if unsupported and not (is_scalar and value == field.default_value):
            yield _Unsupported(path, unsupported, value)
        elif field.message_type is not None and not unsupported and not is_map(field):
            for index, item in enumerate(value) if field.is_repeated else [(None, value)]:
                yield from _unsupported_in(item, (*parents, (field.name, index)))


def _raise_for(found: Sequence[_Unsupported], source: str | os.PathLike[str] | None) -> None:
    """Raise ConfigError for the first field found, naming the others, too."""
    if not found:
        return
    first, *others = found
    rest = f" Also missing: {some(list(map(str, others)), _MOST_PATHS)}." if others else ""
    location = "" if source is None else f"{_location(first, Path(source))}: "
    raise ConfigError(f"{location}{first}: {reason(first.missing)}{rest}")


def _location(found: _Unsupported, file: Path) -> str:
    """Return ``FILE:LINE``, or only the file if it does not set the field to this value."""
    try:
        text = readable(file.read_text(encoding="utf-8")) if file.is_file() else ""
        given = TrainEvalPipelineConfig()
        fill(given, text)
    except (OSError, UnicodeDecodeError, TextError):
        return str(file)
    # Of a message it counts that it is set.
    same = any(
        one.path == found.path and (isinstance(one.value, Message) or one.value == found.value)
        for one in _unsupported_in(given)
    )
    line = line_of(text, found.path) if same else None
    return str(file) if line is None else f"{file}:{line}"


def oneof(section: Message, readers: Mapping[str, Callable[[Any], Any]]) -> Any:
    """Return the member that is set in `section`, as read by the function in `readers` under its name.

    `section` is a message with one oneof, such as an AnchorGenerator.

    Raises:
        ConfigError: if no member is set, or one that is not in `readers`.
    """
    name = section.WhichOneof(section.DESCRIPTOR.oneofs[0].name)
    if name is None:
        raise ConfigError(
            f"pipeline.config: {section.DESCRIPTOR.name} is empty; choose one of: {', '.join(readers)}."
        )
    if name not in readers:
        field = section.DESCRIPTOR.fields_by_name[name]
        known = missing(field.full_name) or Missing(f'"{name}"', f"choose one of: {', '.join(readers)}")
        raise ConfigError(f"pipeline.config: {section.DESCRIPTOR.name}: {reason(known)}")
    return readers[name](getattr(section, name))
