"""Images that were taken one right after the other."""

from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from boxtune.data import findings as kinds
from boxtune.data import images
from boxtune.data.bursts import bursts
from boxtune.data.image_record import ImageSource
from boxtune.data.preparation import Options, prepare
from voc_folder import annotated, annotation, element, image_file


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


def test_times_of_exif_count_whatever_the_names_are():
    """Two seconds apart in one folder; the same second in another folder is another camera."""
    names = ["b/x.jpg", "b/a.jpg", "b/k.jpg", "c/k.jpg", "b/IMG_1.jpg", "b/IMG_2.jpg"]
    times = [100.0, 102.0, 106.0, 100.0, None, None]
    assert bursts(names, looks(*range(6)), times) == [0, 0, 2, 3, 4, 5]


def test_times_are_read_from_photographs(tmp_path):
    """Three photographs: two in one second, at .25 and .75, and one of which the time is nonsense."""
    for name, written, fraction in [
        ("x", "2024:05:06 07:08:09", "25"),
        ("a", "2024:05:06 07:08:09", "75"),
        ("n", "0000:00:00 00:00:00", None),
    ]:
        exif = Image.Exif()
        photo = exif.get_ifd(0x8769)
        photo[0x9003] = written
        if fraction:
            photo[0x9291] = fraction
        image_file(tmp_path / f"{name}.jpg", exif=exif)
        annotation(tmp_path / f"{name}.xml", element())
    for n in range(4):
        annotated(tmp_path, "other" + "x" * n)
    taken = images.inspect(ImageSource(tmp_path / "x.jpg")).taken
    assert taken == datetime(2024, 5, 6, 7, 8, 9, 250000, tzinfo=UTC).timestamp()
    assert images.inspect(ImageSource(tmp_path / "n.jpg")).taken is None
    prepared = prepare(tmp_path, Options(num_workers=1))
    (found,) = [one for one in prepared.findings if one.kind == kinds.BURSTS]
    assert found.message == "2 images in 1 series; 2 from x.jpg on."
