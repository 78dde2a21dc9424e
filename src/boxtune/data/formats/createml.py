"""CreateML's JSON: a list of images, whose boxes are given by their centre and sides in pixels."""

from collections.abc import Iterator
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile
from boxtune.data.formats import shapes
from boxtune.data.formats.json_text import as_dict, as_list, as_text, json_format, numbered

_NAME_KEYS = ("image", "imagefilename", "image_filename")
_OBJECT_KEYS = ("annotations", "annotation")


def _belongs(value: Any) -> bool:
    """Say whether a value is a list that starts with an image and its annotations."""
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    return isinstance(_first(value[0], _NAME_KEYS), str) and isinstance(_first(value[0], _OBJECT_KEYS), list)


def _read(file: AnnotationFile, entries: list[Any]) -> Iterator[Annotation]:
    for location, entry in numbered(entries, ""):
        with file.skipping(location):
            image = as_dict(entry, location)
            key = f"{location}.annotations"
            items = numbered(as_list(_first(image, _OBJECT_KEYS), key), key)
            yield file.annotation(as_text(_first(image, _NAME_KEYS)), items, _object, location=location)


FORMAT = json_format("createml", "CreateML JSON", _belongs, _read, form="centres")


def _object(item: Any, location: str) -> AnnotatedObject:
    item = as_dict(item, location, kinds.OBJECT_WITHOUT_BOX)
    name = shapes.require_name(as_text(item.get("label")))
    box = as_dict(item.get("coordinates"), f"{location}.coordinates", kinds.OBJECT_WITHOUT_BOX)
    return AnnotatedObject(name, shapes.centred(*map(box.get, ("x", "y", "width", "height"))), location)


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)
