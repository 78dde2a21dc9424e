from functools import partial

import keras
import numpy as np
import pytest
from google.protobuf import text_format

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.detection import losses
from boxtune.detection.box_coders import FasterRcnnBoxCoder
from boxtune.detection.localization import LocalizationLoss
from boxtune.detection.matching import ArgMaxMatcher
from boxtune.detection.mining import HardExampleMiner
from boxtune.errors import CheckpointError, ConfigError
from boxtune.models import ssd
from boxtune.models.layers import Unused
from boxtune.models.ssd_features import FEATURE_EXTRACTORS
from boxtune.training.warm_start import warm_start
from kinds import each_kind, shallow

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

FPN, SSD = "ssd_mobilenet_v2_fpn_keras", "ssd_mobilenet_v2_keras"


def section(feature_extractor, side=96, **extractor_fields):
    """Return the stock `model.ssd` for small images, with fields of its feature extractor changed."""
    stock = shallow(config.recipe(feature_extractor)).model
    stock.ssd.num_classes = 2
    resizer = stock.ssd.image_resizer.fixed_shape_resizer
    resizer.height = resizer.width = side
    for name, value in extractor_fields.items():
        setattr(stock.ssd.feature_extractor, name, value)
    return stock


def inputs(images, sizes=None):
    """Return Inputs; their sizes are those of the images, if not given."""
    whole = [images.shape[1:3]] * len(images)
    return {"images": np.float32(images), "sizes": np.int32(whole if sizes is None else sizes)}


ONE_OBJECT = {
    "boxes": np.float32([[[0.1, 0.1, 0.6, 0.7]]] * 2),
    "classes": np.int32([[1]] * 2),
    "weights": np.float32([[1]] * 2),
    "valid": np.array([[True]] * 2),
}
"""The ground truth of two images."""


def grids(detector, stock):
    """Return the sides of a detector's feature maps, from how many predictions each gives."""
    reshapes = [layer for layer in detector.network.layers if isinstance(layer, keras.layers.Reshape)]
    per_location = models.from_config.anchor_generator(stock.ssd.anchor_generator).per_location
    encodings = [layer for layer in reshapes if layer.output.shape[-1] == 4]
    return [
        round((layer.output.shape[1] / n) ** 0.5) for layer, n in zip(encodings, per_location, strict=True)
    ]


