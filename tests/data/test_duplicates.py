import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxtune.data.duplicates import MIN_SIDE, fingerprint, groups, joined

NEAREST, BILINEAR, LANCZOS = Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS


def noisy_image(seed, size=(320, 240), contrast=160, pieces=(8, 6)):
    """A photograph's likeness: soft blotches of colour with fine grain."""
    rng = np.random.default_rng(seed)
    blotches = Image.fromarray(rng.integers(0, contrast, (pieces[1], pieces[0], 3), dtype=np.uint8))
    pixels = np.asarray(blotches.resize(size, Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((pixels + rng.integers(0, 40, pixels.shape)).clip(0, 255).astype(np.uint8))


def encoded(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decoded_small(data):
    image = Image.open(io.BytesIO(data))
    image.draft(None, (max(image.width // 8, MIN_SIDE), max(image.height // 8, MIN_SIDE)))
    image.load()
    return image


def scaled(image, factor, resampling):
    return image.resize((round(image.width * factor), round(image.height * factor)), resampling)


def groups_of(*images):
    return groups(stack(map(fingerprint, images))).tolist()


def stack(thumbnails):
    return np.stack([np.frombuffer(bytes(cells), np.uint8) for cells in thumbnails])


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 256), dtype=np.uint8)


def test_a_fingerprint_is_a_small_grey_image_row_by_row():
    image = Image.new("RGB", (320, 160))
    image.paste((255, 255, 255), (160, 0, 320, 160))
    cells = np.frombuffer(fingerprint(image), np.uint8).reshape(16, 16)
    assert (cells[:, :7] == 0).all()
    assert (cells[:, 9:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_images_of_any_mode_and_of_one_pixel_have_a_fingerprint(mode):
    assert len(fingerprint(Image.new(mode, (1, 1)))) == 256


COPIES = {
    "JPEG 40": lambda image: encoded(image, "JPEG", quality=40),
    "JPEG 95": lambda image: encoded(image, "JPEG", quality=95),
    "PNG": lambda image: encoded(image, "PNG"),
    "WebP 50": lambda image: encoded(image, "WEBP", quality=50),
    "half, JPEG 40": lambda image: encoded(scaled(image, 0.5, BILINEAR), "JPEG", quality=40),
    "0.7, JPEG 40": lambda image: encoded(scaled(image, 0.7, LANCZOS), "JPEG", quality=40),
    "1.3, JPEG 40": lambda image: encoded(scaled(image, 1.3, BILINEAR), "JPEG", quality=40),
    "twice, JPEG 80": lambda image: encoded(scaled(image, 2, NEAREST), "JPEG", quality=80),
    "grey": lambda image: encoded(image.convert("L"), "PNG"),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_found(copy):
    originals = [noisy_image(seed) for seed in range(8)]
    copies = [decoded_small(copy(image)) for image in originals]
    assert groups_of(*originals, *copies) == [*range(8), *range(8)]


def test_what_has_moved_visibly_is_no_copy():
    scene = noisy_image(0)
    with_object, moved = scene.copy(), scene.copy()
    with_object.paste((255, 255, 255), (100, 100, 120, 120))
    moved.paste((255, 255, 255), (140, 100, 160, 120))
    assert groups_of(scene, with_object, moved) == [0, 1, 2]


def test_a_mirrored_a_turned_and_a_cropped_image_are_no_copies():
    image = noisy_image(0)
    others = [
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        image.transpose(Image.Transpose.ROTATE_180),
        image.crop((16, 12, 304, 228)),
    ]
    assert groups_of(image, *others) == [0, 1, 2, 3]


def test_a_group_is_named_by_its_first_member():
    a, b, c = noise(3)
    assert groups(np.stack([c, a, b, a, b, b])).tolist() == [0, 1, 2, 1, 2, 2]
    assert groups(np.empty((0, 256), np.uint8)).tolist() == []


def test_a_cell_may_differ_by_a_fifth_of_the_contrast():
    # Half the cells are 100, half are 200: the standard deviation is 50, a fifth of it 10.
    cells = np.repeat(np.tile(np.array([100, 200], np.uint8), 128)[None], 3, axis=0)
    cells[1, 7] += 10
    cells[2, 7] += 11
    assert groups(cells[[0, 1]]).tolist() == [0, 0]
    assert groups(cells[[0, 2]]).tolist() == [0, 1]


def test_images_without_detail_are_grouped_by_content_only():
    white = np.full((4, 256), 255, np.uint8)
    ramp = np.tile(
        np.arange(100, 132, 2, dtype=np.uint8), (2, 16)
    )  # 2 levels from cell to cell, in one direction
    flat = np.concatenate([white, ramp])
    assert groups(flat).tolist() == [0, 1, 2, 3, 4, 5]
    assert groups(flat, [b"a", b"b", b"a", b"c", b"d", b"d"]).tolist() == [0, 1, 0, 3, 4, 4]


def test_equal_content_and_likeness_make_one_group_together():
    a, b = noise(2)
    almost_a = a ^ 1
    # 0 is like 1, 1 is equal to 3; 2 is on its own.
    assert groups(np.stack([a, almost_a, b, almost_a]), [b"0", b"1", b"2", b"1"]).tolist() == [0, 0, 2, 0]


def test_a_film_is_not_one_group_frame_by_frame():
    first, last = (cells.astype(float) for cells in noise(2))
    frames = np.stack([first + (last - first) * step / 500 for step in range(501)]).astype(np.uint8)
    found = groups(frames)
    sizes = np.unique(found, return_counts=True)[1]
    # A cell changes by up to 255 in all, and by a fifth of the contrast at most within a group: 0.2 * 74 to each side.
    assert len(sizes) >= 9
    assert 10 <= sizes.max() <= 80


def test_the_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(0)
    base = noise(30)
    cells = np.concatenate(
        [base, base ^ 3, base ^ 7, np.clip(base + rng.normal(0, 6, base.shape), 0, 255)]
    ).astype(np.uint8)
    order = rng.permutation(len(cells))
    straight, mixed = groups(cells), groups(cells[order])
    # Two images are in one group exactly if they are when mixed.
    assert ((straight[order][:, None] == straight[order]) == (mixed[:, None] == mixed)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 12))
def test_members_of_a_group_are_alike_and_close_copies_are_not_missed(seed, count, spread):
    rng = np.random.default_rng(seed)
    scenes = noise(3, seed)
    cells = scenes[rng.integers(0, 3, count)] + rng.normal(0, spread, (count, 256))
    cells = cells.clip(0, 255).astype(np.uint8)
    found = groups(cells)
    limit = 0.2 * cells.std(axis=1)
    worst = np.abs(cells[:, None].astype(int) - cells).max(axis=2)
    alike = worst <= np.minimum(limit[:, None], limit)
    for group in np.unique(found):
        members = np.flatnonzero(found == group)
        assert members[0] == group
        assert alike[np.ix_(members, members)].all(axis=1).any(), "no member could be the leader"
    if alike.all(where=worst < 100):  # all of a scene are like each other: then they are one group
        assert ((found[:, None] == found) == alike).all()


def test_crowds_of_equal_empty_and_almost_equal_images_are_no_trouble():
    scene = noise(1).astype(np.int16)
    shaken = scene + np.random.default_rng(1).integers(-2, 3, (5_000, 256))
    assert (groups(np.repeat(scene, 10_000, axis=0).astype(np.uint8)) == 0).all()
    assert (groups(np.full((10_000, 256), 255, np.uint8)) == np.arange(10_000)).all()
    assert (groups(shaken.clip(0, 255).astype(np.uint8)) == 0).all()


def test_few_copies_among_many_frames_of_one_scene_are_found():
    rng = np.random.default_rng(0)
    frames = np.repeat(noise(1), 400, axis=0)
    for frame in frames:  # something of eight cells is somewhere else in each
        frame[rng.integers(0, 256, 8)] ^= 128
    copies = (frames[::20].astype(int) + rng.integers(-1, 2, (20, 256))).clip(0, 255).astype(np.uint8)
    found = groups(np.concatenate([frames, copies]))
    assert (found[:400] == np.arange(400)).all()
    assert (found[400:] == np.arange(0, 400, 20)).mean() >= 0.9


def test_copies_among_very_many_images_are_found():
    cells = noise(20_000)
    cells[10_000:10_500] = cells[:500] ^ 3
    found = groups(cells)
    assert (found[10_000:10_500] == np.arange(500)).all()
    assert len(np.unique(found)) == 19_500


def photographs(shared, folder):
    return sorted(path for path in (shared / "data" / folder).rglob("*.jpg") if path.is_file())


def real_groups(paths):
    found = groups(stack(fingerprint(decoded_small(path.read_bytes())) for path in paths))
    return {
        tuple(paths[i].stem for i in np.flatnonzero(found == group))
        for group in np.unique(found)
        if (found == group).sum() > 1
    }


def test_the_copies_in_real_data_sets_are_found_and_nothing_else(shared: Path):
    assert real_groups(photographs(shared, "voc/raccoon")) == {
        ("raccoon-11", "raccoon-116"),
        ("raccoon-120", "raccoon-83"),
        ("raccoon-21", "raccoon-45"),
        ("raccoon-50", "raccoon-52", "raccoon-74"),
        ("raccoon-65", "raccoon-98"),
    }
    assert real_groups(photographs(shared, "voc/cubes")) == {
        ("dasdasd", "img-0852_1"),
        ("dfchgjb", "maxresdefault"),
    }


@pytest.mark.parametrize("folder", ["voc/bccd", "yolo/yolo_cells", "voc/domino_mini"])
def test_real_images_of_similar_things_are_no_copies(shared: Path, folder):
    assert real_groups(photographs(shared, folder)) == set()


def test_one_piece_on_one_board_is_the_limit(shared: Path):
    # Of 29 photographs of one chess set from one side, two show a white rook and a white pawn on the same far field.
    assert [len(group) for group in real_groups(photographs(shared, "coco/coco_chess_test"))] == [2]


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_real_photograph_is_found(shared: Path, copy):
    paths = [*photographs(shared, "voc/raccoon")[:8], *photographs(shared, "voc/bccd")[:4]]
    originals = [path.read_bytes() for path in paths]
    copies = [copy(Image.open(io.BytesIO(data))) for data in originals]
    found = groups_of(*map(decoded_small, originals + copies))
    assert found[len(paths) :] == found[: len(paths)]


def test_partitions_are_joined():
    # 0 and 2 are one group, 2 and 3 have one key, so 0, 2 and 3 belong together.
    assert joined([0, 1, 0, 3, 4], ["a", "b", "c", "c", "d"]) == [0, 1, 0, 0, 4]
    assert joined([], []) == []
