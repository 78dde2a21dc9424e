import numpy as np
import pytest
from PIL import Image

from boxtune.data.reading import read
from boxtune.draw import HEIGHT, KINDS, MIN_VISIBLE, WIDTH, _scene, draw
from boxtune.errors import DataError


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
