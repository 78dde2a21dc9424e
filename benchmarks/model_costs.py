"""What each model of the zoo costs: parameters, multiplications, seconds of a training step, memory.

Prints a line for each; `config/zoo.toml` keeps these figures, and `boxtune models` shows them. Each is built with 90
classes at its own size, in a process of its own. A step is the forward and backward pass over one image, the median of
up to five after the first; multiplications are those of convolutions and dense layers in the forward pass. Memory is
what one more image of a batch takes: the difference of the peaks of two processes at 256 pixels, scaled to the model's.

    python benchmarks/model_costs.py [NAME ...]

The largest need 16 GB of memory and more, and minutes.
"""

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on
from boxtune.config import zoo

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ENOUGH = 10
"""Seconds after which no further step is measured."""
SMALL, BATCHES = 256, (2, 6)
"""Pixels and batches of the steps whose memory is compared."""


def main() -> None:
    """Measure each model in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=[model.name for model in zoo.zoo_models()])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(options.names[0], options.peak))
        return
    if options.here:
        measure(*options.names)
        return
    print(f"{'model':46}{'parameters':>12}{'multiplications':>17}{'s a step':>10}{'GiB':>7}", flush=True)
    for name in options.names:
        subprocess.run([sys.executable, __file__, name, "--here"], check=True, stderr=subprocess.DEVNULL)


def memory_of_an_image(name: str) -> float:
    """Return the GiB that one more image of a batch takes."""
    peaks = [
        float(subprocess.run(
            [sys.executable, __file__, name, "--peak", str(batch)], check=True, capture_output=True, text=True
        ).stdout.split()[-1])
        for batch in BATCHES
    ]  # fmt: skip
    return (peaks[1] - peaks[0]) / (BATCHES[1] - BATCHES[0]) * (zoo.find(name).size / SMALL) ** 2


def peak(name: str, batch_size: int) -> float:
    """Make two steps of a batch of small images in this process; return its peak of memory in GiB."""
    from boxtune import config, models
    from gpu import NUM_CLASSES, random_inputs
    from training_speed import bare_pass

    section = zoo.recipe_of(name).model
    family = config.family_of(section)
    family.set_num_classes(section, NUM_CLASSES)
    resizer = family.image_resizer(section).fixed_shape_resizer
    resizer.height = resizer.width = SMALL
    detector = models.build(section)
    one_pass = bare_pass(detector, random_inputs(detector, batch_size, (SMALL, SMALL)))
    one_pass()
    one_pass()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name: str) -> None:
    """Build a model, count, train on one image, print."""
    import tensorflow as tf

    from boxtune import config, models
    from gpu import NUM_CLASSES, counted_multiplications, image_size, random_inputs
    from training_speed import bare_pass, seconds_of

    section = zoo.recipe_of(name).model
    config.family_of(section).set_num_classes(section, NUM_CLASSES)
    detector = models.build(section)
    inputs = random_inputs(detector, 1, image_size(section))
    in_bfloat16 = models.build(section, models.Options(use_bfloat16=True))  # which calls each layer by itself
    with counted_multiplications() as counts:
        tf.function(in_bfloat16).get_concrete_function(inputs)  # traced, not computed
    parameters = sum(math.prod(variable.shape) for variable in detector.trainable_variables)
    one_pass = bare_pass(detector, inputs)
    one_pass()
    times = [seconds_of(one_pass, 1)]
    while len(times) < 5 and sum(times) < ENOUGH:
        times.append(seconds_of(one_pass, 1))
    seconds = statistics.median(times)
    memory = memory_of_an_image(name)
    print(
        f"{name:46}{parameters / 1e6:10.2f} M{sum(counts) / 1e9:15.2f} G{seconds:10.2f}{memory:7.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
