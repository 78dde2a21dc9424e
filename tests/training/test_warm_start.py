import numpy as np
import pytest

from boxtune import config, models
from boxtune.errors import CheckpointError, ConfigError
from boxtune.training import checkpoints
from boxtune.training.warm_start import warm_start

BACKBONE = "model/_feature_extractor/classification_backbone/"
FEATURES = "model/_feature_extractor/"


def build(*, seed=0, num_classes=2, feature_extractor="ssd_mobilenet_v2_fpn_keras", width=0.35):
    model = config.recipe(feature_extractor).model
    model.ssd.num_classes = num_classes
    model.ssd.feature_extractor.depth_multiplier = width
    resizer = model.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = 96
    detector, rng = models.build(model), np.random.default_rng(seed)
    for variable in detector.network.variables:
        # Statistics and biases start alike in every model; here every value is random_values.
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    return detector


def values(detector):
    return {key: variable.numpy() for key, variable in detector.checkpoint_variables().items()}


@pytest.fixture(scope="module")
def source():
    return build(seed=1)


@pytest.fixture(scope="module")
def checkpoint(source, tmp_path_factory):
    """The folder of a checkpoint of `source`."""
    folder = tmp_path_factory.mktemp("source")
    checkpoints.write(source.checkpoint_variables(), str(folder / "checkpoint" / "ckpt-0"))
    return folder


def check_loaded(detector, before, source, prefix):
    """Check that just the variables whose keys begin with `prefix` are those of `source`."""
    for key, value in values(detector).items():
        expected = source[key] if key.startswith(prefix) else before[key]
        np.testing.assert_array_equal(value, expected, err_msg=key)


@pytest.mark.parametrize(
    ("fine_tune_type", "prefix"), [("full", "model/"), ("detection", FEATURES), ("classification", BACKBONE)]
)
def test_types(checkpoint, source, fine_tune_type, prefix):
    detector = build()
    before = values(detector)
    warm = warm_start(detector, checkpoint, fine_tune_type)
    check_loaded(detector, before, values(source), prefix)
    assert warm.prefix == str(checkpoint / "checkpoint" / "ckpt-0")
    assert warm.loaded == sorted(key for key in before if key.startswith(prefix))
    assert warm.kept == sorted(key for key in before if not key.startswith(prefix))
    summary = f"Warm start: {len(warm.loaded)} variables from {warm.prefix}"
    assert str(warm) == (f"{summary}; {len(warm.kept)} start anew." if warm.kept else f"{summary}.")
    assert bool(warm.kept) == (fine_tune_type != "full")


def test_other_classes_need_the_type_detection(checkpoint, source):
    detector = build(num_classes=5)
    before = values(detector)
    with pytest.raises(CheckpointError) as caught:
        warm_start(detector, checkpoint, "full")
    assert 'Use fine_tune_checkpoint_type: "detection" where the classes differ.' in str(caught.value)
    assert "of another shape" in str(caught.value)
    check_loaded(detector, before, values(source), "nothing")
    warm_start(detector, checkpoint, "detection")
    check_loaded(detector, before, values(source), FEATURES)


@pytest.mark.parametrize(
    "other", [{"feature_extractor": "ssd_mobilenet_v2_keras"}, {"width": 0.5}], ids=["another", "wider"]
)
@pytest.mark.parametrize("fine_tune_type", ["full", "detection"])
def test_another_architecture_loads_nothing(checkpoint, other, fine_tune_type):
    detector = build(**other)
    before = values(detector)
    with pytest.raises(CheckpointError) as caught:
        warm_start(detector, checkpoint, fine_tune_type)
    assert f'does not fit this model for a warm start of type "{fine_tune_type}"' in str(caught.value)
    assert "the same feature extractor, depth_multiplier and heads" in str(caught.value)
    if "feature_extractor" in other:
        assert "the model has, the checkpoint lacks" in str(caught.value)
        assert "the checkpoint has, the model lacks" in str(caught.value)
    else:
        assert "of another shape (model, checkpoint)" in str(caught.value)
    check_loaded(detector, before, before, "")


def test_another_detector_over_the_same_backbone(checkpoint, source):
    detector = build(feature_extractor="ssd_mobilenet_v2_keras")
    before = values(detector)
    warm_start(detector, checkpoint, "classification")
    check_loaded(detector, before, values(source), BACKBONE)


def test_a_checkpoint_of_a_classification_network(source, tmp_path):
    # The API keeps the backbone of those under `feature_extractor/`.
    backbone = {
        f"feature_extractor/{key.removeprefix(BACKBONE)}": variable
        for key, variable in source.checkpoint_variables().items()
        if key.startswith(BACKBONE)
    }
    prefix = checkpoints.write(backbone, str(tmp_path / "ckpt-1"))
    detector = build()
    before = values(detector)
    warm = warm_start(detector, prefix, "classification")
    check_loaded(detector, before, values(source), BACKBONE)
    assert len(warm.loaded) == len(backbone)


def test_a_checkpoint_of_the_backbone_is_not_a_detector(source, tmp_path):
    prefix = checkpoints.write(
        {
            key: variable
            for key, variable in source.checkpoint_variables().items()
            if key.startswith(BACKBONE)
        },
        str(tmp_path / "ckpt-1"),
    )
    with pytest.raises(CheckpointError, match="the model has, the checkpoint lacks"):
        warm_start(build(), prefix, "detection")


def test_an_unknown_type(checkpoint):
    with pytest.raises(ConfigError, match=r'"detections" is not one of .*Did you mean "detection"\?'):
        warm_start(build(), checkpoint, "detections")


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        warm_start(build(), tmp_path, "detection")