class TestBuilt:
    @pytest.mark.parametrize(
        ("feature_extractor", "depth_multiplier", "min_depth"),
        [(SSD, 0.35, 16), (SSD, 0.5, 8), (SSD, 1.0, 16), (SSD, 1.4, 16), (FPN, 0.35, 64), (FPN, 1.4, 16)],
    )
    def test_any_width(self, feature_extractor, depth_multiplier, min_depth):
        stock = section(feature_extractor, depth_multiplier=depth_multiplier, min_depth=min_depth)
        detector = models.build(stock)
        predictions = detector(inputs(np.zeros([1, 96, 96, 3])), training=False)
        anchors = len(models.anchors(stock)[0])
        assert {name: tuple(part.shape) for name, part in predictions.items()} == {
            "box_encodings": (1, anchors, 4),
            "class_predictions_with_background": (1, anchors, 3),
            "anchors": (1, anchors, 4),
        }
        shapes = [
            variable.shape
            for key, variable in detector.checkpoint_variables().items()
            if key.startswith("model/_feature_extractor/classification_backbone/") and key.endswith("/kernel")
        ]
        assert min(shape[-1] for shape in shapes) >= min_depth
        # The first layer has 32 filters at width 1, rounded to multiples of 8.
        assert shapes[0] == (3, 3, 3, max({0.35: 16, 0.5: 16, 1.0: 32, 1.4: 48}[depth_multiplier], min_depth))

    @pytest.mark.parametrize("use_depthwise", [False, True])
    def test_fpn_and_fpnlite(self, use_depthwise):
        stock = section(FPN, use_depthwise=use_depthwise)
        stock.ssd.box_predictor.weight_shared_convolutional_box_predictor.use_depthwise = use_depthwise
        keys = models.build(stock).checkpoint_variables()
        prefixes = (
            "model/_feature_extractor/_fpn",
            "model/_feature_extractor/_coarse",
            "model/_box_predictor",
        )
        separable = {prefix for prefix in prefixes for key in keys
                     if key.startswith(prefix) and key.endswith("pointwise_kernel")}  # fmt: skip
        assert separable == (set(prefixes) if use_depthwise else set())

    @pytest.mark.parametrize("use_explicit_padding", [False, True])
    @pytest.mark.parametrize(
        ("feature_extractor", "side", "maps"),
        [(FPN, 96, [12, 6, 3, 2, 1]), (SSD, 96, [6, 3, 2, 1, 1, 1]), (SSD, 97, [7, 4, 2, 1, 1, 1])],
    )
    def test_explicit_padding_gives_maps_of_the_same_size(
        self, feature_extractor, side, maps, use_explicit_padding
    ):
        stock = section(feature_extractor, side, use_explicit_padding=use_explicit_padding)
        assert grids(models.build(stock), stock) == maps

    def test_explicit_padding_changes_what_is_seen(self):
        given = inputs(np.random.default_rng(0).uniform(0, 255, [1, 96, 96, 3]))
        seen = []
        for explicit in (False, True):
            keras.utils.set_random_seed(0)
            detector = models.build(section(SSD, use_explicit_padding=explicit))
            seen.append(np.asarray(detector(given, training=False)["box_encodings"]))
        assert not np.allclose(seen[0], seen[1], atol=0.01 * seen[0].std())

    @pytest.mark.parametrize("multiple", [1, 32])
    def test_pad_to_multiple(self, multiple):
        stock = section(SSD, side=100, pad_to_multiple=multiple)
        # 100 pixels become 7 cells of 16, padded to 128 they become 8.
        assert grids(models.build(stock), stock)[0] == {1: 7, 32: 8}[multiple]


@pytest.fixture(scope="module", params=[FPN, SSD])
def feature_extractor(request):
    return request.param


SIDE = 128  # halves down to the coarsest level of any pyramid


@pytest.fixture(scope="module")
def stock_detector(feature_extractor):
    """A detector that no test changes."""
    return models.build(section(feature_extractor, SIDE))


