"""List the boxes of Pascal VOC XML in a CSV file, as the tutorials' script of this name does.

    xml_to_csv.py              reads images/train and images/test, writes images/{train,test}_labels.csv
    xml_to_csv.py FOLDER ...   writes FOLDER_labels.csv beside each folder

What is written is what the XML says; boxes and images are looked at when records are made of them.
"""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from boxtune import cli
from boxtune.data.annotations import Annotation
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.findings import Findings
from boxtune.data.formats import voc
from boxtune.data.listing import list_files
from boxtune.errors import DataError
from boxtune.report.data_set import finding_lines

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
_FOLDERS = [Path("images/train"), Path("images/test")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files that the arguments ask for; return the exit status."""
    parser = cli.Parser("xml_to_csv.py", description="List the boxes of Pascal VOC XML in CSV files.")
    parser.add_argument(
        "folders", type=Path, nargs="*", default=_FOLDERS, help="images/train and images/test"
    )
    return cli.run(_convert, vars(parser.parse_args(arguments)))


def _convert(folders: list[Path]) -> None:
    for folder in map(Path, map(os.path.abspath, folders)):
        write_csv(folder, folder.with_name(f"{folder.name}_labels.csv"))


def write_csv(folder: Path, csv_path: Path) -> None:
    """Write the boxes of all XML files below a folder, one in a row, and print what is wrong with the files.

    Raises DataError if there is no annotation in the folder, or the file cannot be written.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder that holds the XML files.")
    findings = Findings(folder)
    listing = list_files(folder, findings)
    annotations = list(voc.FORMAT.annotations(listing.ending(voc.FORMAT.suffixes), listing, findings))
    for line in finding_lines(findings.items):
        print(line)
    if not annotations:
        raise DataError(f"{folder} holds no annotations in Pascal VOC XML.")
    rows = [row for annotation in annotations for row in _rows(annotation)]
    writable_folder(csv_path.parent)
    with whole_file(csv_path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    without = sum(not annotation.objects for annotation in annotations)
    print(
        f"Wrote {len(rows):,} boxes of {len(annotations):,} annotations to {csv_path}; {without:,} have none"
    )


def _rows(annotation: Annotation) -> Iterator[tuple[object, ...]]:
    filename = annotation.filename or annotation.path.stem
    width, height = annotation.size or ("", "")
    for item in annotation.objects:
        edges = (int(edge) if edge.is_integer() else edge for edge in item.edges)
        yield filename, width, height, item.class_name, *edges


if __name__ == "__main__":
    sys.exit(main())
