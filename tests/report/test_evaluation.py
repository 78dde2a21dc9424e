import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boxtune.config import pipeline_pb2
from boxtune.errors import DataError
from boxtune.metrics.analysis import results_of
from boxtune.metrics.coco import NAMES
from boxtune.metrics.comparison import compare
from boxtune.metrics.results import Evaluation, Example, ImageResult
from boxtune.report import evaluation as report
from boxtune.report.box_drawing import Box, draw_boxes, side_by_side
from image_results import coco_metrics

CLASSES = ("cat", "dog")
BOX = [10, 16, 40, 64]  # of pixels of 50 x 80
OTHER = [5, 40, 20, 80]


def result(name="a.jpg", *, scores=(0.9, 0.4)):
    """A dog, found, and a cat where there is none."""
    count = len(scores)
    return ImageResult(
        name=name,
        height=50,
        width=80,
        groundtruth_boxes=np.float32([BOX]),
        groundtruth_classes=np.array([1]),
        is_crowd=np.array([False]),
        boxes=np.float32([BOX, OTHER])[:count].reshape(-1, 4),
        classes=np.array([1, 0], int)[:count],
        scores=np.float32(scores),
    )


def example(**options):
    return Example(result(**options), np.full([50, 80, 3], 90, np.uint8))


def evaluation(*names, examples=(), metrics=None):
    results = [result(name) for name in names or ("a.jpg", "b.jpg")]
    return Evaluation(
        results=results,
        class_names=CLASSES,
        step=300,
        metrics=coco_metrics(results, 2) if metrics is None else metrics,
        losses={"Loss/total_loss": 1.5},
        seconds=1.26,
        examples=examples,
    )


def counted(results, class_names=CLASSES):
    return Evaluation(results=results, class_names=class_names, metrics={}, seconds=1)


def analysis(**options):
    return report.analysis_of(evaluation(**options), "mine")


class TestText:
    def test_headline(self):
        lines = report.text(analysis(), 1.26).splitlines()
        assert lines[0] == "Evaluation of step 300 on 2 images with 2 objects (1.3 s)"
        assert lines[1].split()[:4] == ["AP", "IoU", "0.50:0.95", "1.000"]
        # Every redraw of the same two images has the same AP.
        assert lines[1].endswith("95 % confidence interval 1.000 to 1.000")
        assert "there are no small (up to 32 x 32 pixels) objects" in lines[4]
        assert lines[12].split()[:4] == ["AR", "100", "detections", "large"]

    def test_classes(self):
        rows = [line.split() for line in report.text(analysis(), 1).splitlines()]
        assert ["cat", "0", "2", *["-"] * 6] in rows
        # At a threshold of 0.9, the only score of a dog, all is right.
        assert ["dog", "2", "2", *["1.000"] * 3, "0.900", *["1.000"] * 2] in rows

    def test_of_many_classes_the_worst_are_shown(self):
        names = [f"class {number}" for number in range(30)]
        one = counted([result(), result("b.jpg")], names)
        lines = report.text(report.analysis_of(one, ""), 1).splitlines()
        assert any(line.split()[:2] == ["class", "1"] for line in lines)
        assert "  and 10 classes of higher AP, or without objects" in lines

    def test_kinds_of_error(self):
        results = [result(scores=(0.4, 0.9))]  # the dog is found after a cat beside it
        one = counted(results)
        assert "kind" not in report.text(report.analysis_of(one, ""), 1)  # the cat costs the dogs nothing
        missed = counted([result(scores=()), result("b.jpg")])
        # One of two dogs is found: AP50 is 51/101, and 1 without the miss.
        assert "AP50 would gain without mistakes of the kind: missed 0.495" in report.text(
            report.analysis_of(missed, ""), 1
        )

    def test_other_sets_of_metrics_go_by_their_tags(self):
        shown = report.text(analysis(metrics={"PascalBoxes_Precision/mAP@0.5IOU": 0.25}), 1)
        assert "  PascalBoxes_Precision/mAP@0.5IOU  0.250" in shown


class TestFiles:
    def test_json_is_read_again(self, tmp_path):
        report.write_json(analysis(), tmp_path / "evaluation.json")
        again = report.read_evaluation(tmp_path / "evaluation.json")
        assert (again.title, again.step, again.class_names) == ("mine", 300, CLASSES)
        assert again.metrics.keys() == set(NAMES)
        for one, before in zip(results_of(again), evaluation().results, strict=True):
            assert one.name == before.name
            np.testing.assert_array_equal(one.boxes, before.boxes)
            np.testing.assert_allclose(one.scores, before.scores, atol=1e-6)

    @pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 9}', "[" * 5000])
    def test_what_is_no_evaluation_is_named(self, tmp_path, content):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(DataError, match=r"other\.json: "):
            report.read_evaluation(tmp_path / "other.json")