class TestDetector:
    """What is an SSD's own; what it shares with every detector is in test_contract.py."""

    IMAGES = np.random.default_rng(0).uniform(0, 255, [2, SIDE, SIDE, 3])

    @pytest.mark.parametrize("sizes", [None, [[64, 128], [128, 96]]])
    def test_each_detection_has_its_anchor(self, stock_detector, sizes):
        detector, given = stock_detector, inputs(self.IMAGES, sizes)
        predictions = detector(given, training=False)
        found = detector.detect(given, predictions)
        indices, count = np.asarray(found.extras["anchors"]), np.asarray(found.count)
        _, scores = detector.candidates(given, predictions)
        assert indices.shape == (2, 100)
        assert indices.dtype == np.int32
        for i in range(2):
            assert count[i] > 1
            of_anchors = np.asarray(scores)[i, indices[i], np.asarray(found.classes)[i]]
            np.testing.assert_array_equal(of_anchors[: count[i]], np.asarray(found.scores)[i, : count[i]])

    def test_raw_outputs(self, feature_extractor, stock_detector):
        stock = section(feature_extractor, SIDE)
        detector, given = stock_detector, inputs(self.IMAGES)
        predictions = detector(given, training=False)
        found = detector.detect(given, predictions)
        raw = detector.raw_outputs(given, predictions, found)
        raw = {name: np.asarray(part) for name, part in raw.items()}
        a = len(models.anchors(stock)[0])
        background = int(stock.ssd.add_background_class)
        assert {name: part.shape for name, part in raw.items()} == {
            "detection_anchor_indices": (2, 100),
            "detection_multiclass_scores": (2, 100, 2 + background),
            "raw_detection_boxes": (2, a, 4),
            "raw_detection_scores": (2, a, 2 + background),
        }
        assert np.all((raw["raw_detection_scores"] >= 0) & (raw["raw_detection_scores"] <= 1))
        boxes, scores = map(np.asarray, detector.candidates(given, predictions))
        np.testing.assert_array_equal(raw["raw_detection_boxes"], boxes)
        # The background is the first column, if there is one.
        np.testing.assert_array_equal(raw["raw_detection_scores"][..., background:], scores)
        indices = raw["detection_anchor_indices"].astype(int)
        for i, count in enumerate(np.asarray(found.count)):
            of_anchors = raw["raw_detection_scores"][i, indices[i, :count]]
            np.testing.assert_array_equal(raw["detection_multiclass_scores"][i, :count], of_anchors)
            assert not raw["detection_multiclass_scores"][i, count:].any()

    @pytest.mark.parametrize(
        ("fine_tune_type", "prefixes"),
        [
            ("full", ["model/"]),
            ("detection", ["model/_feature_extractor/"]),
            (
                "classification",
                [
                    "model/_feature_extractor/_efficientnet/",
                    "model/_feature_extractor/classification_backbone/",
                ],
            ),
        ],
    )
    def test_the_variables_of_each_fine_tune_type(self, stock_detector, fine_tune_type, prefixes):
        detector = stock_detector
        expected = {
            prefix: {
                key.removeprefix(prefix): id(variable)
                for key, variable in detector.checkpoint_variables().items()
                if key.startswith(prefix)
            }
            for prefix in prefixes
        }
        found = {
            prefix: {key: id(variable) for key, variable in part.items()}
            for prefix, part in detector.restore_map(fine_tune_type).items()
        }
        assert found == {prefix: part for prefix, part in expected.items() if part}

    @pytest.mark.parametrize("frozen", [False, True])
    def test_batch_statistics_move_unless_frozen(self, feature_extractor, frozen):
        stock = section(feature_extractor, SIDE)
        stock.ssd.freeze_batchnorm = frozen
        detector = models.build(stock)
        before = {key: np.array(variable) for key, variable in detector.checkpoint_variables().items()}
        detector(inputs(self.IMAGES), training=True)
        moved = {
            key
            for key, variable in detector.checkpoint_variables().items()
            if not np.array_equal(variable, before[key])
        }
        unused = {
            id(weight)
            for layer in detector._flatten_layers()
            if isinstance(layer, Unused)
            for weight in layer.weights
        }
        statistics = {
            key
            for key, variable in detector.checkpoint_variables().items()
            if key.endswith(("moving_mean", "moving_variance")) and id(variable) not in unused
        }
        assert statistics
        assert moved == (set() if frozen else statistics)

    @pytest.mark.parametrize("feature_extractor", each_kind(FEATURE_EXTRACTORS), indirect=True)
    @pytest.mark.parametrize("share_prediction_tower", [True, False])
    def test_gradients_repeat_to_the_last_bit(self, feature_extractor, share_prediction_tower):
        stock = section(feature_extractor, SIDE)
        if not FEATURE_EXTRACTORS[feature_extractor].bidirectional:
            stock.ssd.feature_extractor.depth_multiplier = 0.35
        elif share_prediction_tower:
            pytest.skip("takes long, and another pyramid shows it")
        predictor = stock.ssd.box_predictor
        if predictor.HasField("weight_shared_convolutional_box_predictor"):
            predictor.weight_shared_convolutional_box_predictor.share_prediction_tower = (
                share_prediction_tower
            )
        elif not share_prediction_tower:
            pytest.skip("has no towers")
        detector = models.build(stock)
        if keras.backend.backend() != "tensorflow":
            pytest.skip("is about the order in which TensorFlow adds")
        import tensorflow as tf

        given = inputs(self.IMAGES) | {"groundtruth": ONE_OBJECT}

        @tf.function(jit_compile=False, autograph=False)
        def gradients():
            with tf.GradientTape() as tape:
                total = detector.compute_loss(x=given, y_pred=detector(given, training=True))
            return [total, *tape.gradient(total, [one.value for one in detector.trainable_variables])]

        # TensorFlow adds two in any order to the same, but not three: it starts with any that it may overwrite.
        operations = gradients.get_concrete_function().graph.get_operations()
        assert [op.name for op in operations if op.type == "AddN"]
        assert not [op.name for op in operations if op.type == "AddN" and len(op.inputs) > 2]
        drawn = [(state, state.numpy()) for state in detector.random_states().values()]
        first = [part.numpy() for part in gradients()]
        for _ in range(3):
            for state, value in drawn:
                state.assign(value)
            for one, other in zip(gradients(), first, strict=True):
                np.testing.assert_array_equal(one, other)


