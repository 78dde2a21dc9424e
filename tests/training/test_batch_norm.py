"""Decays of batch normalization: the one that fits a training, and where a warning is due."""

from pathlib import Path

import pytest

from boxtune import config
from boxtune.config import zoo
from boxtune.training import batch_norm

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
