"""What the builders have in common."""

from typing import Any

from google.protobuf.message import Message

from boxtune.errors import ConfigError


class SectionError(ConfigError, ValueError):
    """A section of the configuration that cannot be used; a ValueError too, which is what the API raises."""


def checked(name: str, section: Any, kind: type[Message]) -> None:
    """Refuse a section of another kind.

    Raises:
        SectionError: with the name of the right one.
    """
    if not isinstance(section, kind):
        raise SectionError(f"{name} not of type {kind.DESCRIPTOR.name}; it is a {type(section).__name__}.")