def set_resizer(stock, text):
    stock.ssd.image_resizer.CopyFrom(text_format.Parse(text, pipeline_pb2.ImageResizer()))
    return stock


@pytest.fixture(scope="module", params=[SSD, FPN])
def kind(request):
    return request.param, {"depth_multiplier": 0.35, "pad_to_multiple": 1 if request.param == SSD else 32}


@pytest.fixture(scope="module")
def detector(kind):
    """A detector of images of any size."""
    name, fields = kind
    keras.utils.set_random_seed(0)
    return models.build(set_resizer(section(name, **fields), TestImagesOfSeveralSizes.ANY))


class TestImagesOfSeveralSizes:
    """One network over images of any size predicts what the network of each size alone does."""

    ANY = "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 160 }"

    @pytest.mark.parametrize("size", [(64, 64), (64, 160), (97, 128)])
    def test_predictions_are_those_of_a_fixed_size(self, kind, detector, size):
        name, fields = kind
        text = f"fixed_shape_resizer {{ height: {size[0]} width: {size[1]} }}"
        fixed = models.build(set_resizer(section(name, **fields), text))
        random_values = detector.checkpoint_variables()
        for key, variable in fixed.checkpoint_variables().items():
            variable.assign(random_values[key])
        given = inputs(np.random.default_rng(0).uniform(0, 255, [1, *size, 3]))
        expected = fixed(given, training=False)
        for part, value in detector(given, training=False).items():
            assert value.shape == expected[part].shape
            np.testing.assert_allclose(value, expected[part], atol=1e-5, err_msg=part)

    def test_the_content_of_the_padding_is_not_seen(self, detector):
        images = np.random.default_rng(0).uniform(0, 255, [2, 96, 128, 3])
        sizes = [[96, 100], [70, 128]]
        other = images.copy()
        other[0, :, 100:] = 0
        other[1, 70:] = 255
        expected = detector(inputs(images, sizes), training=False)
        for part, value in detector(inputs(other, sizes), training=False).items():
            np.testing.assert_array_equal(value, expected[part], err_msg=part)
        whole = detector(inputs(images), training=False)
        assert not np.array_equal(whole["box_encodings"], expected["box_encodings"])

    def test_boxes_are_found_in_the_frame_of_each_image(self, detector):
        images = np.random.default_rng(0).uniform(0, 255, [2, 96, 128, 3])
        given = inputs(images, [[96, 64], [48, 128]])
        predictions = detector(given, training=False)
        boxes, _ = map(np.asarray, detector.candidates(given, predictions))
        found = detector.detect(given, predictions)
        for i, extent in enumerate(([1, 0.5, 1, 0.5], [0.5, 1, 0.5, 1])):
            count = int(found.count[i])
            of_anchors = boxes[i, np.asarray(found.extras["anchors"])[i, :count]]
            np.testing.assert_allclose(
                np.asarray(found.boxes)[i, :count], np.clip(of_anchors / extent, 0, 1), atol=1e-5
            )

    def test_anchors_of_a_batch_are_those_of_its_size(self, detector):
        generated = [
            np.asarray(detector(inputs(np.zeros([1, *size, 3])), training=False)["anchors"])
            for size in ((64, 64), (64, 128))
        ]
        assert generated[0].shape[1] < generated[1].shape[1]

    def test_a_step_of_training(self, kind):
        name, fields = kind
        detector = models.build(set_resizer(section(name, **fields), self.ANY))
        detector.compile(keras.optimizers.SGD(0.01), run_eagerly=True)  # to trace it takes longer
        for size in ((64, 96), (96, 64)):
            images = np.random.default_rng(0).uniform(0, 255, [2, *size, 3])
            given = inputs(images, [[64, 64], size]) | {"groundtruth": ONE_OBJECT}
            assert np.isfinite(detector.train_on_batch(given, return_dict=True)["loss"])