class TestSideBySide:
    DOG = Box([0.2, 0.2, 0.8, 0.8], "dog 90%", 1)
    CAT = Box([0.1, 0.5, 0.4, 1], "cat 40%", 0)

    def images(self, one, *, min_score=0.0, max_boxes=10):
        found = report.side_by_side_images([one], CLASSES, min_score=min_score, max_boxes=max_boxes)
        assert len(found) == 1
        return found[0]

    def expected(self, *shown):
        image = Image.fromarray(example().image)
        groundtruth = draw_boxes(image, [Box([0.2, 0.2, 0.8, 0.8], "dog", 1)])
        return np.asarray(side_by_side(draw_boxes(image, shown), groundtruth))

    def test_what_was_found_lies_left_and_the_groundtruth_right(self):
        # The better one is drawn last.
        np.testing.assert_array_equal(self.images(example()), self.expected(self.CAT, self.DOG))

    @pytest.mark.parametrize("limit", [{"min_score": 0.5}, {"max_boxes": 1}])
    def test_only_the_best_are_shown(self, limit):
        np.testing.assert_array_equal(self.images(example(), **limit), self.expected(self.DOG))

    def test_nothing_found(self):
        np.testing.assert_array_equal(self.images(example(scores=())), self.expected())


def test_published_under_the_tags_of_the_api(tmp_path, capsys):
    pipeline = pipeline_pb2.TrainEvalPipelineConfig()
    pipeline.eval_input_reader.add(name="held_out")
    pipeline.eval_config.min_score_threshold = 0.5
    report.publish(evaluation(examples=[example(), example()]), pipeline, tmp_path / "run")

    assert capsys.readouterr().out == report.text(analysis(), 1.26) + "\n"
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["title"] == "run"
    events = EventAccumulator(str(tmp_path / "run" / "eval" / "held_out")).Reload()
    # What TensorFlow 2 writes as scalars and images are tensors to TensorBoard. There are no cats, and all is medium.
    measured = {name for name in NAMES if "(small)" not in name and "(large)" not in name}
    assert set(events.Tags()["tensors"]) == {
        *measured, "Loss/total_loss", "eval_side_by_side_0_0", "eval_side_by_side_1_0", "confusion_matrix",
        "precision_over_recall/dog", "DetectionBoxes_PerformanceByCategory/mAP/dog",
        "DetectionBoxes_Precision/mAP@.50IOU ByCategory/dog", "DetectionBoxes_Precision/mAP@.75IOU ByCategory/dog",
        "DetectionBoxes_Recall/AR@100 ByCategory/dog",
    }  # fmt: skip
    assert events.Tensors("Loss/total_loss")[0].step == 300


class TestComparison:
    def lines(self, first, second):
        return report.comparison_text(compare(first, second, CLASSES), "old").splitlines()

    def test_what_only_one_run_finds(self):
        # The dog of b.jpg was missed before, that of c.jpg is missed now.
        before = [result("a.jpg"), result("b.jpg", scores=()), result("c.jpg")]
        now = [result("a.jpg"), result("b.jpg"), result("c.jpg", scores=())]
        lines = self.lines(before, now)
        assert lines[0] == "Against old"
        assert lines[1].startswith("  mAP: 0.663 before, 0.663 now, +0.000, ")  # 67 of 101 points of recall
        assert lines[1].endswith(": no more than chance")
        assert lines[-1] == "  objects found at a score of 0.5: 1 that were not before, 1 no more"

    def test_more_than_chance(self):
        names = [f"{number}.jpg" for number in range(30)]
        lines = self.lines([result(name, scores=()) for name in names], [result(name) for name in names])
        assert lines[1].endswith(": more than chance")

    def test_one_image_tells_nothing(self):
        lines = self.lines([result()], [result()])
        assert lines[1] == "  mAP: 1.000 before, 1.000 now, +0.000; too few images to tell whether by chance"


def test_table_of_evaluations():
    one = evaluation()
    assert report.table_head(one).splitlines()[0] == "On 2 images with 2 objects"
    assert report.table_row(one).split() == ["300", "1.000", "1.000", "1.000", "1.000", "1.500"]
