"""Protobuf text form: from text with errors that people can act on, and back to text."""

import math
import re
import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from boxtune.config import pipeline_pb2
from boxtune.config.locations import Location, Path, locations
from boxtune.errors import BoxtuneError, did_you_mean

MAX_CHARACTERS = 10_000_000

_LONGEST_QUOTE = 120
_LONGEST_REASON = 200
_MAP_ENTRY = "Entry"  # the suffix of the messages that a map consists of

M = TypeVar("M", bound=Message)


class TextError(Exception):
    """What is wrong with a text, in one sentence, and where, if known: ``:LINE:COLUMN``, from 1."""

    def __init__(self, reason: str, location: str = ""):
        super().__init__(reason)
        self.location = location


def from_text(text: str, message: M, source: str, *, error: type[BoxtuneError]) -> M:
    """Fill `message` from text form and return it.

    Raises:
        error: ``SOURCE:LINE:COLUMN: what is wrong``, with the nearest known name or with what was expected.
    """
    if len(text) > MAX_CHARACTERS:
        raise error(f"{source} has more than {MAX_CHARACTERS:,} characters, which no configuration needs.")
    try:
        fill(message, readable(text))
    except TextError as exc:
        raise error(f"{source}{exc.location}: {exc}") from None
    return message


def readable(text: str) -> str:
    """Return the text of a file without byte order mark, its lines ended by newlines."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def fill(message: Message, text: str) -> None:
    """Fill `message` from text form.

    Raises:
        TextError: the text is not in text form, or the message has no such field or value.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*invalid escape sequence")
            text_format.Parse(text, message)
    except text_format.ParseError as exc:
        line, column = exc.GetLine() or 1, exc.GetColumn() or 1
        shown = text.split("\n", line)[line - 1]
        raise TextError(_explain(str(exc), shown, column), f":{line}:{column}") from None
    except DeprecationWarning:
        raise _bad_escape(text) from None
    except UnicodeEncodeError as exc:
        raise TextError(f"{exc.object[exc.start]!a} is not a character of Unicode text.") from None
    for path, _, value in set_fields(message):
        if isinstance(value, float) and not math.isfinite(value):
            raise TextError(f"{path} is {value}; it has to be a finite number of 32 bits.")
    _check_keys(message, text)


def to_text(message: Message) -> str:
    """Return the text form; floats are the shortest numbers that read back as the same float32."""
    return text_format.MessageToString(
        message, as_utf8=True, use_index_order=True, use_short_repeated_primitives=True
    )


def set_fields(message: Message, path: str = "") -> Iterator[tuple[str, FieldDescriptor, Any]]:
    """Yield path, field and value of every scalar that is set: ``("train_config.num_steps", ..., 2000)``."""
    for field, value in message.ListFields():
        here = f"{path}.{field.name}" if path else field.name
        for item_path, item in _items(here, field, value).items():
            if isinstance(item, Message):
                yield from set_fields(item, item_path)
            else:
                yield item_path, field, item


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map, whose entries are messages of key and value on the wire."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _items(path: str, field: FieldDescriptor, value: Any) -> dict[str, Any]:
    """Return the values of a field by their paths: ``x``, ``x[0]`` of a list, ``x["key"]`` of a map."""
    if is_map(field):
        return {f'{path}["{key}"]': value[key] for key in sorted(value)}
    return {f"{path}[{i}]": item for i, item in enumerate(value)} if field.is_repeated else {path: value}


def no_such_field(message_type: str, name: str) -> str:
    """Return the sentence for a field that the message type, given by its full name, does not declare."""
    known = pipeline_pb2.DESCRIPTOR.pool.FindMessageTypeByName(message_type).fields_by_name
    messages = {field.full_name.split(".")[-2] for field in _fields_named(name)}
    owners = sorted(message for message in messages if not message.endswith(_MAP_ENTRY))
    belongs_to = f" It belongs in {' or '.join(owners)}." if 0 < len(owners) <= 3 else ""
    hint = did_you_mean(name, known) or belongs_to
    return f'{message_type.rpartition(".")[2]} has no field "{quoted(name)}".{hint}'


def expected(field: FieldDescriptor) -> str:
    """Return what a value of the field has to be, for the end of a sentence."""
    if is_map(field):
        return "{ key: ... value: ... }"
    if field.message_type is not None:
        return f"{{ ... }} with fields of {field.message_type.name}"
    if field.enum_type is not None:
        return _names(field.enum_type)
    return _EXPECTED[field.type]


def quoted(value: str) -> str:
    """Return `value`, cut to a length that fits into a sentence."""
    return value if len(value) <= _LONGEST_QUOTE else f"{value[:_LONGEST_QUOTE]}..."


_EXPECTED = {
    FieldDescriptor.TYPE_INT32: "a whole number from -2147483648 to 2147483647",
    FieldDescriptor.TYPE_UINT32: "a whole number from 0 to 4294967295",
    FieldDescriptor.TYPE_FLOAT: "a number",
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_STRING: "text in quotes",
}