class TestPadding:
    def test_no_padding_is_filled_where_there_is_none(self):
        assert models.build(section(SSD)).padding is None

    @pytest.mark.parametrize(
        ("more", "pixel"),
        [
            # What stands for 0 and for per_channel_pad_value in [-1, 1]: 127.5 * (1 + value).
            ("", [127.5, 127.5, 127.5]),
            ("per_channel_pad_value: [0.2, -1, 1]", [153, 0, 255]),
            ("per_channel_pad_value: 0.2", [153, 153, 153]),
        ],
    )
    def test_padding_is_0_for_the_network(self, more, pixel):
        text = f"keep_aspect_ratio_resizer {{ min_dimension: 96 max_dimension: 96 pad_to_max_dimension: true {more} }}"
        detector = models.build(set_resizer(section(SSD), text))
        np.testing.assert_allclose(detector.padding, pixel, rtol=1e-6)

    def test_pixels_beyond_the_size_are_filled(self):
        images = np.arange(2 * 2 * 3 * 3, dtype=np.float32).reshape(2, 2, 3, 3)
        filled = np.asarray(ssd.fill_padding(images, np.int32([[1, 3], [2, 2]]), np.float32([7, 8, 9])))
        np.testing.assert_array_equal(filled[0, 0], images[0, 0])
        np.testing.assert_array_equal(filled[1, :, :2], images[1, :, :2])
        for padding in (*filled[0, 1], *filled[1, :, 2]):
            np.testing.assert_array_equal(padding, [7, 8, 9])


class TestRefused:
    def refusal(self, stock):
        with pytest.raises(ConfigError) as caught:
            models.build(stock)
        return str(caught.value)

    def test_an_unknown_feature_extractor(self):
        message = self.refusal(section(FPN, type="ssd_mobilenet_v2_fpn"))
        assert '"ssd_mobilenet_v2_fpn" is not supported' in message
        assert 'Did you mean "ssd_mobilenet_v2_fpn_keras"?' in message

    def test_levels_that_disagree(self):
        stock = section(FPN)
        stock.ssd.anchor_generator.multiscale_anchor_generator.max_level = 6
        assert "is for 4 feature maps, but ssd_mobilenet_v2_fpn_keras gives 5" in self.refusal(stock)

    def test_an_unsupported_matcher(self):
        stock = section(FPN)
        stock.ssd.matcher.bipartite_matcher.SetInParent()
        assert "does not have the bipartite matcher yet; use argmax_matcher" in self.refusal(stock)

    def test_a_component_that_is_not_set(self):
        stock = section(FPN)
        stock.ssd.ClearField("box_coder")
        assert "BoxCoder is empty; choose one of: faster_rcnn_box_coder" in self.refusal(stock)

    def test_images_of_several_sizes_that_do_not_halve(self):
        stock = section(FPN)
        stock.ssd.image_resizer.keep_aspect_ratio_resizer.pad_to_max_dimension = False
        message = self.refusal(stock)
        assert (
            "image_resizer gives images of several sizes; ssd_mobilenet_v2_fpn_keras needs sides" in message
        )
        assert "multiples of 32, or feature_extractor.pad_to_multiple: 32" in message

    def test_tiny_images(self):
        assert "image_resizer makes 32 x 32; 33 pixels are needed" in self.refusal(section(FPN, side=32))


