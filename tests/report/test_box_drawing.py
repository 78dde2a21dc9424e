import numpy as np
import pytest
from PIL import Image

from boxtune.report.box_drawing import Box, draw_boxes, side_by_side, training_images

GREY = 90


def blank(width=200, height=100, mode="RGB"):
    return Image.new(mode, (width, height), GREY if mode == "L" else (GREY,) * 3)


def touched(image):
    """Return bool [h, w]: where an image is not blank any more."""
    return (np.asarray(image) != GREY).any(axis=-1)


def test_a_box_is_a_frame_in_its_place():
    drawn = touched(draw_boxes(blank(), [Box([0.2, 0.25, 0.8, 0.75], "")]))
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    # A normalised 1 is the last pixel: 0.2 * 99 = 19.8 and so on.
    np.testing.assert_allclose([rows[0], rows[-1]], [19.8, 79.2], atol=1)
    np.testing.assert_allclose([columns[0], columns[-1]], [49.75, 149.25], atol=1)
    assert not drawn[30:70, 60:140].any()
    assert drawn[20:79, 50].all()


def test_the_image_itself_is_not_drawn_on():
    image = blank()
    draw_boxes(image, [Box([0, 0, 1, 1], "x")])
    assert not touched(image).any()


def test_no_boxes():
    assert not touched(draw_boxes(blank(), [])).any()


def test_a_grey_image_is_drawn_on_in_color():
    drawn = draw_boxes(blank(mode="L"), [Box([0.2, 0.2, 0.8, 0.8], "")])
    assert drawn.mode == "RGB"
    assert touched(drawn).any()


def test_the_last_box_is_on_top():
    place = [0.2, 0.2, 0.8, 0.8]
    both = draw_boxes(blank(), [Box(place, "", 0), Box(place, "", 1)])
    assert both == draw_boxes(blank(), [Box(place, "", 1)])
    assert both != draw_boxes(blank(), [Box(place, "", 0)])


def test_there_is_a_color_for_every_class():
    colors = {draw_boxes(blank(), [Box([0, 0, 1, 1], "", number)]).getpixel((0, 0)) for number in range(10)}
    assert len(colors) == 10
    draw_boxes(blank(), [Box([0, 0, 1, 1], "", 12345)])


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([-0.5, -0.5, 1.5, 1.5], id="beyond the image"),
        pytest.param([0.5, 0.5, 0.5, 0.5], id="empty"),
        pytest.param([0.8, 0.7, 0.2, 0.1], id="the wrong way round"),
        pytest.param(np.float32([0.1, 0.1, 0.9, 0.9]), id="an array"),
    ],
)
@pytest.mark.parametrize("caption", ["", "raccoon 97%", "犬 αβγ", "a\nb", "very long " * 20])
def test_any_box_and_caption_can_be_drawn(box, caption):
    assert touched(draw_boxes(blank(), [Box(box, caption)])).any()
    assert draw_boxes(blank(3, 2), [Box(box, caption)]).size == (3, 2)


def test_the_caption_stands_above_its_box():
    box = [0.5, 0.25, 0.9, 0.75]
    added = touched(draw_boxes(blank(), [Box(box, "owl")])) & ~touched(draw_boxes(blank(), [Box(box, "")]))
    rows = np.flatnonzero(added.any(axis=1))
    assert rows[-1] <= 50
    assert rows[0] > 25


@pytest.mark.parametrize("corner", [[0, 0], [0, 0.95], [0.5, 0.95]])
def test_the_caption_stays_in_the_image(corner):
    box = [*corner, corner[0] + 0.05, corner[1] + 0.05]
    drawn = np.asarray(draw_boxes(blank(), [Box(box, "owl 99%")]))
    # All of its letters are white.
    white = (drawn == 255).all(axis=-1)
    whole = (np.asarray(draw_boxes(blank(), [Box([0.5, 0.2, 0.9, 0.9], "owl 99%")])) == 255).all(axis=-1)
    assert white.sum() == whole.sum() > 0


def test_side_by_side():
    joined = np.asarray(side_by_side(Image.new("RGB", (3, 2), "red"), Image.new("RGB", (5, 2), "blue")))
    assert joined.shape == (2, 3 + 4 + 5, 3)
    np.testing.assert_array_equal(joined[:, :3], np.broadcast_to([255, 0, 0], [2, 3, 3]))
    np.testing.assert_array_equal(joined[:, 3:7], np.full([2, 4, 3], 255))
    np.testing.assert_array_equal(joined[:, 7:], np.broadcast_to([0, 0, 255], [2, 5, 3]))


def test_training_images_have_their_boxes_and_no_padding():
    images = np.full([3, 40, 60, 3], GREY, np.float32)
    images[1] = 300.0  # brightened beyond what a pixel holds
    groundtruth = {
        "boxes": np.float32([[[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]]] * 3),
        "classes": np.int32([[1, 0]] * 3),
        "valid": np.array([[True, False]] * 3),
    }
    inputs = {"images": images, "groundtruth": groundtruth}
    first, second = training_images(inputs, {0: "cat", 1: "dog"}, count=2)
    assert (first.shape, first.dtype) == ((40, 60, 3), np.uint8)
    expected = draw_boxes(blank(60, 40), [Box([0.25, 0.25, 0.75, 0.75], "dog", 1)])
    np.testing.assert_array_equal(first, expected)
    assert (second[-1] == 255).all()