def _explain(problem: str, line: str, column: int) -> str:
    """Return what is wrong in one sentence; messages of protobuf that are not known here are passed on."""
    reason = problem.partition(" : ")[2].removeprefix(f"'{line}': ").removeprefix("'': ")
    for pattern, sentence in _SENTENCES:
        if match := pattern.match(reason):
            return sentence(*match.groups())
    if (
        "unicode_escape" in reason or "unicodeescape" in reason
    ):  # of "C:\\Users", which is no \U and its digits
        return _NO_ESCAPE_HERE
    if reason.startswith(_BAD_VALUE):
        return _bad_value(line, column - 1)
    return reason.replace("boxtune.config.", "")[:_LONGEST_REASON]


_NO_ESCAPE_HERE = r'"\" is not an escape here; write "\\", or "/" in a path.'


def _bad_escape(text: str) -> TextError:
    """Return the error for the first invalid escape, as in a Windows path."""
    match = _NO_ESCAPE.search(text)
    start = match.start() if match else 0
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return TextError(_NO_ESCAPE_HERE, f":{line}:{column}")


_NO_ESCAPE = re.compile(r"""(?<!\\)(?:\\\\)*\\(?![\\'"abfnrtvxuUN0-7\n])""")


def _check_keys(message: Message, text: str) -> None:
    """Raise TextError for a duplicate key of a map, of which protobuf would keep the last value only."""
    sizes = dict(_sizes_of_maps(message))
    entries: dict[Path, list[Location]] = {path: [] for path in sizes}
    keys = {}
    for location in locations(text) if sizes else ():
        *parents, (name, _) = location.path
        entries.get((*parents, (name, 0)), []).append(location)
        if name == "key":
            keys[tuple(parents)] = location.value
    for path, size in sizes.items():
        seen = set()
        for entry in entries[path] if len(entries[path]) > size else ():
            key = keys.get(entry.path, '""')
            if key in seen:
                raise TextError(f"{path[-1][0]} has the key {quoted(key)} twice; keep one.", f":{entry.line}")
            seen.add(key)


def _sizes_of_maps(message: Message, parents: Path = ()) -> Iterator[tuple[Path, int]]:
    for field, value in message.ListFields():
        if is_map(field):
            yield (*parents, (field.name, 0)), len(value)
        elif field.message_type is not None:
            for index, item in enumerate(value if field.is_repeated else [value]):
                yield from _sizes_of_maps(item, (*parents, (field.name, index)))


def _no_value(enum_type: str, name: str) -> str:
    enum = pipeline_pb2.DESCRIPTOR.pool.FindEnumTypeByName(enum_type)
    hint = did_you_mean(name, enum.values_by_name)
    return f'{enum.name} has no value "{quoted(name)}"; it is {_names(enum)}.{hint}'


def _bad_value(line: str, column: int) -> str:
    """Return the sentence for a value of the wrong kind, at `column` (from 0) of `line`."""
    value = _VALUE.match(line[column : column + 2 * _LONGEST_QUOTE])
    found = f'not "{quoted(value[0].strip(_QUOTES))}"' if value and value[0] else "which is missing"
    field = _FIELD_BEFORE.search(line[max(0, column - 200) : column])
    kinds = sorted({expected(known) for known in _fields_named(field[1])}) if field else []
    return f"{field[1] if field else 'the value'} has to be {' or '.join(kinds) or 'another'}, {found}."


_QUOTES = "\"'"
_VALUE = re.compile(r"[^\s,;}\]]*")
_FIELD_BEFORE = re.compile(r"(\w+)\s*(?::\s*(?:\[[^\]:]*)?)?$")
_BAD_VALUE = (
    "Couldn't parse integer",
    "Couldn't parse float",
    "Value out of range",
    "Invalid octal float",
    'Expected "true" or "false"',
    "Expected string but found",
    'Expected "{"',
)
_SENTENCES = [
    (re.compile(r'Message type "(.+)" has no field named "(.+)"'), no_such_field),
    (re.compile(r'Enum type "(.+)" has no value (?:named|with number) (.+)\.$'), _no_value),
    (
        re.compile(r'Message type "(.+)" should not have multiple "(.+)" fields'),
        lambda message_type, name: f'{message_type.rpartition(".")[2]} has "{name}" twice; keep one of them.',
    ),
    (
        re.compile(r'Field "(.+)" is specified along with field "(.+)", another member'),
        lambda name, other: f'"{name}" and "{other}" exclude each other; keep one of them.',
    ),
]


def _names(enum: EnumDescriptor) -> str:
    *most, last = enum.values_by_name
    return f"{', '.join(most)} or {last}"


def _fields_named(name: str) -> list[FieldDescriptor]:
    """Return the fields of that name in all messages, nested ones too."""
    pending = list(pipeline_pb2.DESCRIPTOR.message_types_by_name.values())
    found = []
    while pending:
        message_type = pending.pop()
        pending += message_type.nested_types
        found += [field for field in message_type.fields if field.name == name]
    return found