class TestLoss:
    """Two anchors and one object of class 1, which is the first anchor."""

    ANCHORS = np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    BIT = np.log(2)  # the cross entropy of a logit of 0

    def losses(self, encodings=((0,) * 4,) * 2, logits=((0,) * 3,) * 2, *, weight=1.0, valid=True, **options):
        options = {
            "localization_loss": LocalizationLoss(losses.smooth_l1),
            "classification_loss": losses.sigmoid_cross_entropy,
        } | options
        loss = ssd.SSDLoss(
            num_classes=2,
            matcher=ArgMaxMatcher(),
            box_coder=FasterRcnnBoxCoder(),
            **options,
        )
        groundtruth = {
            "boxes": self.ANCHORS[None, :1],
            "classes": np.int32([[1]]),
            "weights": np.float32([[weight]]),
            "valid": np.array([[valid]]),
        }
        terms = loss(np.float32([encodings]), np.float32([logits]), self.ANCHORS, groundtruth)
        return float(terms["localization_loss"]), float(terms["classification_loss"])

    def test_of_even_odds(self):
        # Three logits for each of two anchors, divided by the one that is matched.
        assert self.losses() == pytest.approx((0, 6 * self.BIT), abs=1e-5)

    def test_without_objects(self):
        assert self.losses(valid=False) == pytest.approx((0, 6 * self.BIT), abs=1e-5)

    def test_only_matched_anchors_have_boxes(self):
        encodings = ((1, 2, 0, 0), (9, 9, 9, 9))
        assert self.losses(encodings)[0] == pytest.approx(0.5 + 1.5)
        assert self.losses(encodings, valid=False)[0] == 0

    def test_background_is_the_first_logit(self):
        right = ((-50, -50, 50), (50, -50, -50))
        assert self.losses(logits=right)[1] == pytest.approx(0, abs=1e-5)

    def test_background_may_be_all_zeros(self):
        right = ((-50, -50, 50), (-50, -50, -50))
        assert self.losses(logits=right, background_as_zeros=True)[1] == pytest.approx(0, abs=1e-5)
        assert self.losses(logits=right)[1] == pytest.approx(50, rel=1e-4)

    def test_weights_of_the_terms(self):
        encodings = ((1, 0, 0, 0), (0, 0, 0, 0))
        weighted = self.losses(encodings, localization_weight=3.0, classification_weight=0.5)
        assert weighted == pytest.approx((3 * 0.5, 0.5 * 6 * self.BIT), rel=1e-5)

    def test_negatives_may_count_less(self):
        assert self.losses(negative_class_weight=0.5)[1] == pytest.approx(4.5 * self.BIT, rel=1e-5)

    def test_objects_have_weights(self):
        # Half an object counts half and is divided by 1, the least there is to divide by.
        encodings = ((1, 0, 0, 0), (0, 0, 0, 0))
        assert self.losses(encodings, weight=0.5) == pytest.approx((0.25, 4.5 * self.BIT), rel=1e-5)
        # An object of weight 2 counts twice, and so does what it is divided by.
        assert self.losses(encodings, weight=2.0) == pytest.approx(
            (0.5, (2 * 3 + 3) / 2 * self.BIT), rel=1e-5
        )

    def test_normalizations(self):
        encodings = ((1, 0, 0, 0), (0, 0, 0, 0))
        by_code_size = self.losses(encodings, normalize_localization_by_code_size=True)
        assert by_code_size == pytest.approx((0.5 / 4, 6 * self.BIT), rel=1e-5)
        not_by_matches = self.losses(encodings, weight=2.0, normalize_by_num_matches=False)
        assert not_by_matches == pytest.approx((1.0, 9 * self.BIT), rel=1e-5)

    def test_exclusive_classes(self):
        # One number for an anchor: log 3 for even odds of three.
        measured = self.losses(classification_loss=losses.softmax_cross_entropy)
        assert measured[1] == pytest.approx(2 * np.log(3), rel=1e-5)

    def test_dice(self):
        # Each class is predicted with 0.5 at both anchors, 1 in all. The background and the second class are at one
        # anchor: 1 - 2 * 0.5 / (1 + 1). The first class is nowhere: 1.
        dice = {"classification_loss": losses.dice, "weighs_inside": True}
        assert self.losses(**dice)[1] == pytest.approx(0.5 + 1 + 0.5)
        # Without the second anchor 0.5 of each class is left: 1 - 2 * 0.5 / (0.5 + 1) for the second, 1 for the others.
        assert self.losses(**dice, negative_class_weight=0.0)[1] == pytest.approx(1 + 1 + 1 / 3)

    def test_matched_anchors_may_be_smoothed(self):
        # Wanted of the first are 0.1, 0.1 and 0.9 now: each logit of 50 misses a tenth. The background is certain.
        right = ((-50, -50, 50), (50, -50, -50))
        smooth = partial(losses.smooth_independent, amount=0.2)
        assert self.losses(logits=right, smooth=smooth)[1] == pytest.approx(3 * 0.1 * 50, rel=1e-5)

    def test_classes_have_weights(self):
        # The first anchor is of the second class, the other one is background.
        class_weights = np.float32([7, 3])
        measured = self.losses(class_weights=class_weights)
        assert measured == pytest.approx((0, (3 * 3 + 3) * self.BIT), abs=1e-5)
        assert self.losses(class_weights=class_weights, valid=False)[1] == pytest.approx(
            6 * self.BIT, abs=1e-5
        )

    def test_only_the_hardest_anchors_may_count(self):
        # The second anchor is wrong by 50, the first even; boxes are counted for the same anchors as classes.
        encodings, wrong = ((1, 0, 0, 0), (0, 0, 0, 0)), ((0, 0, 0), (-50, -50, -50))
        assert self.losses(encodings, wrong) == pytest.approx((0.5, 3 * self.BIT + 50), rel=1e-5)
        hardest = HardExampleMiner(num_hard_examples=1)
        assert self.losses(encodings, wrong, mine=hardest) == pytest.approx((0, 50), rel=1e-5)
        by_boxes = HardExampleMiner(num_hard_examples=1, classification_weight=0)
        assert self.losses(encodings, wrong, mine=by_boxes) == pytest.approx((0.5, 3 * self.BIT), rel=1e-5)


