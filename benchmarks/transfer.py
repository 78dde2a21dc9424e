"""The mAP of fine-tuning on a folder of photographs, over several seeds.

    python benchmarks/transfer.py PHOTOS CHECKPOINT [--validation_files LIST] [--seeds 3] [--recipe stock|retrain]
                                  [--num_steps 600] [--set FIELD=VALUE]

PHOTOS holds Pascal VOC XML, CHECKPOINT is laid out like a zoo download. With `--recipe stock` the configuration is the
checkpoint's own with batch 8, 600 steps, and a cosine from 0.08 after 100 steps of warm-up; with `retrain` it is what
`boxtune retrain` writes. Each seed is a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DECAYS = (
    "model.ssd.feature_extractor.conv_hyperparams.batch_norm.decay",
    "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.conv_hyperparams.batch_norm.decay",
)
RATE = "train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate"
STOCK = (
    "train_config.fine_tune_checkpoint_type=detection",
    "boxtune.learning_rate_factor_of_new_layers=1",
    f"{RATE}.learning_rate_base=0.08",
    f"{RATE}.warmup_learning_rate=0.026666",
)


def main() -> None:
    """Train and print mAP and AP50 of each seed and their means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--validation_files", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num_steps", type=int)
    parser.add_argument("--recipe", choices=["stock", "retrain"], default="retrain")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    found = [one_seed(seed, options) for seed in range(options.seeds)]
    for name in ("mAP", "AP50"):
        values = [one[name] for one in found]
        print(
            f"{name:5} mean {statistics.mean(values):.3f}   of {' '.join(f'{value:.3f}' for value in values)}"
        )


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Run `boxtune retrain` and return its figures."""
    overrides = list(options.overrides)
    if options.recipe == "stock":
        overrides += [*(f"{decay}=0.997" for decay in DECAYS), *STOCK]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "boxtune", "retrain", str(options.photos), "--model_dir", folder,
                   "--checkpoint", str(options.checkpoint), "--seed", str(seed)]  # fmt: skip
        if options.validation_files:
            command += ["--validation_files", str(options.validation_files)]
        if options.num_steps:
            command += ["--num_steps", str(options.num_steps)]
        for override in overrides:
            command += ["--set", override]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        results = json.loads((Path(folder) / "results.json").read_text())
    print(f"seed {seed}: mAP {results['mAP']:.3f} AP50 {results['AP50']:.3f}", flush=True)
    return results


if __name__ == "__main__":
    main()
