"""What every test shares."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import boxtune  # noqa: F401 - before any test loads TensorFlow: it switches oneDNN on

# How fast a machine is, and what else it does, decides no test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and data sets that lies beside the checkout."""
    folder = Path(os.environ.get("BOXTUNE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the recordings and data sets of {folder} (or set BOXTUNE_SHARED)")
    return folder
