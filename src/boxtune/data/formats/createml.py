"""CreateML's JSON: a list of pictures, whose boxes are given by their centre and sides in pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, Format, Parse
from boxtune.data.findings import Findings
from boxtune.data.formats import json_text, shapes
from boxtune.data.listing import Listing

_TITLE = "CreateML JSON"
_NAME_KEYS = ("image", "imagefilename", "image_filename")
_OBJECT_KEYS = ("annotations", "annotation")


def recognises(path: Path) -> bool:
    """Say whether a file is a list that begins with a picture and its annotations."""
    return json_text.recognises(path, _belongs)


def parse(path: Path, findings: Findings) -> Iterator[Annotation]:
    """Read one file, which is about any number of pictures."""
    with findings.skipping(path):
        for number, entry in enumerate(json_text.load_format(path, _belongs, _TITLE)):
            with findings.skipping(path, place=f"[{number}]"):
                yield _annotation(path, entry, f"[{number}]", findings)


def _prepare(listing: Listing, findings: Findings) -> Parse:
    return parse


FORMAT = Format("createml", _TITLE, frozenset({".json"}), recognises, _prepare)


def _belongs(value: Any) -> bool:
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    return isinstance(_first(value[0], _NAME_KEYS), str) and isinstance(_first(value[0], _OBJECT_KEYS), list)


def _annotation(path: Path, entry: Any, place: str, findings: Findings) -> Annotation:
    picture = json_text.as_dict(entry, place)
    filename = json_text.as_text(_first(picture, _NAME_KEYS)).replace("\\", "/")
    items = json_text.as_list(_first(picture, _OBJECT_KEYS), f"{place}.annotations")
    placed = ((f"{place}.annotations[{number}]", item) for number, item in enumerate(items))
    objects, complete = shapes.gather(placed, _object, findings, path, filename)
    return Annotation(path, filename, objects, place=place, complete=complete)


def _object(item: Any, place: str) -> AnnotatedObject:
    item = json_text.as_dict(item, place, kinds.OBJECT_WITHOUT_BOX)
    name = shapes.require_name(json_text.as_text(item.get("label")))
    box = json_text.as_dict(item.get("coordinates"), f"{place}.coordinates", kinds.OBJECT_WITHOUT_BOX)
    return AnnotatedObject(name, shapes.centred(*map(box.get, ("x", "y", "width", "height"))), place)


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)
