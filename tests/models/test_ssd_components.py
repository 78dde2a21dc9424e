"""An SSD of components that no stock configuration has: it is built, its numbers are right, and it learns."""

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from keras import ops

from boxtune import config, models
from boxtune.detection import losses
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.localization import LocalizationLoss
from boxtune.detection.matching import ArgMaxMatcher
from boxtune.detection.sampling import RandomExampleSampler
from boxtune.errors import ConfigError
from boxtune.models import ssd

SIDE = 64
STOCK = config.recipe("ssd_mobilenet_v2_fpn_keras").model


def section(text=""):
    """Return the stock section for small images and two classes, changed by `text`."""
    stock = type(STOCK)()
    stock.CopyFrom(STOCK)
    stock.ssd.num_classes = 2
    stock.ssd.feature_extractor.depth_multiplier = 0.35
    stock.ssd.feature_extractor.fpn.additional_layer_depth = 16
    predictor = stock.ssd.box_predictor.weight_shared_convolutional_box_predictor
    predictor.depth, predictor.num_layers_before_predictor = 16, 1
    text_format.Merge(
        f"ssd {{ image_resizer {{ fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }} }} {text} }}", stock
    )
    return stock


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "images": rng.uniform(0, 255, [2, SIDE, SIDE, 3]).astype(np.float32),
        "sizes": np.int32([[SIDE, SIDE]] * 2),
        "groundtruth": {
            "boxes": np.float32([[[0.1, 0.1, 0.6, 0.7]]] * 2),
            "classes": np.int32([[1]] * 2),
            "weights": np.float32([[1]] * 2),
            "valid": np.array([[True]] * 2),
        },
    }


SAMPLED = (
    "loss { random_example_sampler { positive_sample_fraction: 0.25 } "
    "classification_loss { bootstrapped_sigmoid { alpha: 0.9 } } localization_loss { weighted_giou {} } } "
    "add_background_class: false post_processing { batch_non_max_suppression { use_class_agnostic_nms: true } }"
)
SQUARES = (
    "box_coder { square_box_coder {} } loss { localization_loss { weighted_l2 {} } "
    "classification_loss { weighted_dice_classification_loss {} } } "
    "box_predictor { weight_shared_convolutional_box_predictor { "
    "box_code_size: 3 conv_hyperparams { batch_norm { train: false } } } } "
    "similarity_calculator { neg_sq_dist_similarity {} } "
    "matcher { argmax_matcher { matched_threshold: -0.5 unmatched_threshold: -0.5 } }"
)


@pytest.mark.thorough
@pytest.mark.parametrize("text", [SAMPLED, SQUARES])
def test_it_trains_and_finds(text):
    keras.utils.set_random_seed(1)
    detector = models.build(section(text))
    detector.compile(keras.optimizers.SGD(0.005), jit_compile=False)
    inputs = batch()
    logs = [detector.train_on_batch(inputs, return_dict=True) for _ in range(4)]
    total = [sum(float(one[term]) for term in detector.loss_names) for one in logs]
    assert np.isfinite(total).all()
    assert total[-1] < total[0]
    found = detector.detect(inputs, detector(inputs, training=False))
    assert np.isfinite(np.asarray(found.boxes)).all()
    assert set(np.unique(found.classes)) <= {0, 1}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "box_coder { square_box_coder {} }",
            "box_predictor.weight_shared_convolutional_box_predictor.box_code_size is 4, .* set box_code_size: 3",
        ),
        (
            "add_background_class: false encode_background_as_zeros: false",
            "add_background_class: false leaves no class .* set encode_background_as_zeros: true",
        ),
        (
            "anchor_generator { multiscale_anchor_generator { normalize_coordinates: false } }",
            "the anchor generator gives pixels; use ssd_anchor_generator",
        ),
    ],
)
def test_contradictions_are_refused(text, error):
    with pytest.raises(ConfigError, match=error):
        models.build(section(text))


def test_the_random_state_of_the_sampler_is_part_of_a_run():
    sampled = models.build(section(SAMPLED))
    plain = models.build(section())
    assert len(sampled.random_states()) == len(plain.random_states()) + 1
    state = sampled.loss.sample.seeds.state
    assert any(one is state for one in sampled.random_states().values())
    before = np.asarray(state)
    inputs = batch()
    sampled.loss_terms(inputs, sampled(inputs, training=False))
    assert not np.array_equal(before, np.asarray(state))
    assert not any("random" in key for key in sampled.checkpoint_variables())


class TestLoss:
    """Two anchors and one object of class 1, which is the first anchor."""

    ANCHORS = np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    BIT = np.log(2)  # the cross entropy of a logit of 0

    def losses(self, encodings=((0,) * 4,) * 2, logits=None, *, weight=1.0, **options):
        options = {"localization_loss": LocalizationLoss(losses.smooth_l1)} | options
        loss = ssd.SSDLoss(
            num_classes=2,
            matcher=ArgMaxMatcher(),
            box_coder=FasterRcnnBoxCoder(),
            classification_loss=losses.sigmoid_cross_entropy,
            **options,
        )
        groundtruth = {
            "boxes": self.ANCHORS[None, :1],
            "classes": np.int32([[1]]),
            "weights": np.float32([[weight]]),
            "valid": np.array([[True]]),
        }
        logits = logits or ((0,) * (2 + loss.add_background_class),) * 2
        given = (ops.convert_to_tensor(array, dtype="float32") for array in ([encodings], [logits]))
        terms = loss(*given, self.ANCHORS, groundtruth)
        return float(terms["localization_loss"]), float(terms["classification_loss"])

    def test_without_background_there_are_as_many_logits_as_classes(self):
        assert self.losses(add_background_class=False)[1] == pytest.approx(4 * self.BIT)
        right = ((-50, 50), (-50, -50))
        assert self.losses(logits=right, add_background_class=False)[1] == pytest.approx(0, abs=1e-5)

    def test_overlap_of_boxes(self):
        # Half an anchor down and to the right is a code of 5: a quarter is shared.
        encodings = ((5, 5, 0, 0), (9, 9, 9, 9))
        overlap = LocalizationLoss(losses.iou_loss, of_boxes=True)
        assert self.losses(encodings, localization_loss=overlap)[0] == pytest.approx(6 / 7)

    def test_weights_of_squared_errors_are_squared(self):
        squared = LocalizationLoss(losses.squared_error, squares_weights=True)
        encodings, options = (
            ((2, 0, 0, 0), (0,) * 4),
            {"localization_loss": squared, "normalize_by_num_matches": False},
        )
        assert self.losses(encodings, weight=0.5, **options)[0] == pytest.approx(2 * 0.5**2)

    def test_a_sample_of_positives_only(self):
        # With a fraction of 1 no negative counts: of two anchors one is left.
        sample = RandomExampleSampler(keras.random.SeedGenerator(0), 1.0)
        options = {"add_background_class": False, "sample": sample}
        assert self.losses(**options)[1] == pytest.approx(2 * self.BIT)
        assert self.losses(((2, 0, 0, 0), (9, 9, 9, 9)), **options)[0] == pytest.approx(1.5)