class TestLossSection:
    def loss(self, text, **options):
        stock = section(SSD)
        text_format.Merge(text, stock.ssd.loss)
        return models.build(stock, models.Options(**options)).loss

    def test_hard_example_miner(self):
        mine = self.loss(
            "classification_loss { weighted_softmax {} } classification_weight: 2 localization_weight: 3 "
            "hard_example_miner { num_hard_examples: 0 iou_threshold: 0.75 max_negatives_per_positive: 3 }"
        ).mine
        assert mine == HardExampleMiner(None, 0.75, 3, 2, max_negatives_per_positive=3)

    def test_a_focal_loss_needs_no_miner(self):
        with pytest.raises(ConfigError, match="hard_example_miner: the focal loss ignores easy examples"):
            self.loss("classification_loss { weighted_sigmoid_focal {} } hard_example_miner {}")

    def test_smoothing_fits_the_loss(self):
        targets = np.float32([[0, 1, 0, 0]])
        for text, wrong in [("weighted_sigmoid {}", 0.1), ("weighted_softmax {}", 0.05)]:
            smooth = self.loss(f"classification_loss {{ {text} }}", label_smoothing=0.2).smooth
            np.testing.assert_allclose(smooth(targets)[0][0], wrong, rtol=1e-6)
        assert self.loss("").smooth is None

    @pytest.mark.parametrize("amount", [-0.1, 1.0, float("nan")])
    def test_smoothing_has_limits(self, amount):
        with pytest.raises(ConfigError, match=r"label_smoothing is .*; it must be at least 0 and below 1"):
            self.loss("", label_smoothing=amount)

    def test_dice_is_read(self):
        loss = self.loss(
            "classification_loss { weighted_dice_classification_loss { squared_normalization: true } }"
        )
        assert loss.weighs_inside
        assert loss.classification_loss.keywords == {"squared_normalization": True}

    def test_class_weights(self):
        np.testing.assert_array_equal(self.loss("", class_weights=[1, 5]).class_weights, [1, 5])

    def test_training_on_hard_examples(self):
        stock = section(SSD)
        text_format.Merge(
            "classification_loss { weighted_softmax {} } hard_example_miner { max_negatives_per_positive: 3 }",
            stock.ssd.loss,
        )
        detector = models.build(stock, models.Options(label_smoothing=0.1, class_weights=[1, 2]))
        detector.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
        images = np.random.default_rng(0).uniform(0, 255, [2, 96, 96, 3])
        logs = detector.train_on_batch(inputs(images) | {"groundtruth": ONE_OBJECT}, return_dict=True)
        assert np.isfinite(logs["loss"])
        assert logs["classification_loss"] > 0
        assert logs["localization_loss"] > 0


