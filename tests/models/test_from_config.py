import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.detection import boxes
from boxtune.detection.box_coders import FasterRcnnBoxCoder, KeypointBoxCoder, SquareBoxCoder
from boxtune.errors import ConfigError
from boxtune.models import from_config


def parse(message, text):
    return text_format.Parse(text, message())


REFUSED = {
    "a scale of 0": (
        from_config.box_coder,
        pipeline_pb2.BoxCoder,
        "faster_rcnn_box_coder { x_scale: 0 }",
        "faster_rcnn_box_coder.x_scale is 0; it must be above 0",
    ),
    "a scale that is NaN": (
        from_config.box_coder,
        pipeline_pb2.BoxCoder,
        "mean_stddev_box_coder { stddev: nan }",
        "mean_stddev_box_coder.stddev is nan; it must be above 0",
    ),
    "no keypoints": (
        from_config.box_coder,
        pipeline_pb2.BoxCoder,
        "keypoint_box_coder {}",
        "keypoint_box_coder.num_keypoints is 0; it must be above 0",
    ),
    "thresholds the wrong way round": (
        from_config.matcher,
        pipeline_pb2.Matcher,
        "argmax_matcher { matched_threshold: 0.4 }",
        "unmatched_threshold is 0.5, above matched_threshold 0.4",
    ),
    "a fraction of 0": (
        from_config.random_example_sampler,
        pipeline_pb2.Loss,
        "random_example_sampler { positive_sample_fraction: 0 }",
        "positive_sample_fraction is 0; it must be above 0 and at most 1",
    ),
    "sizes without ratios": (
        from_config.anchor_generator,
        pipeline_pb2.AnchorGenerator,
        "flexible_grid_anchor_generator { anchor_grid { base_sizes: [8, 16] aspect_ratios: 1 height_stride: 8 } }",
        "anchor_grid 0 of flexible_grid_anchor_generator has 2 base_sizes and 1 aspect_ratios",
    ),
    "a grid without strides": (
        from_config.anchor_generator,
        pipeline_pb2.AnchorGenerator,
        "flexible_grid_anchor_generator { anchor_grid { base_sizes: 8 aspect_ratios: 1 height_stride: 8 } }",
        "anchor_grid 0 of flexible_grid_anchor_generator has no stride",
    ),
    "a scale of logits": (
        from_config.score_converter,
        pipeline_pb2.PostProcessing,
        "logit_scale: 0",
        "post_processing.logit_scale is 0; it must be above 0",
    ),
    "an overlap above 1": (
        from_config.non_max_suppression,
        pipeline_pb2.PostProcessing,
        "batch_non_max_suppression { iou_threshold: 1.5 }",
        r"batch_non_max_suppression.iou_threshold is 1.5; it must be in \[0, 1\]",
    ),
    "a negative sigma": (
        from_config.non_max_suppression,
        pipeline_pb2.PostProcessing,
        "batch_non_max_suppression { soft_nms_sigma: -1 }",
        "soft_nms_sigma is -1; it must be at least 0",
    ),
    "no detections": (
        from_config.non_max_suppression,
        pipeline_pb2.PostProcessing,
        "batch_non_max_suppression { max_detections_per_class: 0 }",
        "max_detections_per_class is 0; it must be above 0",
    ),
    "several classes of a box": (
        from_config.non_max_suppression,
        pipeline_pb2.PostProcessing,
        "batch_non_max_suppression { use_class_agnostic_nms: true max_classes_per_detection: 2 }",
        "max_classes_per_detection is 2; it must be 1",
    ),
    "hard examples of the dice loss": (
        from_config.hard_example_miner,
        pipeline_pb2.Loss,
        "classification_loss { weighted_dice_classification_loss {} } hard_example_miner {}",
        "the dice loss is one of all anchors together",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_values_are_refused(name):
    read, message, text, error = REFUSED[name]
    with pytest.raises(ConfigError, match=error):
        read(parse(message, text))


class TestBoxCodeSize:
    @pytest.mark.parametrize(
        ("coder", "size"), [(FasterRcnnBoxCoder(), 4), (SquareBoxCoder(), 3), (KeypointBoxCoder(3), 10)]
    )
    @pytest.mark.parametrize(
        "predictor", ["convolutional_box_predictor", "weight_shared_convolutional_box_predictor"]
    )
    def test_it_is_the_coders(self, coder, size, predictor):
        section = parse(pipeline_pb2.BoxPredictor, f"{predictor} {{ box_code_size: {size} }}")
        from_config.check_box_code_size(section, coder)
        getattr(section, predictor).box_code_size = size + 1
        error = (
            f"{predictor}.box_code_size is {size + 1}, but .* has {size} numbers; set box_code_size: {size}"
        )
        with pytest.raises(ConfigError, match=error):
            from_config.check_box_code_size(section, coder)


class TestSimilarity:
    def test_by_default_it_is_the_iou(self):
        assert from_config.similarity(pipeline_pb2.RegionSimilarityCalculator()) is boxes.iou_pairwise

    def test_the_threshold_is_read(self):
        similarity = from_config.similarity(
            parse(
                pipeline_pb2.RegionSimilarityCalculator, "thresholded_iou_similarity { iou_threshold: 0.2 }"
            )
        )
        one, other = np.float32([[0, 0, 1, 1]]), np.float32([[0, 0, 1, 0.3]])
        assert float(similarity(one, other)[0, 0]) == 1


class TestScoreConverter:
    LOGITS = np.float32([[-1, 0, np.log(3)]])

    def scores(self, text, predictor=""):
        section = parse(pipeline_pb2.BoxPredictor, predictor) if predictor else None
        return np.asarray(
            from_config.score_converter(parse(pipeline_pb2.PostProcessing, text), section)(self.LOGITS)
        )

    def test_of_the_predictor_alone(self):
        predictor = "weight_shared_convolutional_box_predictor { score_converter: SIGMOID }"
        np.testing.assert_allclose(self.scores("", predictor), [[1 / (1 + np.e), 0.5, 0.75]], rtol=1e-6)

    def test_one_after_the_other(self):
        predictor = "weight_shared_convolutional_box_predictor { score_converter: SIGMOID }"
        twice = self.scores("score_converter: SIGMOID logit_scale: 0.5", predictor)
        np.testing.assert_allclose(twice[0, 1:], 1 / (1 + np.exp([-1, -1.5])), rtol=1e-6)

    @pytest.mark.parametrize(
        "predictor", ["", "convolutional_box_predictor {}", "weight_shared_convolutional_box_predictor {}"]
    )
    def test_of_post_processing_alone(self, predictor):
        np.testing.assert_array_equal(self.scores("", predictor), self.LOGITS)
        np.testing.assert_array_equal(self.scores("logit_scale: 2", predictor), self.LOGITS / 2)
        np.testing.assert_allclose(self.scores("score_converter: SIGMOID", predictor)[0, 2], 0.75, rtol=1e-6)


class TestCalibration:
    LOGITS = np.float32([[np.log(3), 0, -np.log(3)]])  # of scores 0.75, 0.5 and 0.25

    def scores(self, text, num_scores=None):
        section = parse(
            pipeline_pb2.PostProcessing, f"score_converter: SIGMOID calibration_config {{ {text} }}"
        )
        return np.asarray(from_config.score_converter(section, num_scores=num_scores)(self.LOGITS))

    def test_all_scores_by_one_function(self):
        points = "x_y_pair { x: 0 y: 0 } x_y_pair { x: 0.5 y: 0.1 } x_y_pair { x: 1 y: 1 }"
        # 0.75 is half way from 0.1 to 1, and 0.25 from 0 to 0.1.
        np.testing.assert_allclose(
            self.scores(f"function_approximation {{ x_y_pairs {{ {points} }} }}"),
            [[0.55, 0.1, 0.05]],
            rtol=1e-5,
        )

    def test_a_column_by_its_own(self):
        pairs = "x_y_pair { x: 0 y: 1 } x_y_pair { x: 1 y: 0 }"
        text = (
            f"class_id_function_approximations {{ class_id_xy_pairs_map {{ key: 2 value {{ {pairs} }} }} }}"
        )
        np.testing.assert_allclose(self.scores(text, 3), [[0.75, 0.5, 0.75]], rtol=1e-5)

    def test_logits_by_a_temperature(self):
        # A temperature of 0.5 doubles the logits: odds of 3 become odds of 9.
        scores = self.scores("temperature_scaling_calibration { scaler: 0.5 }")
        np.testing.assert_allclose(scores, [[0.9, 0.5, 0.1]], rtol=1e-5)

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("", "CalibrationConfig is empty; choose one of: function_approximation"),
            ("function_approximation {}", "function_approximation.x_y_pairs has no x_y_pair"),
            (
                "function_approximation { x_y_pairs { x_y_pair { x: 0.5 y: 0 } x_y_pair { x: 0.5 y: 1 } } }",
                "x_y_pairs has the x 0.5 after 0.5; they must ascend",
            ),
            (
                "function_approximation { x_y_pairs { x_y_pair { x: 0.5 y: nan } } }",
                "x_y_pairs has a point that is not finite",
            ),
            (
                "class_id_function_approximations { class_id_xy_pairs_map { key: 3 value {} } }",
                "class_id_xy_pairs_map has the key 3; the scores are numbered from 0 to 2",
            ),
            (
                "class_id_function_approximations { class_id_xy_pairs_map { key: 1 value {} } }",
                r"class_id_xy_pairs_map\[1\] has no x_y_pair",
            ),
            ("temperature_scaling_calibration {}", "scaler is 0; it must be above 0"),
            ("temperature_scaling_calibration { scaler: nan }", "scaler is nan; it must be above 0"),
            (
                "sigmoid_calibration {}",
                "does not have calibration by a sigmoid yet; use function_approximation",
            ),
        ],
    )
    def test_invalid_values_are_refused(self, text, error):
        with pytest.raises(ConfigError, match=error):
            self.scores(text, 3)


def test_no_sampler_unless_one_is_set():
    assert from_config.random_example_sampler(pipeline_pb2.Loss()) is None
    sampler = from_config.random_example_sampler(parse(pipeline_pb2.Loss, "random_example_sampler {}"))
    assert sampler.positive_fraction == pytest.approx(0.01)
