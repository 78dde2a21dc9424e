"""Categories, `{"id": 1, "name": "cat"}`, in tables of two columns without a head. Importing it loads no TensorFlow."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boxtune.data.files import whole_file
from boxtune.errors import DataError


class CategoryError(DataError, ValueError):
    """A table that cannot be used; a ValueError too, which is what the API raises."""


def load_categories_from_csv_file(csv_path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the categories of a table, with ids as int.

    Raises:
        CategoryError: if it cannot be read, or for a row that is not a number and a name.
    """
    categories = []
    try:
        with Path(csv_path).open(encoding="utf-8", newline="") as file:
            for row in filter(None, csv.reader(file)):
                number, name = row
                categories.append({"id": int(number), "name": name})
    except OSError as error:
        raise CategoryError(f"{csv_path} cannot be read: {error.strerror}.") from None
    except (ValueError, csv.Error):  # also of what is no UTF-8
        row_number = len(categories) + 1
        raise CategoryError(f"{csv_path}: row {row_number} is not a number and a name, as in 1,cat") from None
    return categories


def save_categories_to_csv_file(
    categories: list[Mapping[str, Any]], csv_path: str | os.PathLike[str]
) -> None:
    """Write a table of categories, and sort the list itself by ids.

    Raises:
        DataError: if it cannot be written.
    """
    categories.sort(key=lambda category: category["id"])
    with whole_file(Path(csv_path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([category["id"], category["name"]] for category in categories)
