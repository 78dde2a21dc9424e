"""One image and its objects as a tf.train.Example: what the functions of the scripts of this folder share."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxtune.data import images, record_writer, repair
from boxtune.data.annotations import AnnotatedObject, AnnotationFile
from boxtune.data.findings import Findings, SkipError
from boxtune.data.formats import shapes
from boxtune.data.image_record import ImageRecord, ImageSource
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


def within(folder: Path, *parts: str) -> Path:
    """Return a path in a folder; raise DataError if it leads out of it, which an annotation may not."""
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path} is not in {folder}.")
    return path


def image_record(
    image: Path,
    name: str,
    items: Iterable[Any],
    read: Callable[[Any, AnnotationFile], AnnotatedObject],
    size: tuple[int, int] | None = None,
) -> ImageRecord:
    """Return the record of an image, called `name`, repaired as `boxtune convert` does.

    `read` makes an object of each of `items`, and raises SkipError where that cannot be used, which is left out. `size`
    is width and height as annotated. Raises DataError if the image cannot be read, or there are objects and none can
    be used.
    """
    file = AnnotationFile(image, Findings(image.parent))
    located = ((f"objects[{number}]", item) for number, item in enumerate(items))
    annotation = file.annotation(name, located, lambda item, _: read(item, file), size=size)
    source = ImageSource(image)
    try:
        return repair.image_record(annotation, name, source, images.inspect(source), file.findings)
    except SkipError as error:
        reasons = "".join(f" {finding.message}" for finding in file.findings.items)
        raise DataError(f"{image}: {error}{reasons}") from error


def voc_objects(data: Mapping[str, Any], *, ignore_difficult: bool) -> list[Mapping[str, Any]]:
    """Return the objects in the dict of a Pascal VOC file, as `dataset_util.recursive_parse_xml_to_dict` gives it."""
    listed = data.get("object", [])
    return [item for item in listed if not (ignore_difficult and shapes.is_set(item.get("difficult")))]


def voc_object(item: Mapping[str, Any], file: AnnotationFile) -> AnnotatedObject:
    """Return one of these objects, for `image_record`; raise SkipError if it has no class or box."""
    box = item.get("bndbox") or {}
    return AnnotatedObject(
        shapes.require_name(str(item.get("name") or "")),
        shapes.corners(*(box.get(side) for side in ("xmin", "ymin", "xmax", "ymax"))),
        difficult=shapes.is_set(item.get("difficult")),
        truncated=shapes.is_set(item.get("truncated")),
        view=item.get("pose") or "",
    )


def label_map_of(label_map_dict: Mapping[str, int]) -> LabelMap:
    """Return the label map of ids by name."""
    return LabelMap(tuple(Label(number, name) for name, number in label_map_dict.items()))


def to_tf_example(record: ImageRecord, label_map_dict: Mapping[str, int]) -> "tf.train.Example":
    """Return a record with the ids of `label_map_dict`; raise DataError if that lacks a class, or a mask is damaged."""
    import tensorflow as tf

    example = record_writer.to_example(record, label_map_of(label_map_dict))
    return tf.train.Example.FromString(example.SerializeToString())
