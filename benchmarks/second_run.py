"""What it saves to begin a second run, with 30 % more images, from the first: mAP on the same images, and steps.

    python benchmarks/second_run.py PHOTOS CHECKPOINT [--num_steps 150] [--seed 0] [--learning_rate R]

PHOTOS holds Pascal VOC XML. A fifth of its images is held out; the first run trains on ten thirteenths of the others,
from CHECKPOINT. Then all the others are trained on: from CHECKPOINT with so many steps, and from the first run with a
quarter and with half of them. Each run is a process of its own, and is measured once, at its end.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = (".jpg", ".jpeg", ".png")


def main() -> None:
    """Train the runs and print the mAP and AP50 of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--num_steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning_rate", type=float, help="of the second run from the first")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        held_out, first, rest = parts(options.photos, options.seed)
        names = folder / "held_out.txt"
        names.write_text("\n".join(held_out))
        fewer = copied(options.photos, folder / "first", {*held_out, *first})

        def run(name: str, photos: Path, checkpoint: Path, num_steps: int, *more: str) -> Path:
            print(
                f"{name:32} {figures(photos, folder / name, checkpoint, names, num_steps, options.seed, more)}",
                flush=True,
            )
            return folder / name

        print(f"{len(first)} and {len(first) + len(rest)} images, {len(held_out)} held out")
        steps = options.num_steps
        begun = run(f"first, {steps}", fewer, options.checkpoint, steps)
        run(f"second, from the weights, {steps}", options.photos, options.checkpoint, steps)
        rate = () if options.learning_rate is None else ("--learning_rate", str(options.learning_rate))
        for part in (4, 2):
            run(f"second, from the first, {steps // part}", options.photos, begun, steps // part, *rate)


def parts(photos: Path, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Return names of images: a fifth to hold out, ten thirteenths of the others, and the rest."""
    names = sorted(path.name for path in photos.rglob("*") if path.suffix.lower() in IMAGES)
    random.Random(seed).shuffle(names)
    num_held_out = len(names) // 5
    others = names[num_held_out:]
    num_first = len(others) * 10 // 13
    return names[:num_held_out], others[:num_first], others[num_first:]


def copied(photos: Path, folder: Path, names: set[str]) -> Path:
    """Copy a folder with only some of its images, and the annotations of those."""
    stems = {Path(name).stem for name in names}

    def without(directory: str, entries: list[str]) -> list[str]:
        files = [entry for entry in entries if os.path.isfile(os.path.join(directory, entry))]
        return [
            entry
            for entry in files
            if Path(entry).suffix.lower() not in (*IMAGES, ".xml") or Path(entry).stem not in stems
        ]

    shutil.copytree(photos, folder, ignore=without)
    return folder


def figures(
    photos: Path,
    model_dir: Path,
    checkpoint: Path,
    held_out: Path,
    num_steps: int,
    seed: int,
    more: tuple[str, ...],
) -> str:
    """Run `boxtune retrain` and return its figures."""
    command = [
        *(sys.executable, "-m", "boxtune", "retrain", str(photos), "--model_dir", str(model_dir)),
        *("--checkpoint", str(checkpoint), "--validation_files", str(held_out), "--seed", str(seed)),
        *("--num_steps", str(num_steps), "--evaluate_every_n", "0", *more),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((model_dir / "results.json").read_text())
    return f"mAP {results['mAP']:.3f}   AP50 {results['AP50']:.3f}"


if __name__ == "__main__":
    main()
