"""Training on tiles: which objects a tile shows, where they lie in it, and that everything is counted."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxtune.data import findings as kinds
from boxtune.data import geometry, images, masks
from boxtune.data.cutting import Cutting, cut_parts, visible
from boxtune.data.findings import Findings
from boxtune.data.image_record import Box, ImageRecord, ImageSource, Keypoint, ObjectRecord, Tile, within
from boxtune.data.masks import Mask
from boxtune.data.tiling import Tiling
from boxtune.errors import ConfigError, DataError

WIDTH, HEIGHT = 100, 40  # tiles of 40 pixels lie at 0, 30 and 60
CUTTING = Cutting(Tiling(40, 0.25))
TILES = ["a_y0_x0_40x40.jpg", "a_y0_x30_40x40.jpg", "a_y0_x60_40x40.jpg"]
ROOT = Path("set")


def square(top, left, bottom, right, name="cat", **more):
    return ObjectRecord(name, Box(top / HEIGHT, left / WIDTH, bottom / HEIGHT, right / WIDTH), **more)


def record(*objects, name="a.jpg", size=(HEIGHT, WIDTH)):
    return ImageRecord(name, ImageSource(ROOT / name), "a.xml", size[1], size[0], objects)


def cut(*objects, cutting=CUTTING, part="validation", **options):
    """Return the tiles of an image by their names, without the whole; what was counted, and the findings."""
    findings = Findings(ROOT)
    parts, counts = cut_parts({part: [record(*objects)]}, cutting, findings, **options)
    whole, *tiles = parts[part]
    assert whole == record(*objects)  # nothing is too small in it
    return {tile.name: tile for tile in tiles}, counts[part], findings.items


def in_pixels(item, height=40, width=40):
    return [round(side * by, 6) for side, by in zip(item.box, (height, width) * 2, strict=True)]


def test_an_object_moves_into_every_tile_that_shows_enough_of_it():
    # Columns 34 to 44: 6 of 10 in the first tile, all in the second, none in the third, which begins at 60.
    tiles, counts, _ = cut(square(10, 34, 20, 44))
    assert list(tiles) == TILES
    (first,), (second,), third = (tiles[name].objects for name in TILES)
    assert (in_pixels(first), first.truncated, first.weight) == ([10, 34, 20, 40], True, 1)
    assert (in_pixels(second), second.truncated) == ([10, 4, 20, 14], False)
    assert third == ()
    assert (counts.images, counts.cut, counts.tiles, counts.background) == (1, 1, 3, 1)
    assert (counts.objects, counts.cut_objects, counts.ignored, counts.only_whole) == (1, 1, 0, 0)


def test_what_is_less_visible_counts_neither_as_right_nor_as_wrong():
    # Columns 36 to 46: 4 of 10 in the first tile, which is below a half.
    tiles, counts, _ = cut(square(10, 36, 20, 46))
    (first,) = tiles[TILES[0]].objects
    assert in_pixels(first) == [10, 36, 20, 40]
    assert (first.weight, first.is_crowd, first.difficult, first.truncated) == (0, True, True, True)
    assert (counts.objects, counts.cut_objects, counts.ignored, counts.background) == (1, 0, 1, 2)


def test_where_the_format_cannot_say_that_it_is_left_out_and_counted():
    tiles, counts, findings = cut(square(10, 36, 20, 46), can_ignore=False)
    assert tiles[TILES[0]].objects == ()
    assert counts.ignored == 1
    assert "of 1 less than 0.5 is visible (left out, as the format cannot" in findings[-1].message


@pytest.mark.parametrize(("min_visible", "is_object"), [(0.4, True), (0.41, False)])
def test_the_fraction_is_the_users(min_visible, is_object):
    tiles, _, _ = cut(square(10, 36, 20, 46), cutting=Cutting(CUTTING.tiling, min_visible))
    (first,) = tiles[TILES[0]].objects
    assert (first.weight > 0) == is_object


def test_an_object_in_no_tile_is_named():
    _, counts, findings = cut(square(5, 0, 35, 100, "road"))  # 40 of 100 columns in each tile
    assert (counts.only_whole, counts.ignored) == (1, 3)
    (finding,) = [one for one in findings if one.kind == kinds.ONLY_IN_WHOLE]
    assert finding.message == "road of 100x30 pixels is in no tile to 0.5."
    assert (finding.file, finding.image) == ("a.xml", "a.jpg")


def test_what_is_too_small_in_the_whole_counts_in_tiles_alone():
    # The whole is scaled by 0.4, to the 40 pixels of a tile: 9 x 9 become 3.6, 11 x 11 become 4.4.
    small, large, crowd = square(0, 0, 9, 9), square(0, 15, 11, 26), square(20, 0, 25, 5, is_crowd=True)
    for can_ignore in (True, False):
        parts, counts = cut_parts(
            {"validation": [record(small, large, crowd)]}, CUTTING, Findings(ROOT), can_ignore=can_ignore
        )
        ignored = [(0, True)] if can_ignore else []
        whole, first = parts["validation"][:2]
        assert [(item.weight, item.is_crowd) for item in whole.objects] == [*ignored, (1, False), (1, True)]
        assert [(item.weight, item.is_crowd) for item in first.objects] == [(1, False), (1, False), (1, True)]
        assert counts["validation"].too_small == 1
        assert parts["whole"] == [record(small, large, crowd)]


def test_crowds_and_groups_stay_what_they_are_however_little_is_visible():
    tiles, counts, _ = cut(square(5, 0, 35, 100, is_crowd=True), square(0, 0, 5, 100, group_of=True))
    for tile in tiles.values():
        crowd, group = tile.objects
        assert (crowd.is_crowd, crowd.weight, group.group_of, group.is_crowd) == (True, 1, True, False)
    assert (counts.ignored, counts.only_whole) == (0, 0)


def test_an_image_that_is_not_larger_stays_as_it_is():
    small = record(square(1, 1, 9, 9), size=(40, 40))
    findings = Findings(ROOT)
    parts, counts = cut_parts({"train": [small], "validation": [small]}, CUTTING, findings)
    assert parts == {"train": [small], "validation": [small]}  # and no part of whole images
    assert counts["train"].tiles == 0
    assert [one.kind for one in findings.items] == [kinds.NOTHING_CUT] * 2


def test_validation_is_kept_whole_too_and_tests_are_not_cut():
    image = record(square(10, 34, 20, 44))
    parts, counts = cut_parts(
        {"train": [image], "validation": [image], "test": [image]}, CUTTING, Findings(ROOT)
    )
    assert [len(parts[name]) for name in ("train", "validation", "whole", "test")] == [4, 4, 1, 1]
    assert list(counts) == ["train", "validation"]


def test_of_tiles_without_an_object_as_many_stay_as_there_are_others():
    # 2 tiles with the object, 17 without: of these 2 are drawn.
    image = record(square(2, 30, 5, 33), name="a.jpg", size=(40, 600))
    made = {}
    for seed in (0, 1):
        findings = Findings(ROOT)
        parts, counts = cut_parts({"train": [image]}, CUTTING, findings, seed=seed)
        again, _ = cut_parts({"train": [image]}, CUTTING, Findings(ROOT), seed=seed)
        assert parts == again
        made[seed] = [one.name for one in parts["train"]]
        one = counts["train"]
        with_object = one.tiles - one.background
        assert one.background == with_object
        assert one.tiles + one.background_left_out == len(CUTTING.tiling.tiles(40, 600))
        assert f"{one.background_left_out} more left out" in findings.items[-1].message
        assert len(made[seed]) == 1 + one.tiles
    assert made[0] != made[1]


def test_no_two_images_get_the_same_name():
    taken = record(name=TILES[1], size=(20, 20))
    for order in (1, -1):
        found = [taken, record()][::order]
        parts, _ = cut_parts({"validation": found}, CUTTING, Findings(ROOT))
        names = [one.name for one in parts["validation"]]
        assert len(set(names)) == len(names) == 5
        assert {"a.jpg", TILES[0], TILES[1], "a_y0_x30_40x40-2.jpg", TILES[2]} == set(names)


def test_areas_masks_and_keypoints_move_along():
    # Half of a square of 10 columns from 35 on, whose right half is drawn as a mask; a point in the part, one outside.
    polygon = (0.4, 0.25, 0.45, 0.25, 0.45, 0.5, 0.4, 0.5)  # x from 40 to 45, y from 10 to 20
    points = (Keypoint("in", 15 / HEIGHT, 38 / WIDTH), Keypoint("out", 15 / HEIGHT, 44 / WIDTH))
    item = square(10, 35, 20, 45, area=80, mask=Mask(polygons=(polygon,)), keypoints=points)
    tiles, _, _ = cut(item)
    (first,), (second,) = (tiles[name].objects for name in TILES[:2])
    assert first.area == pytest.approx(40)
    assert first.mask is None  # nothing of it is in the tile
    assert first.keypoints == (Keypoint("in", 15 / 40, pytest.approx(38 / 40)), Keypoint("out", 0, 0, 0))
    assert second.area == 80
    assert second.mask.polygons[0] == pytest.approx((0.25, 0.25, 0.375, 0.25, 0.375, 0.5, 0.25, 0.5))
    assert second.keypoints[1] == Keypoint("out", 15 / 40, pytest.approx(14 / 40))


@given(st.integers(0, 2**32 - 1), st.integers(0, 28), st.integers(0, 28), st.booleans())
def test_a_mask_is_cut_as_its_pixels_are(seed, top, left, as_grid):
    rng = np.random.default_rng(seed)
    tile, size = Tile(top, left, 12, 12), (40, 40)
    if as_grid:
        array = rng.integers(0, 2, size).astype(np.uint8)
        mask = masks.from_array(array)
    else:
        corners = np.sort(rng.integers(0, 41, (2, 2)), axis=0)  # a rectangle of whole pixels
        (y0, x0), (y1, x1) = corners.tolist()
        array = np.zeros(size, np.uint8)
        array[y0:y1, x0:x1] = 1
        mask = Mask(polygons=(tuple(v / 40 for v in (x0, y0, x1, y0, x1, y1, x0, y1)),))
    expected = array[top : top + 12, left : left + 12]
    found = masks.cropped(mask, tile, *size)
    drawn = np.zeros((12, 12), np.uint8) if found is None else masks.to_array(found, 12, 12)
    if as_grid:
        np.testing.assert_array_equal(drawn, expected)
    else:
        assert (
            np.abs(drawn.astype(int) - expected).sum() <= 48
        )  # COCO draws edges of polygons by its own rule


FRACTIONS = st.floats(0, 1, width=32)


@given(st.tuples(*[FRACTIONS] * 4), st.integers(0, 60), st.integers(0, 60))
def test_boxes_move_as_in_geometry_and_back(edges, top, left):
    box = Box(*sorted(edges[:2])[:1], *sorted(edges[2:])[:1], *sorted(edges[:2])[1:], *sorted(edges[2:])[1:])
    tile, size = Tile(top, left, 40, 40), (100, 100)
    window = Box(top / 100, left / 100, tile.bottom / 100, tile.right / 100)
    moved = within(box, window)
    frame = geometry.Window((top, left), (40, 40), size)
    np.testing.assert_allclose(moved, geometry.to_window(np.float32([box]), frame)[0], atol=1e-5)
    np.testing.assert_allclose(geometry.from_window(np.float32([moved]), frame)[0], box, atol=1e-5)


@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 2**32 - 1), st.floats(0.05, 1))
def test_every_object_stays_within_its_tile_and_none_is_lost(height, width, seed, min_visible):
    rng = np.random.default_rng(seed)
    objects = []
    for _ in range(4):
        (ymin, xmin), (ymax, xmax) = np.sort(rng.random((2, 2)), axis=0).tolist()
        objects.append(ObjectRecord("cat", Box(ymin, xmin, ymax, xmax)))
    image = record(*objects, size=(height, width))
    cutting = Cutting(Tiling(32, 0.3), min_visible)
    parts, counts = cut_parts({"validation": [image]}, cutting, Findings(ROOT))
    made, one = parts["validation"], counts["validation"]
    assert replace(made[0], objects=()) == replace(image, objects=())
    assert [item.box for item in made[0].objects] == [item.box for item in objects]
    assert len(made) == 1 + one.tiles
    for tile in made[1:]:
        assert (tile.crop.height, tile.crop.width) == (tile.height, tile.width)
        for item in tile.objects:
            assert 0 <= item.box.ymin < item.box.ymax <= 1
            assert 0 <= item.box.xmin < item.box.xmax <= 1
    assert one.objects + one.cut_objects + one.ignored == sum(len(tile.objects) for tile in made[1:])
    shown = {
        number
        for number, item in enumerate(objects)
        for tile in made[1:]
        if visible(item.box, tile.crop, image) >= min_visible
    }
    assert one.only_whole == (4 - len(shown) if one.cut else 0)


# Pixels


def photo(folder, name="a.jpg", size=(WIDTH, HEIGHT), mode="RGB", **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(folder / name, **options)
    return folder / name


def decoded(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded.data)).convert("RGB"))


@pytest.mark.parametrize(
    ("name", "mode", "becomes"), [("a.png", "RGB", "png"), ("a.bmp", "RGB", "png"), ("a.png", "L", "png")]
)
def test_the_pixels_of_a_tile_are_those_of_its_image(tmp_path, name, mode, becomes):
    path = photo(tmp_path, name, mode=mode)
    image = ImageRecord(name, ImageSource(path), "a.xml", WIDTH, HEIGHT, ())
    parts, _ = cut_parts({"validation": [image]}, CUTTING, Findings(tmp_path))
    pixels = np.asarray(Image.open(path).convert("RGB"))
    for one, encoded in images.encode_records(parts["validation"][1:]):
        tile = one.crop
        assert encoded.format == becomes
        np.testing.assert_array_equal(
            decoded(encoded), pixels[tile.top : tile.bottom, tile.left : tile.right]
        )


def test_an_image_is_decoded_once_for_its_tiles_and_turned_upright(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # the right side becomes the bottom
    path = photo(tmp_path, size=(HEIGHT, WIDTH), exif=exif, quality=95)
    image = ImageRecord("a.jpg", ImageSource(path), "a.xml", WIDTH, HEIGHT, (), orientation=6)
    parts, _ = cut_parts({"validation": [image]}, CUTTING, Findings(tmp_path))
    read = Counter()
    read_bytes = images.read_bytes

    def counted(source):
        read[source] += 1
        return read_bytes(source)

    monkeypatch.setattr(images, "read_bytes", counted)
    encoded = list(images.encode_records(parts["validation"]))
    assert read == {image.source: 2}  # the whole, and all tiles
    assert [one.format for _, one in encoded] == ["jpeg"] * 4
    whole = decoded(encoded[0][1]).astype(int)
    assert whole.shape == (HEIGHT, WIDTH, 3)
    for one, part in encoded[1:]:
        tile = one.crop
        expected = whole[tile.top : tile.bottom, tile.left : tile.right]
        assert np.abs(decoded(part) - expected).mean() < 15  # both were compressed once more


@pytest.mark.parametrize("size", [(1, 700), (700, 1), (30_000, 20)])
def test_strips_are_cut(tmp_path, size):
    width, height = size
    path = photo(tmp_path, "a.png", size=size)
    item = ObjectRecord("cat", Box(0, 0, 1, 1))
    image = ImageRecord("a.png", ImageSource(path), "a.xml", width, height, (item,))
    parts, counts = cut_parts({"validation": [image]}, Cutting(Tiling(640, 0.2)), Findings(tmp_path))
    pixels = np.asarray(Image.open(path))
    assert counts["validation"].tiles == len(parts["validation"]) - 1 > 0
    for one, encoded in images.encode_records(parts["validation"][1:]):
        tile = one.crop
        np.testing.assert_array_equal(
            decoded(encoded), pixels[tile.top : tile.bottom, tile.left : tile.right]
        )
        (part,) = one.objects
        assert part.box == pytest.approx((0, 0, 1, 1))


def test_an_image_that_is_gone_by_then_is_named(tmp_path):
    image = ImageRecord("a.jpg", ImageSource(tmp_path / "a.jpg"), "a.xml", WIDTH, HEIGHT, ())
    parts, _ = cut_parts({"validation": [image]}, CUTTING, Findings(tmp_path))
    with pytest.raises(DataError, match=r"a\.jpg: it cannot be read"):
        list(images.encode_records(parts["validation"][1:]))


@pytest.mark.parametrize("value", [0, -0.5, 1.1, float("nan")])
def test_a_fraction_that_cannot_be_is_refused(value):
    with pytest.raises(ConfigError, match=r"^--min_visible is .*such as 0\.5"):
        Cutting(CUTTING.tiling, value)


def test_too_many_tiles_name_the_image():
    with pytest.raises(ConfigError, match=r"^sky\.jpg of 9000x9000 .*give --tile"):
        cut_parts({"train": [record(name="sky.jpg", size=(9000, 9000))]}, CUTTING, Findings(ROOT))