ZOO = {
    "ssd_mobilenet_v2_320x320_coco17_tpu-8": "ssd_mobilenet_v2_320x320_coco17_tpu-8",
    "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8": "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
    "ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8": "ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8",
    "efficientdet_d0_coco17_tpu-32": "ssd_efficientdet_d0_512x512_coco17_tpu-8",
    "efficientdet_d1_coco17_tpu-32": "ssd_efficientdet_d1_640x640_coco17_tpu-8",
    "efficientdet_d4_coco17_tpu-32": "ssd_efficientdet_d4_1024x1024_coco17_tpu-32",
}
"""The configuration of each published model."""
LARGER = ("efficientdet_d1_coco17_tpu-32", "efficientdet_d4_coco17_tpu-32")


@pytest.mark.shared
class TestPublished:
    @pytest.mark.parametrize(
        "name",
        [pytest.param(name, marks=[pytest.mark.thorough] if name in LARGER else []) for name in ZOO],
    )
    def test_variables_are_those_of_the_published_checkpoints(self, shared, name):
        stock = config.load(shared / "stock_configs" / f"{ZOO[name]}.config")
        built = {
            key: list(variable.shape)
            for key, variable in models.build(stock.model).checkpoint_variables().items()
        }
        published = {}
        for line in (shared / "zoo" / name / "ckpt-0.index.tsv").read_text().splitlines():
            key, _, shape, *_ = line.split("\t")
            if key.startswith("model/"):
                published[key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")] = [
                    int(side) for side in shape.split("x")
                ]
        assert built == published

    def test_real_weights_fit_exactly(self, shared):
        folder = shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
        detector = models.build(config.load(folder / "pipeline.config").model)
        before = {key: variable.numpy() for key, variable in detector.checkpoint_variables().items()}
        warm = warm_start(detector, folder, "full")
        assert (len(warm.loaded), warm.kept) == (384, [])
        assert all(
            not np.array_equal(variable.numpy(), before[key])
            for key, variable in detector.checkpoint_variables().items()
        )

    def test_another_width_does_not_fit(self, shared):
        folder = shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
        pipeline = config.load(folder / "pipeline.config")
        pipeline.model.ssd.feature_extractor.depth_multiplier = 0.35
        with pytest.raises(CheckpointError, match="of another shape"):
            warm_start(models.build(pipeline.model), folder, "full")


def test_a_pyramid_needs_sides_that_halve():
    with pytest.raises(ConfigError, match=r"gives 100 x 100.*multiples of 32, or .*pad_to_multiple: 32"):
        models.build(section(FPN, side=100))


def test_a_pyramid_pads_to_sides_that_halve():
    stock = section(FPN, side=100, pad_to_multiple=32)
    assert grids(models.build(stock), stock)[:3] == [16, 8, 4]  # of 128 pixels
