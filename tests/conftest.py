"""What every test shares."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import boxtune  # noqa: F401 - before any test loads TensorFlow: it switches oneDNN on

# How fast a machine is, and what else it does, decides no test. Properties are tried on the same examples each time, so
# that a change fails for what it changed: `--hypothesis-profile random` looks for others, as `make fuzz` does.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", PATIENT, derandomize=True)
settings.register_profile("random", PATIENT)
settings.load_profile("same")


LONGEST = (
    "journey",
    "test_kill",
    "test_optimizers",
    "test_devices",
    "test_families",
    "test_contract",
    "test_train",
    "test_evaluate",
    "test_input",
    "test_augmentation",
    "test_ssd",
    "test_evaluation_page",
    "test_retrain",
    "test_models",
    "test_warm_start",
    "test_data_page",
    "test_image_sizes",
)


def pytest_collection_modifyitems(items):
    """Put the longest files first: two workers are then busy to the end."""

    def place(item):
        return next((number for number, name in enumerate(LONGEST) if name in str(item.path)), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish():
    """Leave what was imported to itself: else the collector of garbage goes through all of it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def graphs_as_traced():
    """Let TensorFlow run graphs as they are, for tests that do not ask how fast: to improve one takes it seconds.

    The journeys, the recordings, the families and everything in processes of its own run as users run it.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and data sets that lies beside the checkout."""
    folder = Path(os.environ.get("BOXTUNE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the recordings and data sets of {folder} (or set BOXTUNE_SHARED)")
    return folder
