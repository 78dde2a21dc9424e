"""The lines on which a text in protobuf's text form sets its fields, which its parser does not keep."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from google.protobuf import text_format

Path = tuple[tuple[str, int], ...]
"""The names of fields from the top, each with its index among those of the same name, from 0."""

_CLOSING = {"{": "}", "<": ">"}


class Location(NamedTuple):
    """Where a field is set: its path, its line from 1, and the first token of its value."""

    path: Path
    line: int
    value: str


def locations(text: str) -> Iterator[Location]:
    """Yield every field that a text sets, a message before its fields, and each value of a list.

    Raises:
        text_format.ParseError: the text is not in text form.
    """
    tokens = text_format.Tokenizer(text.split("\n"))
    yield from _fields(tokens, (), closing="")


def line_of(text: str, path: Sequence[tuple[str, int | None]]) -> int | None:
    """Return the line on which a text sets the field of a path, None if it does not.

    In the path None stands for the only, or the first, value of a field.

    Raises:
        text_format.ParseError: the text is not in text form.
    """
    target = tuple((name, index or 0) for name, index in path)
    return next((one.line for one in locations(text) if one.path == target), None)


def _fields(tokens: text_format.Tokenizer, parents: Path, *, closing: str) -> Iterator[Location]:
    """Yield the fields up to the `closing` bracket, which is consumed, or up to the end."""
    seen: Counter[str] = Counter()
    while not (tokens.AtEnd() if not closing else tokens.TryConsume(closing)):
        line = _line(tokens)
        name = _name(tokens)
        tokens.TryConsume(":")
        values = _list(tokens) if tokens.TryConsume("[") else iter([line])
        for line in values:
            path = (*parents, (name, seen[name]))
            seen[name] += 1
            yield Location(path, line, tokens.token)
            yield from _value(tokens, path)
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")


def _name(tokens: text_format.Tokenizer) -> str:
    """Consume the name of a field, or that of an extension in brackets."""
    if not tokens.TryConsume("["):
        return tokens.ConsumeIdentifier()
    name = tokens.ConsumeIdentifier()
    while tokens.TryConsume("."):
        name += f".{tokens.ConsumeIdentifier()}"
    tokens.Consume("]")
    return f"[{name}]"


def _list(tokens: text_format.Tokenizer) -> Iterator[int]:
    """Yield the line of each value of a list; its caller consumes the value."""
    while not tokens.TryConsume("]"):
        if tokens.AtEnd():
            raise tokens.ParseError('Expected "]".')  # type: ignore[arg-type]
        yield _line(tokens)
        tokens.TryConsume(",")


def _value(tokens: text_format.Tokenizer, path: Path) -> Iterator[Location]:
    """Consume a value; yield the fields of a message."""
    for opening, closing in _CLOSING.items():
        if tokens.TryConsume(opening):
            yield from _fields(tokens, path, closing=closing)
            return
    if tokens.token.startswith(("'", '"')):
        tokens.ConsumeByteString()  # with all adjacent ones
    else:
        tokens.TryConsume("-")
        tokens.NextToken()


def _line(tokens: text_format.Tokenizer) -> int:
    """Return the line of the next token, from 1."""
    # protobuf's stubs have the wrong type of message here.
    return tokens.ParseError("").GetLine() or 1  # type: ignore[arg-type]
