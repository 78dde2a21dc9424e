import numpy as np
import pytest
from PIL import Image

from boxtune.data.reading import read
from boxtune.draw import HEIGHT, KINDS, MIN_VISIBLE, WIDTH, _scene, draw
from boxtune.errors import DataError

EARLIER = [
    [2, 221, 88, 308],
    [181, 104, 230, 154],
    [143, 236, 232, 320],
    [96, 62, 194, 165],
    [88, 89, 166, 166],
    [0, 222, 32, 260],
    [125, 0, 167, 32],
]


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_what_is_drawn_is_a_faultless_data_set(tmp_path):
    report = draw(tmp_path, num_images=30)
    reading = read(tmp_path, num_workers=1)
    assert reading.findings == ()
    assert len(reading.images) == report.images == 30
    objects = [item for image in reading.images for item in image.objects]
    assert len(objects) == sum(report.classes.values())
    assert {item.class_name for item in objects} == set(report.classes) == set(KINDS)
    assert all(image.objects for image in reading.images)
    assert any(item.truncated for item in objects)
    with Image.open(reading.images[0].source.path) as image:
        assert (image.size, image.mode, image.format) == ((WIDTH, HEIGHT), "RGB", "JPEG")


def test_the_seed_decides_and_more_images_do_not_change_the_first(tmp_path):
    draw(tmp_path / "one", num_images=3, seed=5)
    draw(tmp_path / "two", num_images=4, seed=5)
    draw(tmp_path / "three", num_images=3, seed=6)
    one, two, three = (content(tmp_path / name) for name in ("one", "two", "three"))
    assert one.items() <= two.items()
    assert not one.items() & three.items()


def test_images_of_an_earlier_call_go_and_nothing_else(tmp_path):
    draw(tmp_path, num_images=4)
    (tmp_path / "images" / "mine.jpg").touch()
    draw(tmp_path, num_images=2, seed=1)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "mine.jpg",
        "practice-0001.jpg",
        "practice-0002.jpg",
    ]
    assert len(list((tmp_path / "annotations").iterdir())) == 2


@pytest.mark.parametrize("seed", range(8))
def test_boxes_are_tight_and_enough_is_seen_of_everything(seed):
    scene = _scene(np.random.default_rng(seed))
    for number, thing in enumerate(scene.things):
        xmin, ymin, xmax, ymax = scene.box(number)
        seen = scene.seen == number
        within = seen[ymin:ymax, xmin:xmax]
        assert within.sum() == seen.sum() >= MIN_VISIBLE * thing.area
        assert within[0].any()
        assert within[-1].any()
        assert within[:, 0].any()
        assert within[:, -1].any()


@pytest.mark.parametrize("num_images", [0, -1, 10_000])
def test_a_number_out_of_range_is_refused(tmp_path, num_images):
    with pytest.raises(DataError, match=f"{num_images} images cannot be drawn"):
        draw(tmp_path, num_images=num_images)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written to"):
        draw(tmp_path / "file", num_images=1)


def test_small_objects_in_large_images(tmp_path):
    report = draw(tmp_path, num_images=2, size=1000, object_size=(12, 28), objects=20)
    assert sum(report.classes.values()) == 40
    reading = read(tmp_path, num_workers=1)
    assert reading.findings == ()
    for image in reading.images:
        assert (image.width, image.height) == (1000, 750)
        for item in image.objects:
            box = item.box
            height, width = (box.ymax - box.ymin) * 750, (box.xmax - box.xmin) * 1000
            assert min(height, width) >= 4
            assert max(height, width) <= 30  # a pixel more on both sides, where an edge is soft


def test_objects_that_find_no_room_are_left_out(tmp_path):
    report = draw(tmp_path, num_images=1, size=64, object_size=(32, 32), objects=500)
    assert 1 <= sum(report.classes.values()) < 50


def test_boxes_are_those_of_earlier_versions(tmp_path):
    draw(tmp_path, num_images=2, seed=3)
    boxes = [
        [round(edge * side) for edge, side in zip(item.box, (HEIGHT, WIDTH) * 2, strict=True)]
        for image in read(tmp_path, num_workers=1).images
        for item in image.objects
    ]
    assert boxes == EARLIER


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 63}, "images of 63 pixels cannot be drawn: from 64 to 8000 can"),
        ({"size": 8001}, "images of 8001 pixels"),
        ({"object_size": (5, 20)}, "objects of 5 to 20 pixels cannot be drawn in images of 320: from 6 to 160 can"),
        ({"object_size": (20, 10)}, "objects of 20 to 10 pixels .* the smallest first"),
        ({"object_size": (20, 161)}, "objects of 20 to 161 pixels"),
        ({"object_size": (float("nan"), 20)}, "objects of nan to 20 pixels"),
        ({"objects": 0}, "0 objects in an image cannot be drawn: from 1 to 500 can"),
        ({"objects": 501}, "501 objects"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(tmp_path, options, said):
    with pytest.raises(DataError, match=said):
        draw(tmp_path, num_images=1, **options)
