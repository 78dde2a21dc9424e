"""Choosing by the member that is set in a section which stands for one of several things."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from boxtune.config.unsupported import Missing, missing, reason
from boxtune.errors import ConfigError

Function = Callable[..., Any]


def chosen(section: Message, built: Mapping[str, Function]) -> tuple[Function, Any]:
    """Return what stands in `built` under the name of the member that is set in `section`, and that member.

    `section` is a message with one oneof, such as an AnchorGenerator.

    Raises:
        ConfigError: if no member is set, or one that is not in `built`.
    """
    name = section.WhichOneof(section.DESCRIPTOR.oneofs[0].name)
    if name is None:
        raise ConfigError(
            f"pipeline.config: {section.DESCRIPTOR.name} is empty; choose one of: {', '.join(built)}."
        )
    field = section.DESCRIPTOR.fields_by_name[name]
    if name not in built:
        known = missing(field.full_name) or Missing(f'"{name}"', f"choose one of: {', '.join(built)}")
        raise ConfigError(f"pipeline.config: {section.DESCRIPTOR.name}: {reason(known)}")
    return built[name], getattr(section, name)
