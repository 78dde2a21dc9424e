"""JSON whose numbers have a given number of digits."""

import json
import re
from typing import IO, Any

# A string, which is passed over, or a number with a point or an exponent.
_STRING_OR_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+)')


def FormatFloat(json_str: str, float_digits: int) -> str:
    """Return JSON with `float_digits` digits behind the point of each float; as it is if they are negative.

    Text in quotation marks stays as it is, whatever is in it.
    """
    if float_digits < 0:
        return json_str

    def format_match(match: re.Match[str]) -> str:
        found = match.group()
        return found if found.startswith('"') else f"{float(found):.{float_digits}f}"

    return _STRING_OR_FLOAT.sub(format_match, json_str)


def Dump(obj: Any, fid: IO[str], float_digits: int = -1, **params: Any) -> None:
    """Write `obj` as JSON to an open file; `params` are those of json.dumps."""
    fid.write(Dumps(obj, float_digits, **params))


def Dumps(obj: Any, float_digits: int = -1, **params: Any) -> str:
    """Return `obj` as JSON; `params` are those of json.dumps."""
    return FormatFloat(json.dumps(obj, **params), float_digits)


def PrettyParams(**params: Any) -> dict[str, Any]:
    """Return parameters of `Dump` for people to read: four digits, sorted keys, indented; overridden by `params`."""
    return {"float_digits": 4, "sort_keys": True, "indent": 2, "separators": (",", ": "), **params}
