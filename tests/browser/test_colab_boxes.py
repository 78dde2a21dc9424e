"""The page on which boxes are drawn in Google Colab, in a real browser without Colab."""

import json

import numpy as np

from object_detection.utils import colab_utils

COLAB = """<script>
window.google = { colab: { kernel: { invokeFunction: async (...sent) => { window.sent = sent; } } } };
</script>"""


def test_boxes_are_drawn_with_the_mouse_and_submitted(visit, tmp_path):
    images = [np.full((40, 80, 3), 120, np.uint8), np.full((60, 60, 3), 50, np.uint8)]
    content = {"images": [colab_utils.image_from_numpy(image) for image in images], "callback": "mine"}
    text = colab_utils.PAGE.read_text(encoding="utf-8").replace("{{content}}", json.dumps(content))
    (tmp_path / "page.html").write_text(COLAB + text, encoding="utf-8")
    page = visit(tmp_path / "page.html")
    page.wait_for_function("document.querySelector('canvas').width === 80")
    frame = page.locator("canvas").bounding_box()
    page.mouse.move(frame["x"] + 60, frame["y"] + 30)
    page.mouse.down()
    page.mouse.move(frame["x"] + 20, frame["y"] + 10)
    page.mouse.up()
    assert page.locator(".count").inner_text() == "Image 1 of 2, boxes: 1"
    page.click("text=Next")
    page.wait_for_function("document.querySelector('canvas').width === 60")
    page.click("text=Submit")
    page.wait_for_function("window.sent")
    callback, [[[box], others]], _ = page.evaluate("window.sent")
    assert (callback, others) == ("mine", [])
    np.testing.assert_allclose([box[name] for name in "xywh"], [0.25, 0.25, 0.5, 0.5], atol=0.02)
