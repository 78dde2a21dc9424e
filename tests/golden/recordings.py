"""The recorded numbers of the API, and the weights, images and ground truth that belong to them."""

import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from boxtune.data.resize import Resizer
from boxtune.structures import GroundTruth, Inputs

REPOSITORY = Path(__file__).parent.parent.parent
P = 15485863  # of the recordings' sampling rule
GIVEN = os.environ.get("BOXTUNE_GOLDEN")
FOLDER = Path(GIVEN or Path(os.environ.get("BOXTUNE_SHARED", REPOSITORY.parent / "shared")) / "golden")


@dataclass(frozen=True)
class Case:
    """One recorded case of a unit file: its description and its arrays."""

    number: int
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __str__(self) -> str:
        return f"{self.number}:{self.about.get('proto', self.about.get('args', self.about.get('kind')))}"


def unit_cases(name: str) -> list[Case]:
    """Return the cases of `units/NAME.npz`, or none where there are no recordings."""
    path = FOLDER / "units" / f"{name}.npz"
    if not path.exists():
        return []
    with np.load(path) as file:
        abouts = json.loads(str(file["cases"]))
        arrays: list[dict[str, np.ndarray]] = [{} for _ in abouts]
        for key in file.files:
            number, _, array = key.partition("/")
            if array:
                arrays[int(number)][array] = file[key]
    return [Case(number, about, arrays[number]) for number, about in enumerate(abouts)]


def row_index(count: int) -> np.ndarray:
    """Return which of `count` rows were recorded."""
    if count <= 288:
        return np.arange(count)
    return np.unique(np.concatenate([np.arange(32), np.arange(256, dtype=np.int64) * P % count]))


def element_index(size: int, count: int) -> np.ndarray:
    """Return which elements of a tensor of `size` were recorded, where `count` were expected."""
    return np.arange(size) if size <= count else np.unique(np.arange(count, dtype=np.int64) * P % size)


def model_folders(listed: Sequence[str]) -> list[Path]:
    """Return the folders of the models that must run: those `listed`, whether they are there or not.

    Under $BOXTUNE_GOLDEN it is every folder of a model that is there.
    """
    if not GIVEN:
        return [FOLDER / name for name in listed]
    parts = ("golden.npz", "golden.json", "variables.json", "pipeline.config")
    return sorted({path.parent for part in parts for path in FOLDER.glob(f"*/{part}")})


def load_fill() -> ModuleType:
    """Import `fill.py`: the generator of weights, images and ground truth that was recorded along."""
    path = FOLDER / "fill.py"
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded_weights(folder: Path) -> dict[str, np.ndarray]:
    """Return the values of a recorded model's variables by key, as the formula makes them."""
    fill, recorded = load_fill(), json.loads((folder / "variables.json").read_text())
    exponents = recorded["bn_exponent"]
    shapes = {key.split("/.ATTRIBUTES")[0]: shape for key, shape in recorded["variables"].items()}
    return {
        key: fill.fill(key, shape, exponents.get(key.rpartition("/")[0], 0)) for key, shape in shapes.items()
    }


def recorded_batch(folder: Path, resizer: Resizer) -> Inputs:
    """Return the two images, as `resizer` makes them, and the ground truth that a model was recorded with."""
    fill, about = load_fill(), json.loads((folder / "golden.json").read_text())
    raw = [fill.image(height, width, index) for index, (height, width) in enumerate(about["raw_sizes"])]
    resized = [resizer(image.astype(np.float32)) for image in raw]
    with np.load(folder / "golden.npz") as arrays:
        padded = [_padded(arrays[f"gt/{i}/boxes"], arrays[f"gt/{i}/classes"]) for i in range(2)]
    return Inputs(
        images=np.stack([one.image for one in resized]),
        sizes=np.stack([one.size for one in resized]),
        groundtruth=GroundTruth(**{name: np.stack([one[name] for one in padded]) for name in padded[0]}),
    )


def _padded(boxes: np.ndarray, classes: np.ndarray, count: int = 100) -> dict[str, np.ndarray]:
    """Pad to `count` boxes, as a batch is padded: the numbers must not depend on it."""
    valid = np.arange(count) < len(boxes)
    return {
        "boxes": np.pad(boxes, ((0, count - len(boxes)), (0, 0))).astype(np.float32),
        "classes": np.pad(classes, (0, count - len(classes))).astype(np.int32),
        "weights": valid.astype(np.float32),
        "valid": valid,
    }
