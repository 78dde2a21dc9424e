from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data.records import Box, ImageRecord, ObjectRecord
from boxtune.data.splits import split, split_by_list
from boxtune.errors import DataError


def image(name, *classes):
    objects = tuple(ObjectRecord(class_name, Box(0, 0, 1, 1)) for class_name in classes)
    return ImageRecord(name, Path(name), None, 4, 4, objects)


def images(count, *classes):
    return [image(f"{number:03}.jpg", *classes) for number in range(count)]


def names(part):
    return [record.name for record in part]


def with_class(part, class_name):
    return sum(any(item.class_name == class_name for item in record.objects) for record in part)


def test_the_share_is_drawn_and_nothing_is_lost_or_doubled():
    parts = split(images(10, "cat"), validation_fraction=0.2, seed=0)
    assert len(parts.validation) == 2
    assert sorted(names(parts.train) + names(parts.validation)) == names(images(10))


def test_the_order_of_the_pictures_does_not_matter_but_the_seed_does():
    forwards = split(images(20, "cat"), validation_fraction=0.3, seed=1)
    assert split(images(20, "cat")[::-1], validation_fraction=0.3, seed=1) == forwards
    assert split(images(20, "cat"), validation_fraction=0.3, seed=2) != forwards


def test_the_draw_is_the_same_on_every_machine():
    # random.Random(0) gives 0.84 0.76 0.42 0.26 0.51 0.40 0.78 0.30 0.48 0.58; the lowest is reserved for
    # training, as "cat" has to be there too, the next three are for validation.
    parts = split(images(10, "cat"), validation_fraction=0.3, seed=0)
    assert names(parts.validation) == ["002.jpg", "005.jpg", "007.jpg"]


@pytest.mark.parametrize("seed", range(20))
def test_a_class_in_two_pictures_is_on_both_sides_and_a_single_one_is_for_training(seed):
    rare = [image("rare-1.jpg", "rare"), image("rare-2.jpg", "rare", "cat"), image("single.jpg", "single")]
    parts = split(images(17, "cat") + rare, validation_fraction=0.2, seed=seed)
    assert len(parts.validation) == 4
    assert with_class(parts.train, "rare") == with_class(parts.validation, "rare") == 1
    assert with_class(parts.train, "single") == 1


@given(
    st.lists(st.sets(st.sampled_from("abcdef")), min_size=2, max_size=30),
    st.floats(0.01, 0.99),
    st.integers(0, 1000),
)
def test_both_sides_have_the_promised_sizes(class_sets, fraction, seed):
    records = [image(f"{i}.jpg", *sorted(classes)) for i, classes in enumerate(class_sets)]
    parts = split(records, validation_fraction=fraction, seed=seed)
    assert len(parts.validation) == min(max(1, round(len(records) * fraction)), len(records) - 1)
    assert len(parts.train) == len(records) - len(parts.validation)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 20, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        split(images(5), validation_fraction=fraction, seed=0)


def test_a_single_picture_cannot_be_split():
    with pytest.raises(DataError, match="1 usable picture"):
        split(images(1, "cat"), validation_fraction=0.2, seed=0)


FOLDERS = [image("a/one.jpg"), image("a/two words.jpg"), image("b/one.jpg"), image("b/three.v2.png")]


def listed(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "validation.txt"
    path.write_text(text, encoding=encoding)
    return split_by_list(FOLDERS, path)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a/one.jpg", "a/one.jpg"),
        ("b/one", "b/one.jpg"),
        ("b\\one.jpg", "b/one.jpg"),
        ("two words.jpg", "a/two words.jpg"),
        ("  two words  ", "a/two words.jpg"),
        ("three.v2", "b/three.v2.png"),
    ],
)
def test_a_name_may_leave_out_folders_and_extension(tmp_path, line, name):
    parts = listed(tmp_path, line)
    assert names(parts.validation) == [name]
    assert len(parts.train) == 3


def test_blank_lines_comments_repetitions_and_a_byte_order_mark_are_fine(tmp_path):
    parts = listed(tmp_path, "# mine\r\n\r\nthree.v2.png\r\nthree.v2\r\n", encoding="utf-8-sig")
    assert names(parts.validation) == ["b/three.v2.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/one.jpg\ntow words.jpg", r'validation\.txt:2: tow words.jpg is none.*"two words.jpg"'),
        ("one.jpg", "could be any of"),
        ("# nothing\n", "names 0 of 4"),
        ("a/one\nb/one\ntwo words\nthree.v2", "names 4 of 4"),
    ],
)
def test_a_list_that_does_not_split_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        listed(tmp_path, text)


def test_a_list_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        split_by_list(FOLDERS, tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe4\n")
    with pytest.raises(DataError, match="cannot be read"):
        split_by_list(FOLDERS, tmp_path / "latin.txt")
