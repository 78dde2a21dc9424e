"""Images in the pipeline, without a server: given up, in turn, and within the pixels that may be in memory."""

import gc
import threading
import weakref

import numpy as np
import pytest

import patience
from boxtune.evaluation.min_scores import same_for_all
from boxtune.serving.bodies import Upload
from boxtune.serving.limits import Limits, RefusedError
from boxtune.serving.metrics import Metrics
from boxtune.serving.pipeline import Pipeline
from serving.red_model import picture
from serving.running import HeldModel

pytestmark = pytest.mark.usefixtures("graphs_as_traced")
ALL = same_for_all(0.0, "min_score")


def images(*reds, **options):
    return [Upload(f"{red}.png", picture(red, **options)) for red in reds]


def test_the_end_gives_up_what_waits_and_lets_end_what_is_under_way(held):
    with Pipeline(held, Limits(), Metrics(), batch_size=2) as pipeline:
        held.may_go_on.clear()
        first = pipeline.submit(images(1), ALL)
        assert held.asked.wait(patience.SECONDS)
        others = pipeline.submit(images(*range(2, 20)), ALL)
        threading.Timer(0.05, held.may_go_on.set).start()
    assert first[0].result().detections[0].score == pytest.approx(1 / 255)
    assert all(other.cancelled() for other in others)


def test_images_that_are_given_up_are_not_looked_at(held):
    with Pipeline(held, Limits(), Metrics(), batch_size=2) as pipeline:
        with held.holding():
            first = pipeline.submit(images(1), ALL)
            assert held.asked.wait(patience.SECONDS)
            others = pipeline.submit(images(*range(2, 20)), ALL)
            last = pipeline.submit(images(20), ALL)
            for other in others:
                assert other.cancel()
        assert [future.result().width for future in first + last] == [40, 40]
    assert held.given == [1, 1]


def test_no_more_pixels_are_decoded_than_may_be_in_memory(held):
    with Pipeline(held, Limits(image_pixels=2000), Metrics(), batch_size=1) as pipeline:
        with held.holding():
            futures = pipeline.submit(images(*range(8)), ALL)  # 800 pixels each
            assert held.asked.wait(patience.SECONDS)
            patience.wait_until(lambda: pipeline._decoded.qsize() == 1)
            assert pipeline._pixels._free == 400
        assert [round(255 * future.result().detections[0].score) for future in futures] == [*range(8)]
        patience.wait_until(lambda: pipeline._pixels._free == 2000)


def test_an_image_of_all_pixels_is_not_passed_by_small_ones(held):
    with Pipeline(held, Limits(image_pixels=2000), Metrics(), batch_size=1) as pipeline:
        large = images(9, width=100, height=20)
        futures = pipeline.submit([*images(*range(6)), *large, *images(*range(6))], ALL)
        assert [future.result().width for future in futures] == [40] * 6 + [100] + [40] * 6


def test_nothing_of_an_image_stays_in_memory(model):
    """Not even until Python looks for circles of objects."""

    class Data(bytes):
        pass

    with Pipeline(model, Limits(), Metrics()) as pipeline:
        gc.disable()
        try:
            for content in (picture(1), b"text", picture(1)[:40]):
                data = Data(content)
                (future,) = pipeline.submit([Upload("a.png", data)], ALL)
                gone = weakref.ref(future)
                future.exception(patience.SECONDS)
                del future
                patience.wait_until(lambda gone=gone: gone() is None)
        finally:
            gc.enable()


def test_what_a_model_finds_is_what_is_answered(held):
    with Pipeline(held, Limits(), Metrics()) as pipeline:
        (future,) = pipeline.submit(images(200), same_for_all(0.5, "min_score"))
        answer = future.result()
    assert (answer.width, answer.height) == (40, 20)
    assert [one.score for one in answer.detections] == pytest.approx([200 / 255])
    assert answer.seconds > 0


def test_a_broken_model_shows_before_it_serves(held, monkeypatch):
    monkeypatch.setattr(HeldModel, "__call__", lambda *_, **__: np.zeros(1) / "no")
    with pytest.raises(TypeError), Pipeline(held, Limits(), Metrics()):
        pass
    assert threading.active_count() < 100


def test_an_unreadable_image_says_its_name_and_why(held):
    with Pipeline(held, Limits(), Metrics()) as pipeline:
        (future,) = pipeline.submit([Upload("owl.jpg", b"<html>")], ALL)
        with pytest.raises(RefusedError, match=r"owl\.jpg: it cannot be decoded: it is a web page \(HTML\)"):
            future.result()
