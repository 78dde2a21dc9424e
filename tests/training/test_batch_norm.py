"""Batch normalization: the decay that fits a training, where a warning is due, and statistics estimated anew."""

from pathlib import Path

import keras
import numpy as np
import pytest

from boxtune import config
from boxtune.config import zoo
from boxtune.models.layers import BatchNormalization
from boxtune.training import batch_norm
from boxtune.training.batch_norm import NUM_BATCHES, Recalibration
from small_detector import SIDE, assert_same, small_detector, values

EXTRACTOR = "model.ssd.feature_extractor.conv_hyperparams.batch_norm"
PREDICTOR = "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.conv_hyperparams.batch_norm"
RECIPES = sorted(Path(config.__file__).parent.glob("recipes/*.config"))


def stock(steps, *overrides):
    """The default recipe, with the stock decay of 0.997."""
    pipeline = zoo.recipe_of(zoo.DEFAULT)
    for override in (f"train_config.num_steps={steps}", "train_config.fine_tune_checkpoint=''", *overrides):
        config.apply_override(pipeline, override)
    return pipeline


@pytest.mark.parametrize(("batches", "decay"), [(600, 0.9667), (2000, 0.99), (100, 0.9), (1, 0.9)])
def test_the_decay_that_fits(batches, decay):
    assert batch_norm.fitting_decay(batches) == decay


def test_a_short_training_is_warned_of_with_the_flags_that_help():
    (warning,) = batch_norm.warnings(stock(300))
    assert "a decay of 0.997 is for longer trainings: after these 300 batches its statistics are" in warning
    assert "are still 41% those of the start" in warning
    flags = [part for part in warning.split() if part.startswith("model.")]
    assert flags == [f"{EXTRACTOR}.decay=0.9333", f"{PREDICTOR}.decay=0.9333"]
    assert batch_norm.warnings(stock(300, *flags)) == []


@pytest.mark.parametrize(
    ("steps", "overrides", "warned"),
    [
        (1530, [], True),  # 0.997 ** 1530 is just above 0.01
        (1540, [], False),
        (25_000, [], False),
        (300, ["boxtune.accumulate_batches=8"], False),  # statistics move with each batch
        (300, ["model.ssd.freeze_batchnorm=true"], False),
        (300, [f"{EXTRACTOR}.train=false"], True),
        (300, [f"{EXTRACTOR}.train=false", f"{PREDICTOR}.train=false"], False),
        (
            300,
            ["train_config.fine_tune_checkpoint=x", "train_config.fine_tune_checkpoint_type=detection"],
            True,
        ),
        (300, ["train_config.fine_tune_checkpoint=x", "train_config.fine_tune_checkpoint_type=full"], False),
        (1, [f"{EXTRACTOR}.decay=0.9", f"{PREDICTOR}.decay=0.9"], False),  # no lower decay is any good
    ],
)
def test_where_it_matters(steps, overrides, warned):
    assert len(batch_norm.warnings(stock(steps, *overrides))) == warned


def test_another_kind_of_normalization_counts_as_well():
    kept = f"{PREDICTOR.removesuffix('.batch_norm')}.sync_batch_norm={{decay: 0.997}}"
    (warning,) = batch_norm.warnings(stock(300, kept))
    assert "conv_hyperparams.sync_batch_norm.decay=0.9333" in warning


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_stock_recipes_are_long_enough(recipe):
    pipeline = config.complete(config.load(recipe))
    assert pipeline.train_config.num_steps >= 25_000
    assert batch_norm.decay_fields(pipeline.model)
    assert batch_norm.warnings(pipeline) == []


class TestRecalibration:
    @pytest.fixture
    def images(self):
        """Of every batch other ones, and one batch more than are seen."""
        rng = np.random.default_rng(3)
        return rng.uniform(0, 255, [NUM_BATCHES + 2, 4, SIDE, SIDE, 3]).astype(np.float32)

    def recalibration(self, detector, images):
        sizes = np.full([4, 2], SIDE, np.int32)
        return Recalibration(detector, [{"images": batch, "sizes": sizes} for batch in images])

    def statistics(self, detector):
        return {
            key: value for key, value in values(detector.checkpoint_variables()).items() if "/moving_" in key
        }

    @pytest.mark.parametrize("before", [0.0, 1000.0])
    def test_statistics_are_the_means_of_those_of_the_batches(self, images, before):
        """Of all but the first, which only brings the statistics near, and the last, which is one too many."""
        detector = small_detector()
        kinds = (keras.layers.Conv2D, BatchNormalization)
        convolution, normalization = (one for one in detector.network.layers if isinstance(one, kinds))
        normalization.moving_mean.assign(np.full(8, before))
        self.recalibration(detector, images).estimate()
        maps = [keras.ops.convert_to_numpy(convolution(batch / 255.0)) for batch in images[1:-1]]
        means = np.mean([one.mean((0, 1, 2)) for one in maps], axis=0)
        variances = np.mean([one.var((0, 1, 2), ddof=1) for one in maps], axis=0)
        np.testing.assert_allclose(normalization.moving_mean, means, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(normalization.moving_variance, variances, rtol=1e-4)
        assert normalization.momentum == 0.9

    def test_it_is_the_same_again_to_the_bit(self, images):
        detector = small_detector()
        recalibration = self.recalibration(detector, images)
        found = []
        for _ in range(2):
            with recalibration.undone():
                recalibration.estimate()
                found.append(self.statistics(detector))
        assert_same(*found)

    def test_nothing_of_it_stays(self, images):
        """Neither statistics nor, with dropout, random states; weights never change."""
        detector = small_detector(dropout=0.5)
        state = detector.checkpoint_variables() | detector.random_states()
        assert len(detector.random_states()) == 1
        before, recalibration = values(state), self.recalibration(detector, images)
        with recalibration.undone():
            recalibration.estimate()
            changed = {key for key, value in values(state).items() if not np.array_equal(value, before[key])}
        assert {"moving_mean", "moving_variance"} <= {key.rpartition("/")[2] for key in changed}
        assert_same(values(state), before)

    def test_frozen_statistics_are_left_alone(self, images):
        detector = small_detector(freeze_batchnorm=True)
        before, recalibration = self.statistics(detector), self.recalibration(detector, images)
        assert recalibration.statistics == []
        recalibration.estimate()
        assert_same(self.statistics(detector), before)
