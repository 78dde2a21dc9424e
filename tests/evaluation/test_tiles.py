"""What is found in tiles: in the frame of the image, each object once, and alike where there is nothing to cut."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxtune.data.image_record import ImageSource, Tile
from boxtune.data.tiling import Tiling
from boxtune.errors import DataError
from boxtune.evaluation import tiles
from boxtune.evaluation.found import Found, Source, pixels_of
from boxtune.evaluation.tiles import (
    MOST,
    cut_by,
    find_in_tiles,
    suppressed_across_tiles,
    tiled,
)

SIDE = 40
TILING = Tiling(SIDE, 0.25)


def bright(sources):
    """Find the bounding box of what is bright, scored by the fraction of 10 x 10 pixels that it fills."""
    for source in sources:
        pixels = pixels_of(source)
        rows, columns = np.nonzero(pixels[..., 0])
        size = pixels.shape[:2]
        if not len(rows):
            yield Found(source, size, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
            continue
        box = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
        scores = np.array([min(len(rows) / 100, 1)])
        yield Found(source, size, box[None] / np.tile(size, 2), np.array([0]), scores)


def image(height, width, *squares):
    """Return a black image with white rectangles (top, left, bottom, right)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for top, left, bottom, right in squares:
        pixels[top:bottom, left:right] = 255
    return Source("image", pixels, None)


def in_pixels(found):
    return np.round(found.boxes * np.tile(found.size, 2), 2).tolist()


def test_an_object_that_tiles_cut_is_found_once_and_whole():
    # Tiles of 40 by 40 lie at 0, 30 and 60. The square lies in the second alone; the first has its columns 34 to 40,
    # the third none. The whole and the second find all of it: they overlap completely, and one stays.
    (found,) = find_in_tiles(bright, TILING, [image(40, 100, (10, 34, 20, 44))])
    assert in_pixels(found) == [[10, 34, 20, 44]]
    assert found.scores.tolist() == [1]


def test_an_object_larger_than_a_tile_is_that_of_the_whole():
    (found,) = find_in_tiles(bright, TILING, [image(40, 100, (10, 5, 20, 95))])
    assert in_pixels(found) == [[10, 5, 20, 95]]


def test_two_objects_of_two_tiles_are_two_and_the_box_around_both_is_the_wholes_own():
    # The whole finds one box around both squares: another than each of them, so all three stay.
    (found,) = find_in_tiles(bright, TILING, [image(40, 100, (10, 5, 20, 15), (10, 80, 18, 88))])
    assert in_pixels(found) == [[10, 5, 20, 88], [10, 5, 20, 15], [10, 80, 18, 88]]
    assert found.scores.tolist() == [1, 1, 0.64]


def test_half_of_an_object_never_stands_in_for_all_of_it():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 4]], float)  # the second is 40 % of the first, and surer
    kept = suppressed_across_tiles(
        boxes, np.zeros(2, int), np.array([0.3, 0.9]), np.array([1, 2]), np.array([False, True])
    )
    assert kept.tolist() == [0]


def suppressed(one, other, *, cut=(False, False), classes=(0, 0), origin=(1, 2)):
    boxes = np.array([one, other], float)
    arrays = np.array(classes), np.array([0.9, 0.8]), np.array(origin), np.array(cut)
    return suppressed_across_tiles(boxes, *arrays).tolist() == [0]


def test_which_detections_show_the_same_object():
    whole, shifted, inside = [0, 0, 10, 10], [0, 3, 10, 13], [0, 2, 10, 6]
    assert suppressed(whole, shifted)  # 70 of 130: an IoU of 0.54
    assert not suppressed(whole, [0, 4, 10, 14])  # 60 of 140: 0.43
    assert not suppressed(whole, inside)  # 40 of 100: two objects, one before the other
    assert suppressed(whole, inside, cut=(False, True))  # all of a part
    assert suppressed(whole, [0, 8, 10, 12], cut=(False, True))  # 20 of 40: half of the part
    assert not suppressed(whole, [0, 9, 10, 13], cut=(False, True))  # 10 of 40
    assert not suppressed(whole, whole, classes=(0, 1))
    assert not suppressed(whole, whole, origin=(2, 2))  # of one tile: the model has decided
    assert not suppressed([0, 0, 0, 0], [0, 0, 0, 0])  # nothing is no object


def test_edges_that_cut_are_those_within_the_image():
    boxes = np.array(
        [[0, 0.3, 0.5, 0.7], [0.3, 0, 0.7, 0.5], [0.3, 0.3, 1, 0.7], [0.3, 0.3, 0.7, 1], [0.1, 0.1, 0.9, 0.9]]
    )
    corner, middle = Tile(0, 0, 40, 40), Tile(30, 30, 40, 40)
    assert cut_by(boxes, corner, (100, 100)).tolist() == [False, False, True, True, False]
    assert cut_by(boxes, middle, (100, 100)).tolist() == [True, True, True, True, False]
    assert not cut_by(boxes, Tile(0, 0, 100, 100), (100, 100)).any()


