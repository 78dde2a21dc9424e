"""What tiles gain and cost where small objects lie in large images.

    python benchmarks/small_objects.py CHECKPOINT FOLDER [--tile 224] [--overlap 0.2] [--num_images 100]
                                       [--num_steps 800] [--size 2000] [--object_size 12 28] [--objects 30]

Draws a practice set into FOLDER, trains on the images as they are and on their tiles, in as many steps, and measures
both on the validation images, each as a whole and in tiles. CHECKPOINT is laid out like a zoo download. Run again, it
goes on where it stopped.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

TAGS = {
    "mAP": "DetectionBoxes_Precision/mAP",
    "AP50": "DetectionBoxes_Precision/mAP@.50IOU",
    "small": "DetectionBoxes_Precision/mAP (small)",
}
SECONDS = re.compile(r"^Evaluation .*\((\d+\.\d) s\)$", re.MULTILINE)


def main() -> None:
    """Draw, train twice, measure four times, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tile", type=int, default=224)
    parser.add_argument("--overlap", type=float, default=0.2)
    parser.add_argument("--num_images", type=int, default=100)
    parser.add_argument("--num_steps", type=int, default=800)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--object_size", type=float, nargs=2, default=[12, 28])
    parser.add_argument("--objects", type=int, default=30)
    options = parser.parse_args()
    photos, tiles = options.folder / "photos", ["--tile", options.tile, "--overlap", options.overlap]
    if not photos.exists():
        boxtune(
            "draw", photos, "--num_images", options.num_images, "--size", options.size,
            "--object_size", *options.object_size, "--objects", options.objects,
        )  # fmt: skip
    runs = {"whole images": [], f"tiles of {options.tile}": tiles}
    for name, flags in runs.items():
        boxtune(
            "retrain", photos, "--checkpoint", options.checkpoint, "--model_dir", model_dir(options, name),
            "--num_steps", options.num_steps, "--evaluate_every_n", 0, *flags,
        )  # fmt: skip
    images = model_dir(options, f"tiles of {options.tile}") / "records" / "whole-*"
    print(f"{'trained on':16} {'looked at as':16} {'mAP':>6} {'AP50':>6} {'small':>6}  seconds an image")
    for name in runs:
        for how, flags in runs.items():
            numbers, seconds = measured(model_dir(options, name), images, flags)
            values = " ".join(f"{numbers[tag]:6.3f}" for tag in TAGS.values())
            print(f"{name:16} {how:16} {values}  {seconds:.2f}", flush=True)


def model_dir(options: argparse.Namespace, name: str) -> Path:
    """Return the folder of the training of that name."""
    return options.folder / name.replace(" ", "-")


def measured(model: Path, images: Path, flags: list[object]) -> tuple[dict[str, float], float]:
    """Return the metrics of a model on images, and the seconds that each took."""
    folder = model / "measured"
    told = boxtune("evaluate", "--model_dir", model, "--data", images, "--output_dir", folder, *flags)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    match = SECONDS.search(told)
    assert match, told
    return evaluation["metrics"], float(match[1]) / evaluation["num_images"]


def boxtune(*arguments: object) -> str:
    """Run a command of boxtune and return what it prints."""
    command = [sys.executable, "-m", "boxtune", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
