"""Numbers as a file."""

import csv
from collections.abc import Mapping
from typing import Any, TextIO


def write_csv(fid: TextIO, metrics: Mapping[str, Any]) -> None:
    """Write a line `name,number` for each number to an open file."""
    writer = csv.writer(fid, delimiter=",", quotechar='"', quoting=csv.QUOTE_MINIMAL)
    for name, number in metrics.items():
        writer.writerow([str(name), str(number)])
