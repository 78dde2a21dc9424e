"""The best learning rate of a short fine-tuning, over sets of photographs, models and batch sizes.

    python benchmarks/learning_rates.py RESULTS CHECKPOINT PHOTOS [PHOTOS ...] [--batch_sizes 4 8 16]
        [--rates scaled 0.02 0.08 0.32] [--images 2400] [--models fpn ssd]

CHECKPOINT is laid out like a zoo download. Every run sees the same number of images with the recipe of `boxtune
config`, only the learning rate differs; "scaled" is 0.08 * batch size / 128. The model "fpn" is the checkpoint's own,
of which is loaded what `boxtune config` loads; "ssd" is `ssd_mobilenet_v2_keras` on the backbone of that checkpoint
alone. Each run is a process of its own and one line of the file RESULTS; runs that are in it are not made again. Ends
by printing the table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.configure import configure
from boxtune.convert import convert

STOCK_RATE, STOCK_BATCH_SIZE = 0.08, 128


def main() -> None:
    """Make the missing runs and print the results of all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--rates", nargs="+", default=["scaled", "0.02", "0.08", "0.32"])
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--models", choices=["fpn", "ssd"], nargs="+", default=["fpn"])
    options = parser.parse_args()
    for photos, model in product(options.photos, options.models):
        done = {_key(row) for row in _rows(options.results)}
        with tempfile.TemporaryDirectory() as folder:
            for batch_size, rate in product(options.batch_sizes, options.rates):
                run = {"photos": photos.name, "model": model, "batch_size": batch_size, "rate": rate}
                if _key(run) in done:
                    continue
                records = Path(folder) / "records"
                if not records.exists():
                    convert(photos, records)
                pipeline = _configuration(
                    records, options.checkpoint, model, batch_size, rate, options.images
                )
                row = run | _train(pipeline, Path(folder) / f"{batch_size}-{rate}")
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print("\n".join(_table(_rows(options.results))))


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _key(row: dict) -> tuple:
    return row["photos"], row["model"], row["batch_size"], row["rate"]


def _configuration(
    records: Path, checkpoint: Path, model: str, batch_size: int, rate: str, images: int
) -> pipeline_pb2.TrainEvalPipelineConfig:
    highest = STOCK_RATE * batch_size / STOCK_BATCH_SIZE if rate == "scaled" else float(rate)
    settings = {"batch_size": batch_size, "num_steps": images // batch_size, "learning_rate": highest}
    own = configure(records, checkpoint=checkpoint, **settings)
    if model == "fpn":
        return own
    pipeline = configure(records, model="ssd_mobilenet_v2_keras", **settings)
    pipeline.model.ssd.image_resizer.CopyFrom(own.model.ssd.image_resizer)
    section = own.model.ssd.feature_extractor
    pipeline.model.ssd.feature_extractor.depth_multiplier = section.depth_multiplier
    pipeline.model.ssd.feature_extractor.min_depth = section.min_depth
    pipeline.train_config.fine_tune_checkpoint = str(checkpoint)
    pipeline.train_config.fine_tune_checkpoint_type = "classification"
    pipeline.train_config.fine_tune_checkpoint_version = pipeline_pb2.V2
    return pipeline


def _train(pipeline: pipeline_pb2.TrainEvalPipelineConfig, model_dir: Path) -> dict:
    """Train in a process of its own; return mAP and AP50 at the end, or the error that ended the run."""
    model_dir.mkdir()
    config.write(pipeline, model_dir / "pipeline.config")
    command = [sys.executable, "-m", "boxtune", "train", "--pipeline_config_path",
               str(model_dir / "pipeline.config"), "--model_dir", str(model_dir),
               "--evaluate_every_n", "0"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        return {"error": ended.stderr.strip().splitlines()[-1][:300]}
    found = json.loads((model_dir / "evaluation.json").read_text("utf-8"))["metrics"]
    return {
        "mAP": round(found["DetectionBoxes_Precision/mAP"], 4),
        "AP50": round(found["DetectionBoxes_Precision/mAP@.50IOU"], 4),
    }


def _table(rows: list[dict]) -> Iterator[str]:
    rates = list(dict.fromkeys(row["rate"] for row in rows))
    yield f"| Photographs | Model | Batch | {' | '.join(rates)} |"
    yield "|---" * (3 + len(rates)) + "|"
    for group, runs in groupby(sorted(rows, key=_group), key=_group):
        found = {run["rate"]: _cell(run) for run in runs}
        yield f"| {' | '.join(map(str, group))} | {' | '.join(found.get(rate, '') for rate in rates)} |"


def _group(row: dict) -> tuple:
    return row["photos"], row["model"], row["batch_size"]


def _cell(run: dict) -> str:
    return "diverged" if "error" in run else f"{run['mAP']:.3f}"


if __name__ == "__main__":
    main()
