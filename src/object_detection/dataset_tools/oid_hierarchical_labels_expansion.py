"""Rows of Open Images' tables for the classes above and below those that they name.

    oid_hierarchical_labels_expansion.py --json_hierarchy_file=H.json --input_annotations=boxes.csv
        --output_annotations=expanded.csv --annotation_type=1

An object of a class is one of the classes above it, too; a class that is not in an image has none of those below it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from boxtune.data.files import read_lines, whole_file
from boxtune.errors import ConfigError, DataError
from object_detection.dataset_tools import script

FLAGS = flags.FLAGS
_OBJECTS, _LABELS = 1, 2

Relatives = dict[str, set[str]]
"""For each class others."""


class HierarchyError(DataError, AssertionError):
    """A class that the hierarchy lacks; an AssertionError too, which is what the API raises."""


class OIDHierarchicalLabelsExpansion:
    """Expands rows by a hierarchy of classes, whose root, "entity", is none itself."""

    def __init__(self, hierarchy: Mapping[str, Any]) -> None:
        """Take a hierarchy as Open Images' JSON has it: {"LabelName": ..., "Subcategory": [...]}."""
        self._hierarchy_keyed_parent: Relatives = {}
        self._hierarchy_keyed_child: Relatives = {}
        for node in hierarchy.get("Subcategory", ()):
            self._add(node, ())

    def _add(self, node: Mapping[str, Any], above: tuple[str, ...]) -> None:
        """Add a class and those below it; a class may be at several places."""
        name = node["LabelName"]
        self._hierarchy_keyed_parent.setdefault(name, set())
        self._hierarchy_keyed_child.setdefault(name, set()).update(above)
        for parent in above:
            self._hierarchy_keyed_parent[parent].add(name)
        for child in node.get("Subcategory", ()):
            self._add(child, (*above, name))

    def expand_boxes_or_segments_from_csv(self, csv_row: str, labelname_column_index: int = 1) -> list[str]:
        """Return the row of an object, and one for each class above its own.

        Raises HierarchyError if the hierarchy lacks its class.
        """
        return _expanded(csv_row, labelname_column_index, self._hierarchy_keyed_child)

    def expand_labels_from_csv(
        self, csv_row: str, labelname_column_index: int = 1, confidence_column_index: int = 2
    ) -> list[str]:
        """Return the row of a class that is in an image, or is not, and one for each class that is so with it.

        Raises HierarchyError if the hierarchy lacks the class.
        """
        is_there = int(csv_row.split(",")[confidence_column_index]) == 1
        relatives = self._hierarchy_keyed_child if is_there else self._hierarchy_keyed_parent
        return _expanded(csv_row, labelname_column_index, relatives)


def _expanded(csv_row: str, column: int, relatives: Relatives) -> list[str]:
    cells = csv_row.split(",")
    name = cells[column]
    if name not in relatives:
        raise HierarchyError(f'the hierarchy has no class "{name}".')
    others = (",".join([*cells[:column], other, *cells[column + 1 :]]) for other in sorted(relatives[name]))
    return [csv_row, *others]


def _define_flags() -> None:
    flags.DEFINE_string("json_hierarchy_file", None, "The hierarchy, as JSON.", required=True)
    flags.DEFINE_string("input_annotations", None, "The CSV file of objects or labels.", required=True)
    flags.DEFINE_string("output_annotations", None, "The CSV file that is written.", required=True)
    flags.DEFINE_integer("annotation_type", None, "1: objects, 2: labels of images.", required=True)


def _expand() -> None:
    if FLAGS.annotation_type not in (_OBJECTS, _LABELS):
        raise ConfigError(f"--annotation_type={FLAGS.annotation_type} is neither 1 nor 2.")
    path = Path(FLAGS.input_annotations)
    expansion = OIDHierarchicalLabelsExpansion(_read_json(Path(FLAGS.json_hierarchy_file)))
    header, *rows = read_lines(path)
    names = header.split(",")
    label, confidence = (_column(names, name, path) for name in ("LabelName", "Confidence"))
    with whole_file(Path(FLAGS.output_annotations)) as output, output.open("w", encoding="utf-8") as file:
        file.write(f"{header}\n")
        for row in filter(None, rows):
            if FLAGS.annotation_type == _OBJECTS:
                expanded = expansion.expand_boxes_or_segments_from_csv(row, label)
            else:
                expanded = expansion.expand_labels_from_csv(row, label, confidence)
            file.writelines(f"{line}\n" for line in expanded)


def _column(names: list[str], name: str, path: Path) -> int:
    if name not in names:
        if name == "Confidence" and FLAGS.annotation_type == _OBJECTS:
            return -1
        raise DataError(f"{path}: there is no column {name}, but {', '.join(names)}.")
    return names.index(name)


def _read_json(path: Path) -> Any:
    try:
        return json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: this is no JSON: {error}.") from error


def main(unused_args: Any) -> None:
    """Run as a script."""
    script.run(_expand)


if __name__ == "__main__":
    _define_flags()
    script.run(_expand)
