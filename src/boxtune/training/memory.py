"""Whether a batch fits into memory, known before a step needs it.

What an image of a batch takes is measured for each model of the zoo (config/zoo.toml) and grows with its pixels. It is
an estimate: what fits by a margin fits, and what does not by a margin does not.
"""

import subprocess

from boxtune import config
from boxtune.backends import has_gpu
from boxtune.config import zoo
from boxtune.config.pipeline_pb2 import DetectionModel, TrainEvalPipelineConfig
from boxtune.machine import total_bytes

MOST_ON_CPU, MOST_ON_GPU = 8, 32
"""Images in a batch that is chosen: on a CPU, larger ones are no faster."""
USABLE = 0.7
"""The fraction of the memory that the images of a batch may take; the rest is for weights, data and other programs."""

_GIB = 2**30


def bytes_per_image(model: DetectionModel) -> int | None:
    """Return what an image of a batch takes in a training step, forward and backward; None if it was not measured."""
    family = config.family_of(model)
    resizer = family.image_resizer(model)
    aspect = resizer.keep_aspect_ratio_resizer
    height, width = config.fixed_size(resizer) or (aspect.min_dimension, aspect.max_dimension)
    measured = zoo.memory_per_pixel(family.kind(model))
    return round(measured * height * width * _GIB) if measured and height and width else None


def gpu_bytes() -> int | None:
    """Return the memory of the smallest GPU of NVIDIA, by its own tool; None without one."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return min((int(size) << 20 for size in said if size.isdecimal()), default=None)


def largest_batch(model: DetectionModel, num_images: int) -> int:
    """Return the largest batch that surely fits on one device, a power of 2 unless the data set is smaller.

    Args:
        model: what is trained.
        num_images: for training: a batch has no more.
    """
    on_gpu = has_gpu()
    most = min(MOST_ON_GPU if on_gpu else MOST_ON_CPU, max(num_images, 1))
    memory, each = gpu_bytes() if on_gpu else total_bytes(), bytes_per_image(model)
    if memory is None or each is None:
        return min(MOST_ON_CPU, most)
    return min(most, _power_of_two_below(USABLE * memory / each))


def doubt(pipeline: TrainEvalPipelineConfig, num_images: int, num_gpus: int) -> str:
    """Return why a batch is too large, with one that is not; "" if it seems right.

    Args:
        pipeline: the configuration.
        num_images: for training.
        num_gpus: that share the batch; 0 if a CPU trains.
    """
    batch_size = pipeline.train_config.batch_size
    memory, each = gpu_bytes() if num_gpus else total_bytes(), bytes_per_image(pipeline.model)
    on_one = batch_size / max(num_gpus, 1)
    if memory is not None and each is not None and each * on_one > memory:
        fitting = _power_of_two_below(USABLE * memory / each) * max(num_gpus, 1)
        return (
            f"train_config.batch_size {batch_size} needs about {each * on_one / _GIB:.0f} GiB, and there are "
            f"{memory / _GIB:.0f}: the training may be ended without a word. {fitting} would fit"
        )
    if batch_size > num_images:
        return (
            f"train_config.batch_size {batch_size} is more than the {num_images} images for training: a step sees some "
            f"of them several times. {num_images} is enough"
        )
    return ""


def _power_of_two_below(number: float) -> int:
    return 1 << max(int(number).bit_length() - 1, 0)
