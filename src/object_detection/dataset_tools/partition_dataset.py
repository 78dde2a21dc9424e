"""Copy images into train/ and test/, as the tutorials' script of this name does.

    partition_dataset.py -x -i images -r 0.1    copies a tenth, rounded up, to images/test, all others to images/train

The same names are drawn each time. The draw knows nothing of classes and of copies of an image: `boxtune convert`
does, and needs no folders train/ and test/.
"""

import argparse
import math
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from boxtune import cli
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.findings import Findings
from boxtune.data.images import SUFFIXES
from boxtune.data.listing import list_files
from boxtune.errors import DataError, many

_SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy the images as the arguments say; return the exit status."""
    parser = cli.Parser("partition_dataset.py", description="Copy images into train/ and test/.")
    parser.add_argument(
        "-i", "--imageDir", dest="image_dir", type=Path, default=Path(), help="the images (this folder)"
    )
    parser.add_argument(
        "-o",
        "--outputDir",
        dest="output_dir",
        type=Path,
        help="takes train/ and test/ (the folder of the images)",
    )
    parser.add_argument(
        "-r", "--ratio", type=_fraction, default=0.1, help="the fraction for test/ (%(default)s)"
    )
    parser.add_argument("-x", "--xml", action="store_true", help="copy the XML file of each image too")
    return cli.run(_partition, vars(parser.parse_args(arguments)))


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not in 0 to 1")
    return value


def _partition(image_dir: Path, output_dir: Path | None, ratio: float, xml: bool) -> None:
    images = _images(image_dir)
    parts = _drawn(images, math.ceil(ratio * len(images)))
    folders = {part: _empty_folder((output_dir or image_dir) / part) for part in parts}
    for part, folder in folders.items():
        annotations = _annotations(parts[part]) if xml else []
        for path in (*parts[part], *annotations):
            _copy(path, folder / path.name)
        also = f" and {many(len(annotations), 'XML file')}" if xml else ""
        print(f"Copied {many(len(parts[part]), 'image')}{also} to {folder}")


def _images(folder: Path) -> list[Path]:
    """Return the images in the folder itself, not below it."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder of the images.")
    images = [path for path in list_files(folder, Findings(folder)).ending(SUFFIXES) if path.parent == folder]
    if not images:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}).")
    return images


def _drawn(images: Sequence[Path], num_test: int) -> dict[str, list[Path]]:
    # Python promises the same numbers for a seed for ever, but not the same shuffle.
    rng = random.Random(_SEED)
    test = set(sorted(images, key=lambda _: rng.random())[:num_test])
    return {
        "train": [path for path in images if path not in test],
        "test": [path for path in images if path in test],
    }


def _empty_folder(folder: Path) -> Path:
    """Make a folder; refuse one with files of an earlier draw, of which some could be on the other side now."""
    if any(writable_folder(folder).iterdir()):
        raise DataError(f"{folder} is not empty. Remove what is there, or give another --outputDir.")
    return folder


def _annotations(images: Sequence[Path]) -> list[Path]:
    """Return the XML files of the images, and print how many have none."""
    found = [path.with_suffix(".xml") for path in images if path.with_suffix(".xml").is_file()]
    without = [path for path in images if not path.with_suffix(".xml").is_file()]
    if without:
        print(f"{many(len(without), 'image')} without an XML file, for example {without[0]}.")
    return found


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


if __name__ == "__main__":
    sys.exit(main())
