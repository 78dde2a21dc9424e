"""What the builders have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message

from boxtune.errors import ConfigError


class SectionError(ConfigError, ValueError):
    """A section of the configuration that cannot be used; a ValueError too, which is what the API raises."""

    __init__ = Exception.__init__  # as of TensorError


@contextmanager
def as_section_errors() -> Iterator[None]:
    """Raise the errors of boxtune about a configuration as SectionError."""
    try:
        yield
    except ConfigError as error:
        raise SectionError(str(error)) from error


def checked(name: str, section: Any, kind: type[Message]) -> None:
    """Refuse a section of another kind.

    Raises:
        SectionError: with the name of the right one.
    """
    if not isinstance(section, kind):
        raise SectionError(f"{name} not of type {kind.DESCRIPTOR.name}; it is a {type(section).__name__}.")
