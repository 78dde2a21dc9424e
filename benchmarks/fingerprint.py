"""Tells whether a change of the program changed a number: losses, an evaluation and an export, as hashes.

    python benchmarks/fingerprint.py > before.txt
    ... change something ...
    python benchmarks/fingerprint.py | diff before.txt -

Run both on one machine with one setting of TF_ENABLE_ONEDNN_OPTS: other kernels round differently. For each feature
extractor it trains 20 steps on images that boxtune draws, evaluates and exports, by the command line alone.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from boxtune import cli  # before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

from boxtune.config import recipe

FEATURE_EXTRACTORS = ("ssd_mobilenet_v2_fpn_keras", "ssd_mobilenet_v2_keras")
NUM_STEPS = 20


def main() -> None:
    """Print a line for each number."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boxtune("draw", folder / "photos", "--num_images", "24", "--seed", "3")
        boxtune("convert", folder / "photos", "--output_dir", folder / "records")
        for feature_extractor in FEATURE_EXTRACTORS:
            print(f"== {feature_extractor}, TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS')}")
            measure(folder, feature_extractor)


def measure(folder: Path, feature_extractor: str) -> None:
    """Train, evaluate and export, and print hashes of the results."""
    model, configuration = folder / feature_extractor, folder / f"{feature_extractor}.config"
    boxtune(
        *("config", folder / "records", "--output", configuration, "--model", feature_extractor),
        *("--batch_size", "4", "--num_steps", NUM_STEPS),
    )
    section = recipe(feature_extractor).model.WhichOneof("model")
    overrides = (
        *("--set", f"model.{section}.image_resizer.fixed_shape_resizer={{height: 128 width: 128}}"),
        *("--set", f"model.{section}.feature_extractor.depth_multiplier=0.35"),
    )
    common = ("--pipeline_config_path", configuration, "--model_dir", model, *overrides)
    boxtune("train", *common, "--evaluate_every_n", "0")
    for line in (model / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "learning_rate" in entry:
            losses = {
                key: value for key, value in entry.items() if key.startswith(("step", "Loss/", "learning"))
            }
            losses.pop("steps_per_sec", None)
            print("step", entry["step"], digest(losses), entry["Loss/total_loss"])
    evaluation = json.loads((model / "evaluation.json").read_text())
    print("evaluation", digest(evaluation), sorted(evaluation))
    boxtune("export", *common, "--output_dir", model / "exported")
    detect = tf.saved_model.load(str(model / "exported" / "saved_model"))
    for image in sorted((folder / "photos").rglob("*.jpg"))[:4]:
        found = detect(tf.constant(np.asarray(Image.open(image).convert("RGB"))[None]))
        for part, value in sorted(found.items()):
            print("export", image.stem, part, digest(value.numpy().tobytes().hex()))


def digest(value: object) -> str:
    """Return a hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def boxtune(*arguments: object) -> None:
    """Run a command; its output goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        status = cli.main([str(argument) for argument in arguments])
    if status:
        raise SystemExit(f"boxtune {arguments[0]} failed")


if __name__ == "__main__":
    main()
