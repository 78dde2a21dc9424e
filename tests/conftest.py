"""What every test shares."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and data sets that lies beside the checkout."""
    folder = Path(os.environ.get("BOXTUNE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the recordings and data sets of {folder} (or set BOXTUNE_SHARED)")
    return folder
