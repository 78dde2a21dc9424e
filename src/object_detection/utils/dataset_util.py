"""What scripts that write TFRecords import from the API's module of this name.

TensorFlow is loaded when the first feature is made.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxtune.data.files import read_lines
from boxtune.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

MAX_XML_DEPTH = 100


def int64_feature(value: int) -> "tf.train.Feature":
    """Return a feature of one whole number."""
    return int64_list_feature([value])


def int64_list_feature(value: Iterable[int]) -> "tf.train.Feature":
    """Return a feature of whole numbers."""
    import tensorflow as tf

    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def bytes_feature(value: bytes) -> "tf.train.Feature":
    """Return a feature of one byte string."""
    return bytes_list_feature([value])


def bytes_list_feature(value: Iterable[bytes]) -> "tf.train.Feature":
    """Return a feature of byte strings."""
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))


def float_feature(value: float) -> "tf.train.Feature":
    """Return a feature of one number, kept as float32."""
    return float_list_feature([value])


def float_list_feature(value: Iterable[float]) -> "tf.train.Feature":
    """Return a feature of numbers, kept as float32."""
    import tensorflow as tf

    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def read_examples_list(path: str | os.PathLike[str]) -> list[str]:
    """Return the first word of each line of a text file; blank lines are left out.

    Raises DataError if the file cannot be read.
    """
    return [line.split()[0] for line in read_lines(Path(path)) if line.strip()]


def recursive_parse_xml_to_dict(xml: Any) -> dict[str, Any]:
    """Return an element of lxml or ElementTree as ``{tag: text}``, or ``{tag: {child's tag: ...}}`` if it has children.

    All elements <object> of a parent are in one list; of other elements that occur several times the last counts.
    Comments and processing instructions are left out. Raises DataError if elements lie more than 100 deep.
    """
    return {xml.tag: _content(xml, MAX_XML_DEPTH)}


def _content(xml: Any, max_depth: int) -> Any:
    """Return the text of an element without children, else what they hold by tag."""
    if max_depth == 0:
        raise DataError(f"The XML has elements more than {MAX_XML_DEPTH} deep, which no annotation has.")
    children = [child for child in xml if isinstance(child.tag, str)]
    if not children:
        return xml.text
    content: dict[str, Any] = {}
    for child in children:
        value = _content(child, max_depth - 1)
        if child.tag == "object":
            content.setdefault("object", []).append(value)
        else:
            content[child.tag] = value
    return content
