"""Protobuf text form: from text with errors that people can act on, and back to text."""

import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from boxtune.config import pipeline_pb2
from boxtune.config.locations import Location, Path, locations
from boxtune.config.unsupported import missing
from boxtune.errors import BoxtuneError, did_you_mean

MAX_CHARACTERS = 10_000_000

_LONGEST_QUOTE = 120
_LONGEST_REASON = 200
_MOST_BEFORE = 1000  # characters that are searched for the field of a value
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
    _check_escapes(text)
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as exc:
        raise _explained(exc, text) from None
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
        items = {here: value}
        if is_map(field):
            items = {f'{here}["{key}"]': value[key] for key in sorted(value)}
        elif field.is_repeated:
            items = {f"{here}[{i}]": item for i, item in enumerate(value)}
        for item_path, item in items.items():
            if isinstance(item, Message):
                yield from set_fields(item, item_path)
            else:
                yield item_path, field, item


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map, whose entries are messages of key and value on the wire."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def no_such_field(message_type: str, name: str) -> str:
    """Return the sentence for a field that the message type, given by its full name, does not declare."""
    known = pipeline_pb2.DESCRIPTOR.pool.FindMessageTypeByName(message_type).fields_by_name
    messages = {field.full_name.split(".")[-2] for field in _fields_named(name)}
    owners = sorted(message for message in messages if not message.endswith(_MAP_ENTRY))
    belongs_to = f" It belongs in {' or '.join(owners)}." if 0 < len(owners) <= 3 else ""
    built = [one for one, field in known.items() if not missing(field.full_name)]
    hint = did_you_mean(name, built) or belongs_to
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


def _explained(error: text_format.ParseError, text: str) -> TextError:
    """Return protobuf's error as one sentence with its place; a missing value has the place of its field."""
    lines = text.split("\n")
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    offset = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
    reason = str(error).partition(" : ")[2].removeprefix(f"'{lines[line - 1]}': ").removeprefix("'': ")
    place = f":{line}:{column}"
    if reason.startswith(_ABOUT_VALUES):
        start = max(0, offset - _MOST_BEFORE)
        field = _FIELD_BEFORE.search(_without_comments(text[start:offset]))
        kinds = sorted({expected(known) for known in _fields_named(field[1])}) if field else []
        if field and kinds and _NO_VALUE.match(_without_comments(text[offset : offset + _LONGEST_REASON])):
            sentence = f"{field[1]} has to be {' or '.join(kinds)}, which is missing."
            return TextError(sentence, _place(text, start + field.start(1)))
        if reason.startswith(_BAD_VALUE):
            value = _VALUE.match(text[offset : offset + 2 * _LONGEST_QUOTE])
            found = f'not "{quoted(value[0].strip(_QUOTES))}"' if value and value[0] else "which is missing"
            name = field[1] if field else "the value"
            return TextError(f"{name} has to be {' or '.join(kinds) or 'another'}, {found}.", place)
    return TextError(_explain(reason), place)


def _explain(reason: str) -> str:
    """Return what is wrong in one sentence; messages of protobuf that are not known here are passed on."""
    for pattern, sentence in _SENTENCES:
        if match := pattern.match(reason):
            return sentence(*match.groups())
    return reason.replace("boxtune.config.", "")[:_LONGEST_REASON]


def _place(text: str, offset: int) -> str:
    """Return where an offset into a text is: ``:LINE:COLUMN``, from 1."""
    return f":{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def _without_comments(text: str) -> str:
    """Return a text with blanks in place of its comments."""
    return _TEXT_OR_COMMENT.sub(lambda found: " " * len(found[0]) if found[0][0] == "#" else found[0], text)


def _check_escapes(text: str) -> None:
    """Raise TextError for the first backslash that is not the start of an escape, as in a Windows path."""
    for found in _TEXT_OR_COMMENT.finditer(text) if "\\" in text else ():
        for escape in _BACKSLASH.finditer(found[0]) if found[0][0] != "#" else ():
            if not escape["valid"]:
                start = found.start() + escape.start()
                raise TextError(f'"{escape[0]}" is not an escape; {_SLASH}', _place(text, start))


def escaped_paths(text: str, fields: Collection[str]) -> Iterator[Location]:
    r"""Yield the paths in a text in which a backslash and a letter stand for another character: ``C:\new\train``.

    Paths are the values of `fields`, and texts that begin with the letter of a drive.

    Raises:
        text_format.ParseError: the text is not in text form.
    """
    for location in locations(text) if "\\" in text else ():
        is_path = location.path[-1][0] in fields or _DRIVE.match(location.value)
        escapes = {escape["valid"] for escape in _BACKSLASH.finditer(location.value)}
        if is_path and not escapes <= {"\\", *_QUOTES}:
            yield location


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


_QUOTES = "\"'"
_SLASH = r'write "\\", or "/" in a path.'
_TEXT_OR_COMMENT = re.compile(r"""#[^\n]*|"(?:\\[^\n]|[^"\\\n])*"|'(?:\\[^\n]|[^'\\\n])*'""")
_BACKSLASH = re.compile(
    r"""\\(?:(?P<valid>[\\'"abfnrtv]|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}"""
    r"""|[0-3][0-7]{2}|[0-7]{1,2}(?![0-7]))|.)"""
)
_DRIVE = re.compile(r"""["'][A-Za-z]:\\""")
_VALUE = re.compile(r"[^\s,;}\]]*")
_NO_VALUE = re.compile(r"\s*(?:[A-Za-z_]\w*\s*[:{<]|[}>;,\]]|$)")
"""What stands where a value is missing: another field, or the end."""
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
_ABOUT_VALUES = (*_BAD_VALUE, "Enum type", 'Expected ":"')
_SENTENCES: list[tuple[re.Pattern[str], Callable[..., str]]] = [
    (re.compile("String missing ending quote"), lambda: "this text has no quote at its end."),
    (re.compile("'unicodeescape' codec"), lambda: f'this text has no quote at its end; for a "\\" {_SLASH}'),
    (
        re.compile(r"Couldn't parse string: 'utf-8'"),
        lambda: f'the numbers after a "\\" are no character of UTF-8; {_SLASH}',
    ),
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
