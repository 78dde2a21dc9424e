"""The cost of training as the work grows: with the number of records, and with the steps made before.

    python benchmarks/growth.py [--records 1000 100000] [--steps 20] [--repeats 5] [--resume_at 100000]

Prints seconds a step of the stock SSD MobileNet V2 FPNLite at 320 pixels and batch 8 with few and with many records,
taken in turn in one process, and their ratio; the peak of resident memory of a process for each; and how long a run
takes to start, make one step and end, resumed after its first step and after step 100,000. The many records are the
same file, read as if there were many of it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from boxtune import config, models
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.batching import training_batches, training_samples
from boxtune.data.input import Records
from boxtune.data.label_map import read_label_map
from boxtune.data.preparation import Options
from boxtune.training.build import build_detector
from boxtune.training.loggers import JOURNAL
from boxtune.training.run_state import RunState
from data_sets import make

NUM_PICTURES = 500
_PEAK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from growth import stream_of, trained_pipeline
from pathlib import Path
pipeline, detector = trained_pipeline(Path(sys.argv[2]))
stream = stream_of(pipeline, Path(sys.argv[2]), int(sys.argv[3]))
detector.fit(stream, steps_per_epoch=int(sys.argv[4]), verbose=0, shuffle=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, nargs=2, default=[1000, 100_000])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--resume_at", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "photos", NUM_PICTURES)
        convert(folder / "photos", folder / "records", Options(validation_fraction=0))
        for count in options.records:
            print(
                f"{count:,} records: {peak_memory(folder / 'records', count, options.steps):.2f} GiB at most"
            )
        compare_steps(folder / "records", options.records, options.steps, options.repeats)
        compare_resumes(folder, options.resume_at)


def trained_pipeline(records: Path) -> tuple[config.pipeline_pb2.TrainEvalPipelineConfig, models.Detector]:
    """Return the stock configuration for `records` and its detector."""
    pipeline = configure(records)
    pipeline.ClearField("eval_input_reader")
    return pipeline, build_detector(pipeline, read_label_map(records / "label_map.pbtxt"), 0)


def stream_of(
    pipeline: config.pipeline_pb2.TrainEvalPipelineConfig, records: Path, count: int
) -> tf.data.Dataset:
    """Return the batches of `count` records."""
    files = sorted(records.glob("train-*")) * (count // NUM_PICTURES)
    label_map = read_label_map(records / "label_map.pbtxt")
    opened = Records(files, label_map, models.num_classes(pipeline.model))
    if len(opened) != count:
        raise SystemExit(f"{len(opened)} records, not {count}: numbers must be multiples of {NUM_PICTURES}")
    sample_at = training_samples(
        opened, seed=0, augmentation_options=pipeline.train_config.data_augmentation_options
    )
    return training_batches(sample_at, batch_size=8, image_resizer=models.image_resizer(pipeline.model))


def peak_memory(records: Path, count: int, steps: int) -> float:
    """Return the peak memory of a separate process in GiB."""
    arguments = [str(Path(__file__).parent), str(records), str(count), str(steps)]
    ended = subprocess.run(
        [sys.executable, "-c", _PEAK, *arguments], check=True, capture_output=True, text=True
    )
    return float(ended.stdout.split()[-1])


def compare_steps(records: Path, counts: list[int], steps: int, repeats: int) -> None:
    """Print seconds a step with few and with many records, taken in turn."""
    pipeline, detector = trained_pipeline(records)
    streams = [stream_of(pipeline, records, count) for count in counts]
    for stream in streams:
        detector.fit(stream, steps_per_epoch=2, verbose=0, shuffle=False)
    found: list[list[float]] = []
    for _ in range(repeats):
        found.append([])
        for stream in streams:
            start = time.perf_counter()
            detector.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False)
            found[-1].append((time.perf_counter() - start) / steps)
    few, many = (statistics.median(column) for column in zip(*found, strict=True))
    ratio = statistics.median(more / less for less, more in found)
    print(f"{few:.3f} s a step with {counts[0]:,} records, {many:.3f} with {counts[1]:,}: ratio {ratio:.3f}")


def compare_resumes(folder: Path, late: int) -> None:
    """Print how long a run takes to resume for one step, early and late."""
    pipeline, _ = trained_pipeline(folder / "records")
    pipeline.train_config.num_steps = 1
    config.write(pipeline, folder / "pipeline.config")
    model_dir = folder / "model"
    train(folder, 1)
    early_seconds = train(folder, 2)
    move_to_step(pipeline, model_dir, folder / "records", late)
    late_seconds = train(folder, late + 1)
    print(
        f"resumed for one step after step 1: {early_seconds:.1f} s, after step {late:,}: {late_seconds:.1f} s"
    )


def train(folder: Path, num_steps: int) -> float:
    """Run `boxtune train` and return the seconds that it took."""
    command = [sys.executable, "-m", "boxtune", "train", "--pipeline_config_path", str(folder / "pipeline.config"),
               "--model_dir", str(folder / "model"), "--num_train_steps", str(num_steps)]  # fmt: skip
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def move_to_step(
    pipeline: config.pipeline_pb2.TrainEvalPipelineConfig, model_dir: Path, records: Path, step: int
) -> None:
    """Make a run look as if it had made `step` steps: its checkpoint, and its journal with a line for each."""
    detector = build_detector(pipeline, read_label_map(records / "label_map.pbtxt"), 0)
    state = RunState(model_dir, detector, max_to_keep=7)
    state.resume()
    state.iterations.assign(step)
    state.save()
    line = json.loads((model_dir / JOURNAL).read_text("utf-8").splitlines()[-1])
    with (model_dir / JOURNAL).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line | {"step": number}) + "\n" for number in range(1, step + 1))


if __name__ == "__main__":
    main()
