"""Cross-validation, `retrain --folds 5`: as many trainings, each measured on the fold that it has not seen."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxtune.data.files import Paths, whole_file
from boxtune.data.preparation import Options
from boxtune.errors import DataError
from boxtune.retrain import RetrainResult, retrain

FOLD = "fold-{}"
"""The folder of each training in the model directory."""

RESULTS = "cross_validation.json"


@dataclass(frozen=True)
class CrossValidation:
    """The results of all folds and where they are; printed, a table with mean and spread."""

    model_dir: Path
    results: Sequence[RetrainResult]

    @property
    def mean_average_precisions(self) -> list[float]:
        """COCO's AP of each fold that has objects to measure."""
        return [one.mean_average_precision for one in self.results if one.mean_average_precision >= 0]

    @property
    def mean(self) -> float:
        """The mean of COCO's AP over the folds; -1 if none has objects."""
        return statistics.fmean(self.mean_average_precisions or [-1.0])

    @property
    def spread(self) -> float:
        """The standard deviation of COCO's AP over the folds (of a sample, with n - 1); 0 of fewer than two."""
        values = self.mean_average_precisions
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def to_json(self) -> str:
        """Return the figures, for programs."""
        folds = [json.loads(result.to_json()) for result in self.results]
        return json.dumps({"mean_mAP": self.mean, "spread_mAP": self.spread, "folds": folds}, indent=2) + "\n"

    def __str__(self) -> str:
        width = max(len(str(result.model_dir)) for result in self.results)
        rows = [
            f"{result.model_dir!s:{width}}   mAP {result.mean_average_precision:.3f}   AP50 {result.ap50:.3f}   "
            f"on {result.best.num_images} images"
            for result in self.results
        ]
        return "\n".join(
            [
                "",
                *rows,
                "",
                f"mAP {self.mean:.3f} on average, standard deviation {self.spread:.3f}, over "
                f"{len(self.mean_average_precisions)} folds: every image was measured once, by a model that had not "
                "seen it.",
                "For a model that learns from nearly all images: the same command without --folds, in another "
                "--model_dir, with a smaller --validation_fraction.",
            ]
        )


def cross_validate(
    photos: Paths, model_dir: str | Path, *, options: Options, **training: Any
) -> CrossValidation:
    """Retrain once for each of `options.folds`, in folders of their own, and return mean and spread of their mAP.

    Run again, it resumes where it stopped.

    Args:
        photos: as `retrain` takes them.
        model_dir: for the folders of all trainings.
        options: how the photographs are read; `folds` says into how many parts they are divided.
        training: all else that `retrain` takes.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    if not options.folds:
        raise DataError("A cross-validation needs a number of folds, such as 5.")
    results = []
    for fold in range(1, options.folds + 1):
        print(f"\nFold {fold} of {options.folds}:", flush=True)
        one = replace(options, fold=fold)
        results.append(retrain(photos, Path(model_dir) / FOLD.format(fold), options=one, **training))
    found = CrossValidation(Path(model_dir), results)
    with whole_file(found.model_dir / RESULTS) as temporary:
        temporary.write_text(found.to_json(), encoding="utf-8")
    return found
