"""Images that were taken one right after the other."""

import numpy as np
import pytest

from boxtune.data.bursts import bursts


def looks(*scenes):
    """Return thumbnails of images that show a scene by its number, each with a little noise of its own."""
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (max(scenes) + 1, 256))
    return np.clip(known[list(scenes)] + rng.normal(0, 5, (len(scenes), 256)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # Two seconds apart; then five.
        (["20180106_111507.jpg", "20180106_111509.jpg", "20180106_111514.jpg"], [0, 0, 2]),
        # Over midnight.
        (["IMG_20201231_235959.jpg", "IMG_20210101_000001.jpg"], [0, 0]),
        (["cam 2021-03-04 12.30.15.250.png", "cam 2021-03-04 12.30.19.png"], [0, 1]),
        # Milliseconds and microseconds since 1970.
        (["a/1591234567123.jpg", "a/1591234569900.jpg", "a/1591234573.000001.jpg"], [0, 0, 2]),
        # Of other folders, or other cameras.
        (["a/20180106_111507.jpg", "b/20180106_111507.jpg"], [0, 1]),
        (["left_20180106_111507.jpg", "right_20180106_111507.jpg"], [0, 1]),
        # Versions of one frame, and the next frame.
        (
            [
                f"20180106_111507_jpg.rf.{'0' * 32}.jpg",
                f"20180106_111507_jpg.rf.{'1' * 32}.jpg",
                f"20180106_111508_jpg.rf.{'2' * 32}.jpg",
            ],
            [0, 0, 0],
        ),
        # No time: there is no 30th of February, and no hour 25.
        (["20180230_111507.jpg", "20180106_251507.jpg"], [0, 1]),
    ],
)
def test_times_in_names(names, expected):
    others = [f"other{'x' * n}.jpg" for n in range(3 * len(names))]  # so that no burst is most of the set
    found = bursts([*names, *others], looks(*range(4 * len(names))))
    assert found[: len(names)] == expected
    assert found[len(names) :] == list(range(len(names), 4 * len(names)))


def test_consecutive_numbers_are_a_burst_if_they_look_alike():
    names = [
        "frame_9.jpg",
        "frame_10.jpg",
        "frame_11.jpg",
        "frame_13.jpg",
        "film/frame_12.jpg",
        "a.jpg",
        "b.jpg",
    ]
    # 9 and 10 show one scene, 11 another; 13 comes two later, and 12 is in another folder.
    assert bursts(names, looks(0, 0, 1, 1, 1, 2, 3)) == [0, 0, 2, 3, 4, 5, 6]


def test_what_all_images_share_makes_them_no_burst():
    """A camera that does not move: what is before it counts."""
    rng = np.random.default_rng(0)
    scene = rng.integers(50, 200, 256)
    images = np.tile(scene, (40, 1))
    for number, image in enumerate(images):
        image[6 * number : 6 * number + 6] += 50  # something passes
    names = [f"frame{number}.jpg" for number in range(40)]
    assert bursts(names, images.astype(np.uint8)) == list(range(40))


def test_a_film_is_cut():
    """Of 40 frames, one burst, each twentieth is on its own; 19 others are left as they are."""
    film = [f"20180106_1115{second:02}.jpg" for second in range(40)]
    others = [f"{'x' * n}.jpg" for n in range(1, 20)]
    found = bursts(film + others, looks(*range(59)))
    assert found[:6] == [0, 0, 2, 2, 4, 4]  # 59 // 20 is 2
    assert found[40:] == list(range(40, 59))


def test_one_time_for_all_says_nothing():
    names = [f"export_20180106_111507_{number:03}.jpg" for number in range(30)]
    assert bursts(names, looks(*range(30))) == list(range(30))


def test_few_images():
    assert bursts([], np.zeros((0, 256), np.uint8)) == []
    assert bursts(["20180106_111507.jpg"], looks(0)) == [0]
