"""Whether a batch fits into memory: what is told before a step, and what is told when one does not fit."""

import pytest
import tensorflow as tf

from boxtune import config
from boxtune.config import zoo
from boxtune.errors import ConfigError
from boxtune.training import memory
from boxtune.training.run import _telling_of_memory

GIB = 2**30
FPNLITE = "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8"


def model(name=FPNLITE, side=None):
    section = zoo.recipe_of(name).model
    if side:
        resizer = config.family_of(section).image_resizer(section).fixed_shape_resizer
        resizer.height, resizer.width = side, side
    return section


def batches_of(size):
    pipeline = zoo.recipe_of(FPNLITE)
    pipeline.train_config.batch_size = size
    return pipeline


@pytest.fixture
def of_gib(monkeypatch):
    """Let an image of a batch take 1/4 GiB at 320 pixels, and the machine have so many."""

    def have(total, gpu=None):
        monkeypatch.setattr(zoo, "memory_per_pixel", lambda kind: 0.25 / 320**2)
        monkeypatch.setattr(memory, "total_bytes", lambda: total and total * GIB)
        monkeypatch.setattr(memory, "gpu_bytes", lambda: gpu and gpu * GIB)
        monkeypatch.setattr(memory, "has_gpu", lambda: gpu is not None)

    return have


def test_every_model_of_the_zoo_has_been_measured_and_larger_images_take_more():
    for one in zoo.zoo_models():
        assert memory.bytes_per_image(model(one.name)) > 10 * 2**20, one.name
    small, large = (memory.bytes_per_image(model(side=side)) for side in (320, 640))
    assert large == pytest.approx(4 * small, rel=1e-6)


def test_the_memory_of_this_machine_is_known():
    assert memory.total_bytes() > GIB / 4


@pytest.mark.parametrize(
    ("gib", "num_images", "expected"),
    [
        (16, 100, 8),  # 44 fit, but a CPU is no faster for more than 8
        (3, 100, 8),  # 0.7 * 3 / 0.25 = 8.4
        (2, 100, 4),  # 5.6
        (0.1, 100, 1),  # not even one is sure
        (16, 5, 5),  # no more than there are
        (None, 100, 8),  # unknown
    ],
)
def test_the_largest_batch_on_a_cpu(of_gib, gib, num_images, expected):
    of_gib(gib)
    assert memory.largest_batch(model(), num_images) == expected


def test_the_largest_batch_on_a_gpu(of_gib):
    of_gib(64, gpu=8)  # 0.7 * 8 / 0.25 = 22.4
    assert memory.largest_batch(model(), 1000) == 16
    of_gib(64, gpu=80)
    assert memory.largest_batch(model(), 1000) == 32


def test_a_batch_that_is_too_large_is_told_with_one_that_fits(of_gib):
    of_gib(2)
    assert memory.doubt(batches_of(8), 100, 0) == ""  # 8 / 4 GiB, just
    said = memory.doubt(batches_of(16), 100, 0)
    assert "train_config.batch_size 16 needs about 4 GiB, and there are 2" in said
    assert said.endswith("4 would fit")
    of_gib(64, gpu=2)
    assert memory.doubt(batches_of(16), 100, 2) == ""  # 8 on each
    assert memory.doubt(batches_of(32), 100, 2).endswith("8 would fit")


def test_a_batch_larger_than_the_set_is_told(of_gib):
    of_gib(64)
    assert "more than the 5 images for training" in memory.doubt(batches_of(8), 5, 0)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
    ],
)
def test_a_step_without_memory_says_what_to_try(error):
    fits = r"batch of 8 images did not fit.*train_config\.batch_size 4"
    with pytest.raises(ConfigError, match=fits), _telling_of_memory(8):
        raise error


def test_other_errors_are_passed_on():
    with pytest.raises(ValueError, match="other"), _telling_of_memory(8):
        raise ValueError("other")
