"""VoTT's JSON: the export of a project, whose `assets` hold the regions of an image each, or one asset in a file.

A region of several tags is an object of each. Images that nobody has opened are not annotated. VoTT writes the names of
images with percent signs.
"""

from collections.abc import Iterator
from typing import Any

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile
from boxtune.data.formats import shapes
from boxtune.data.formats.json_text import as_dict, as_list, as_text, json_format, numbered

_NOT_VISITED = 0


def _belongs(value: Any) -> bool:
    """Say whether a value is an asset, or holds several."""
    if not isinstance(value, dict):
        return False
    assets = value.get("assets")
    return _is_asset(value) or (isinstance(assets, dict) and any(map(_is_asset, assets.values())))


def _is_asset(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("asset"), dict) and "name" in value["asset"]


def _read(file: AnnotationFile, document: dict[str, Any]) -> Iterator[Annotation]:
    entries = {"": document}
    if not _is_asset(document):
        entries = {f"assets.{key}.": entry for key, entry in document["assets"].items()}
    for location, entry in entries.items():
        with file.skipping(location):
            entry = as_dict(entry, location)
            asset = as_dict(entry.get("asset"), f"{location}asset")
            if asset.get("state") == _NOT_VISITED:
                continue
            size = as_dict(asset.get("size", {}), f"{location}asset.size")
            regions = as_list(entry.get("regions", []), f"{location}regions")
            yield file.annotation(
                as_text(asset.get("name")),
                _tagged(numbered(regions, f"{location}regions")),
                _object,
                size=shapes.image_size(size.get("width"), size.get("height")),
                location=location.rstrip("."),
            )


FORMAT = json_format("vott", "VoTT JSON", _belongs, _read, form="sides")


def _tagged(regions: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield each region once for each of its tags."""
    for location, region in regions:
        tags = region.get("tags") if isinstance(region, dict) else None
        for tag in tags if isinstance(tags, list) and tags else [""]:
            yield location, (region, tag)


def _object(item: tuple[Any, Any], location: str) -> AnnotatedObject:
    region = as_dict(item[0], location, kinds.OBJECT_WITHOUT_BOX)
    name = shapes.require_name(as_text(item[1]))
    box = as_dict(region.get("boundingBox"), f"{location}.boundingBox", kinds.OBJECT_WITHOUT_BOX)
    edges = shapes.rectangle(*map(box.get, ("left", "top", "width", "height")))
    return AnnotatedObject(name, edges, location)