@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_what_is_kept_is_sorted_and_no_two_of_different_tiles_show_the_same(seed, count):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 30, (count, 2, 2)), axis=1)
    boxes = corners.reshape(count, 4).astype(float)
    classes, origin = rng.integers(0, 2, count), rng.integers(0, 4, count)
    scores, is_cut = rng.integers(0, 5, count) / 4, rng.random(count) < 0.5
    kept = suppressed_across_tiles(boxes, classes, scores, origin, is_cut)
    assert len(set(kept.tolist())) == len(kept)
    assert (np.diff(scores[kept]) <= 0).all()
    again = suppressed_across_tiles(*(part[kept] for part in (boxes, classes, scores, origin, is_cut)))
    assert sorted(again.tolist()) == list(range(len(kept)))
    if count:
        assert len(kept)


def one_by_one(boxes, classes, scores, origin, is_cut):
    """The rule as it is written: from the first to the last, each removes what shows the same object behind it."""
    waiting = sorted(range(len(boxes)), key=lambda one: (is_cut[one], -scores[one]))
    kept = []
    while waiting:
        one, *waiting = waiting
        kept.append(one)
        waiting = [
            other
            for other in waiting
            if classes[one] != classes[other]
            or origin[one] == origin[other]
            or not shows_same(boxes[one], boxes[other], cut=is_cut[one] or is_cut[other])
        ]
    return sorted(kept, key=lambda one: -scores[one])


def shows_same(one, other, *, cut):
    height, width = (
        min(one[2], other[2]) - max(one[0], other[0]),
        min(one[3], other[3]) - max(one[1], other[1]),
    )
    shared = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    of = min(areas) if cut else sum(areas) - shared
    return of > 0 and shared >= of / 2


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([1, 7, 10**6]))
def test_it_is_the_rule_one_by_one(seed, count, at_a_time):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.integers(0, 12, (count, 2, 2)), axis=1).reshape(count, 4).astype(float)
    arrays = rng.integers(0, 2, count), rng.integers(0, 9, count) / 8, rng.integers(0, 3, count)
    is_cut = rng.random(count) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_PAIRS", at_a_time)
        kept = suppressed_across_tiles(boxes, *arrays, is_cut).tolist()
    expected = one_by_one(boxes.tolist(), *(part.tolist() for part in (*arrays, is_cut)))
    assert sorted(kept) == sorted(expected)
    assert [arrays[1][one] for one in kept] == [arrays[1][one] for one in expected]


@given(
    st.integers(1, 130),
    st.integers(1, 130),
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.01, 1)),
)
def test_every_box_is_within_the_image_and_small_images_are_as_without_tiles(height, width, square):
    top, left = int(square[0] * height), int(square[1] * width)
    bottom, right = top + max(int(square[2] * height), 1), left + max(int(square[3] * width), 1)
    source = image(height, width, (top, left, bottom, right))
    (found,) = find_in_tiles(bright, TILING, [source])
    (plain,) = bright([source])
    assert found.source is source
    assert found.size == (height, width)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= 1).all()
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
    if max(height, width) <= SIDE:
        for one, other in zip(found, plain, strict=True):
            assert one is other or np.array_equal(one, other)
    # The object is always among what is found: the whole sees it.
    assert np.isclose(found.boxes, plain.boxes, atol=1e-6).all(axis=1).any()


def test_tiles_of_all_images_are_one_stream_and_few_images_are_read_ahead(tmp_path):
    for number in range(6):
        Image.new("RGB", (100, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    read, names = [], []

    def sources():
        for number in range(6):
            read.append(number)
            yield Source(f"{number}", ImageSource(tmp_path / f"{number}.png"), None)

    def find(parts):
        assert isinstance(parts, Iterator)
        for part in parts:
            names.append(part.name)
            yield from bright([part])

    found = find_in_tiles(find, TILING, sources())
    first = next(found)
    assert first.source.name == "0"
    assert read == [0]
    assert names == ["0", *(f"0 (tile y0 x{left} of 40x40)" for left in (0, 30, 60))]
    assert [one.source.name for one in found] == ["1", "2", "3", "4", "5"]


def test_at_most_so_many_detections_are_kept_of_an_image_with_tiles():
    def find(sources):
        for source in sources:
            rng = np.random.default_rng(len(source.name))
            starts = rng.random((600, 2)) * 0.9
            scores = np.sort(rng.random(600))[::-1]
            yield Found(
                source, source.image.shape[:2], np.hstack([starts, starts + 0.01]), np.zeros(600, int), scores
            )

    (found,) = find_in_tiles(find, TILING, [image(40, 100)])
    assert len(found.scores) == MOST
    assert (np.diff(found.scores) <= 0).all()


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken\.png: "):
        list(find_in_tiles(bright, TILING, [Source("broken", ImageSource(tmp_path / "broken.png"), None)]))


def test_without_a_tiling_what_finds_is_itself():
    assert tiled(bright, None) is bright
    (found,) = tiled(bright, TILING)([image(40, 100, (10, 34, 20, 44))])
    assert len(found.scores) == 1
    assert list(tiled(bright, TILING)([])) == []
