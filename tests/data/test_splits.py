import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.data.splits import Split, by_folders, by_list, by_ratio, fold, leaks
from boxtune.errors import DataError


def image(name, *classes, annotation=None):
    objects = tuple(ObjectRecord(class_name, Box(0, 0, 1, 1)) for class_name in classes)
    return ImageRecord(name, ImageSource(Path(name)), annotation or f"{name}.xml", 4, 4, objects)


def images(count, *classes, start=0):
    return [image(f"{number:03}.jpg", *classes) for number in range(start, start + count)]


def names(part):
    return [record.name for record in part]


def with_class(part, class_name):
    return sum(any(item.class_name == class_name for item in record.objects) for record in part)


def sides(split):
    return [set(names(split.train)), set(names(split.validation))]


def drawn(records, fraction=0.2, seed=0, groups=None):
    return by_ratio(records, validation_fraction=fraction, seed=seed, groups=groups)


@st.composite
def data_sets(draw, *, min_size=2, group_numbers=30):
    """Images of up to six classes, and their groups."""
    class_sets = draw(st.lists(st.sets(st.sampled_from("abcdef")), min_size=min_size, max_size=30))
    numbers = draw(
        st.lists(st.integers(0, group_numbers), min_size=len(class_sets), max_size=len(class_sets))
    )
    records = [image(f"{i}.jpg", *sorted(classes)) for i, classes in enumerate(class_sets)]
    return records, {record.name: number for record, number in zip(records, numbers, strict=True)}


FRACTIONS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 1000)


# By ratio


def test_the_share_is_drawn_and_nothing_is_lost_or_doubled():
    parts = drawn(images(10, "cat"))
    assert len(parts.validation) == 2
    assert sorted(names(parts.train) + names(parts.validation)) == names(images(10))
    assert parts.test == parts.unassigned == ()


def test_the_order_of_the_images_does_not_matter_but_the_seed_does():
    forwards = drawn(images(20, "cat"), 0.3, seed=1)
    assert drawn(images(20, "cat")[::-1], 0.3, seed=1) == forwards
    assert drawn(images(20, "cat"), 0.3, seed=2) != forwards


def test_the_draw_is_the_same_on_every_machine():
    # random.Random(0) gives 0.84 0.76 0.42 0.26 0.51 0.40 0.78 0.30 0.48 0.58, so the order is 3 7 5 2 8 4 9 1 6 0.
    # 3 is reserved for validation and 7 for training. Training wants 6 more, validation 2: 5 2 8 4 are for training,
    # and then one for each side in turn: 9, 1, 6, 0.
    parts = drawn(images(10, "cat"), 0.3)
    assert names(parts.validation) == ["000.jpg", "001.jpg", "003.jpg"]


def test_the_draw_does_not_depend_on_the_order_of_sets():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_splits as t; import json\n"
        "many = [t.image(f'{i}.jpg', *{c for k, c in enumerate('abcdefgh') if i * 7919 >> k & 1}) for i in range(60)]\n"
        "print(json.dumps(t.names(t.drawn(many).validation)))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0])) == 12


@pytest.mark.parametrize("seed", range(20))
def test_a_class_in_two_images_is_on_both_sides_and_a_single_one_is_for_training(seed):
    rare = [image("rare-1.jpg", "rare"), image("rare-2.jpg", "rare", "cat"), image("single.jpg", "single")]
    parts = drawn(images(17, "cat") + rare, seed=seed)
    assert len(parts.validation) == 4
    assert with_class(parts.train, "rare") == with_class(parts.validation, "rare") == 1
    assert with_class(parts.train, "single") == 1


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_class_in_one_group_is_for_training(fraction):
    records = images(40, "cat") + images(3, "rare", start=40)
    groups = dict.fromkeys(names(records[40:]), 7)
    assert with_class(drawn(records, fraction, groups=groups).train, "rare") == 3


@given(data_sets(), FRACTIONS, SEEDS)
def test_without_groups_both_sides_have_the_promised_sizes(data_set, fraction, seed):
    records, _ = data_set
    parts = drawn(records, fraction, seed)
    assert len(parts.validation) == min(max(1, round(len(records) * fraction)), len(records) - 1)
    assert len(parts.train) == len(records) - len(parts.validation)


@given(data_sets(), FRACTIONS, SEEDS)
def test_each_image_is_on_one_side_and_groups_are_whole(data_set, fraction, seed):
    records, groups = data_set
    if len(set(groups.values())) < 2:
        return
    parts = drawn(records, fraction, seed, groups)
    train, validation = sides(parts)
    assert train
    assert validation
    assert train.isdisjoint(validation)
    assert train | validation == set(names(records))
    assert {groups[name] for name in train}.isdisjoint({groups[name] for name in validation})
    assert leaks(parts, groups) == []
    assert names(parts.train) == sorted(names(parts.train), key=str.encode)


@given(data_sets(), FRACTIONS, SEEDS, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_numbers_of_the_groups_matter(data_set, fraction, seed, rng):
    records, groups = data_set
    if len(set(groups.values())) < 2:
        return
    shuffled = rng.sample(records, len(records))
    renumbered = {name: 100 - number for name, number in groups.items()}
    assert drawn(shuffled, fraction, seed, renumbered) == drawn(records, fraction, seed, groups)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(2, 9), min_size=1), SEEDS)
def test_each_class_is_on_both_sides_where_there_is_room_for_it(counts, seed):
    # Every image shows one class; half of the images is enough for one of each.
    records = [image(f"{name}{i}.jpg", name) for name, count in counts.items() for i in range(count)]
    parts = drawn(records, 0.5, seed)
    assert all(with_class(part, name) for part in (parts.train, parts.validation) for name in counts)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=20), FRACTIONS, SEEDS)
def test_groups_come_as_near_to_the_share_as_half_the_largest(group_sizes, fraction, seed):
    records = images(sum(group_sizes))
    numbers = [number for number, size in enumerate(group_sizes) for _ in range(size)]
    groups = dict(zip(names(records), numbers, strict=True))
    expected = min(max(1, round(len(records) * fraction)), len(records) - 1)
    num_validation = len(drawn(records, fraction, seed, groups).validation)
    smallest, largest = min(group_sizes), max(group_sizes)
    # Neither side may be empty, which one group prevents.
    assert abs(num_validation - expected) <= max(
        largest / 2, smallest - min(expected, len(records) - expected)
    )


def test_single_images_make_up_for_large_groups():
    records = images(100, "cat")
    groups = {name: number // 13 for number, name in enumerate(names(records)) if number < 78}
    assert len(drawn(records, groups=groups).validation) == 20


def test_the_classes_have_similar_shares_on_both_sides():
    rng = random.Random(0)
    chances = {f"class{number}": 0.5 * 0.8**number for number in range(10)}
    records = [
        image(f"{i}.jpg", *(name for name, chance in chances.items() if rng.random() < chance))
        for i in range(1000)
    ]
    parts = drawn(records)
    for name in chances:
        fraction = with_class(parts.validation, name) / with_class(records, name)
        assert fraction == pytest.approx(
            0.2, abs=0.04
        )  # drawn at random, the rarest would be off by 0.05 on average


def test_images_without_objects_are_shared_out_too_but_never_instead_of_a_class():
    parts = drawn(images(40, "cat") + images(10, start=40))
    assert with_class(parts.validation, "cat") == 8
    assert with_class(drawn(images(3, "cat") + images(2, start=3)).validation, "cat") == 1


def test_nothing_for_validation_is_possible_where_it_is_asked_for():
    parts = drawn(images(3, "cat"), 0)
    assert names(parts.train) == names(images(3))
    assert parts.validation == ()
    assert len(drawn(images(1), 0).train) == 1


@pytest.mark.parametrize("fraction", [-0.5, 1, 20, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(DataError, match="at least 0 and below 1"):
        drawn(images(5), fraction)


def test_a_single_image_cannot_be_split_nor_can_its_copies():
    with pytest.raises(DataError, match="too few usable images: 1, or 1 without copies"):
        drawn(images(1, "cat"))
    with pytest.raises(DataError, match=r"too few usable images: 5, or 1 without.*at least 2"):
        drawn(images(5, "cat"), groups=dict.fromkeys(names(images(5)), 0))


def test_names_and_classes_of_any_bytes_are_fine():
    strange = [
        image("caf\udce9.jpg", "caf\udce9"),
        image("\u732b.jpg", "\ud83d"),
        image("a.jpg", "caf\udce9"),
    ]
    parts = drawn(strange, 0.5)
    assert names(parts.train + parts.validation).count("caf\udce9.jpg") == 1


# Folds


@given(data_sets(min_size=5), st.integers(2, 5), SEEDS)
def test_the_folds_share_the_images_out_and_groups_are_whole(data_set, folds, seed):
    records, groups = data_set
    if len(set(groups.values())) < folds:
        return
    parts = [
        fold(records, folds=folds, fold=number, seed=seed, groups=groups) for number in range(1, folds + 1)
    ]
    assert sorted(name for part in parts for name in names(part.validation)) == sorted(names(records))
    for part in parts:
        train, validation = sides(part)
        assert validation
        assert train == set(names(records)) - validation
        assert leaks(part, groups) == []


@given(st.integers(10, 60), st.integers(2, 10), SEEDS)
def test_folds_are_of_equal_size_and_have_their_share_of_each_class(count, folds, seed):
    records = images(count, "cat") + images(folds, "rare", start=count)
    for number in range(1, folds + 1):
        part = fold(records, folds=folds, fold=number, seed=seed)
        assert 0 <= len(part.validation) - len(records) // folds <= 1
        assert with_class(part.validation, "rare") == 1


def test_folds_do_not_depend_on_the_order_of_the_images():
    records = images(20, "cat")
    assert fold(records, folds=4, fold=2, seed=3) == fold(records[::-1], folds=4, fold=2, seed=3)


@pytest.mark.parametrize(("folds", "number"), [(1, 1), (0, 0), (5, 0), (5, 6), (-2, -1)])
def test_folds_that_do_not_exist_are_refused(folds, number):
    with pytest.raises(DataError, match=f"fold {number} of {folds}"):
        fold(images(20), folds=folds, fold=number, seed=0)


def test_more_folds_than_images_are_refused():
    with pytest.raises(DataError, match="at least 5"):
        fold(images(4), folds=5, fold=1, seed=0)


# By list

FOLDERS = [image("a/one.jpg"), image("a/two words.jpg"), image("b/one.jpg"), image("b/c/three.v2.png")]


def listed(tmp_path, text, encoding="utf-8", records=FOLDERS):
    path = tmp_path / "validation.txt"
    path.write_text(text, encoding=encoding)
    return by_list(records, path)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a/one.jpg", "a/one.jpg"),
        ("b/one", "b/one.jpg"),
        ("b\\one.jpg", "b/one.jpg"),
        ("two words.jpg", "a/two words.jpg"),
        ("  two words  ", "a/two words.jpg"),
        ("three.v2", "b/c/three.v2.png"),
        ("c/three.v2", "b/c/three.v2.png"),
        ("./b/one.jpg", "b/one.jpg"),
        ("/home/me/set/b/one.jpg", "b/one.jpg"),
        ("../set/b/c/three.v2.png", "b/c/three.v2.png"),
        ("C:\\set\\a\\one.jpg", "a/one.jpg"),
        ("two words -1", "a/two words.jpg"),
        ("b/one  1", "b/one.jpg"),
        ("a/one.xml", "a/one.jpg"),
        ("three.v2.JPG", "b/c/three.v2.png"),
    ],
)
def test_a_name_may_be_written_in_many_ways(tmp_path, line, name):
    parts = listed(tmp_path, line)
    assert names(parts.validation) == [name]
    assert len(parts.train) == 3
    assert parts.test == ()


def test_the_path_as_it_is_comes_before_others_that_end_alike(tmp_path):
    records = [image("one.jpg"), image("a/one.jpg"), image("b/a/one.jpg")]
    assert names(listed(tmp_path, "one", records=records).validation) == ["one.jpg"]
    assert names(listed(tmp_path, "a/one.jpg", records=records).validation) == ["a/one.jpg"]


def test_blank_lines_comments_repetitions_and_a_byte_order_mark_are_fine(tmp_path):
    parts = listed(tmp_path, "# mine\r\n\r\nthree.v2.png\r\nthree.v2\r\n", encoding="utf-8-sig")
    assert names(parts.validation) == ["b/c/three.v2.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/one.jpg\nx/tow words.jpg", r'validation\.txt:2: x/tow words.jpg is not one.*"two words.jpg"'),
        ("one.jpg", "could be any of"),
        ("c/one.jpg", "is not one of the usable"),
        ("b/three.v2.png", "is not one of the usable"),
        ("three.v3", "is not one of the usable"),
        ("../..", "is not one of the usable"),
        ("a\x1b[31m", r"a\\x1b\[31m is not one"),
        ("# nothing\n", "names 0 of 4"),
        ("a/one\nb/one\ntwo words\nthree.v2", "names 4 of 4"),
    ],
)
def test_a_list_that_does_not_split_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        listed(tmp_path, text)


def test_a_list_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        by_list(FOLDERS, tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe4\n")
    with pytest.raises(DataError, match="not text in UTF-8"):
        by_list(FOLDERS, tmp_path / "latin.txt")


# By folders


def parts_by_folders(*paths):
    """Return the names of the three parts for paths, or for pairs of path and annotation."""
    records = [image(path) if isinstance(path, str) else image(path[0], annotation=path[1]) for path in paths]
    split = by_folders(records)
    return split and (names(split.train), names(split.validation), names(split.test))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train/a.jpg", "valid/b.jpg", "test/c.jpg"),
        ("x/train/images/a.jpg", "x/val/images/b.jpg", "x/test/images/c.jpg"),
        ("Images/Training/a.jpg", "Images/Validation/b.jpg", "Images/Testing/c.jpg"),
        ("train2017/a.jpg", "val2017/b.jpg", "test2017/c.jpg"),
        ("train_images/a.jpg", "eval-images/b.jpg", "test set/c.jpg"),
        ("trainset/7/a.jpg", "valset/7/b.jpg", "testset/7/c.jpg"),
        ("training/images/train/a.jpg", "training/images/val/b.jpg", "training/images/test/c.jpg"),
    ],
)
def test_folders_name_the_parts(train, validation, test):
    assert parts_by_folders(train, validation, test) == ([train], [validation], [test])


def test_without_validation_the_test_images_are_for_validation():
    assert parts_by_folders("train/a.jpg", "test/b.jpg", "test/c.jpg") == (
        ["train/a.jpg"],
        ["test/b.jpg", "test/c.jpg"],
        [],
    )


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["a.jpg", "b.jpg"],
        ["train/a.jpg", "train/b.jpg"],
        ["val/a.jpg", "test/b.jpg"],
        ["train.jpg", "val.jpg"],
        ["train station/a.jpg", "test drive/b.jpg"],
        ["trainers/a.jpg", "values/b.jpg"],
        ["train/a.jpg", "val/b.jpg", "c.jpg", "d.jpg", "e.jpg"],
    ],
)
def test_without_both_sides_for_most_images_there_is_no_split(paths):
    assert parts_by_folders(*paths) is None


def test_an_annotation_file_of_several_images_names_their_part():
    train, validation = "annotations/instances_train2017.json", "annotations/instances_val2017.json"
    paths = [
        ("images/a.jpg", train),
        ("images/b.jpg", train),
        ("images/c.jpg", validation),
        ("d.jpg", validation),
    ]
    assert parts_by_folders(*paths) == (["images/a.jpg", "images/b.jpg"], ["d.jpg", "images/c.jpg"], [])
    tables = [(f"{i}.jpg", f"labels/{'train' if i < 3 else 'test'}_labels.csv") for i in range(6)]
    assert parts_by_folders(*tables) == (["0.jpg", "1.jpg", "2.jpg"], ["3.jpg", "4.jpg", "5.jpg"], [])


def test_the_name_of_an_annotation_of_one_image_says_nothing_but_its_folder_does():
    own = [("train-1.jpg", "train-1.xml"), ("val-1.jpg", "val-1.xml")]
    assert parts_by_folders(*own) is None
    folders = [("a.jpg", "xml/train/a.xml"), ("b.jpg", "xml/val/b.xml")]
    assert parts_by_folders(*folders) == (["a.jpg"], ["b.jpg"], [])


def test_the_folder_of_the_image_counts_before_its_annotation():
    both = [(f"{part}/{i}.jpg", "train.json") for part in ("train", "val") for i in range(2)]
    assert parts_by_folders(*both) == (["train/0.jpg", "train/1.jpg"], ["val/0.jpg", "val/1.jpg"], [])


def test_images_without_a_part_are_for_training_and_reported():
    split = by_folders(
        [image(name) for name in ("b.jpg", "train/a.jpg", "val/c.jpg", "val/d.jpg", "extra/e.jpg")]
    )
    assert names(split.train) == ["b.jpg", "extra/e.jpg", "train/a.jpg"]
    assert names(split.unassigned) == ["b.jpg", "extra/e.jpg"]


# Leaks


def test_a_leak_is_a_image_whose_group_is_in_an_earlier_part():
    split = Split(tuple(images(3)), tuple(images(3, start=3)), tuple(images(2, start=6)))
    groups = {
        "000.jpg": 1,
        "001.jpg": 1,
        "003.jpg": 1,
        "004.jpg": 2,
        "005.jpg": 2,
        "006.jpg": 2,
        "007.jpg": 1,
    }
    assert leaks(split, groups) == [
        ("000.jpg", "003.jpg"),
        ("004.jpg", "006.jpg"),
        ("000.jpg", "007.jpg"),
    ]
    assert leaks(split, {}) == []


# Real data sets


def test_a_real_data_set_of_thirteen_classes_has_all_on_both_sides_but_those_in_one_image(shared: Path):
    folder = shared / "data" / "coco" / "coco_chess_test" / "test"
    content = json.loads((folder / "_annotations.coco.json").read_text())
    categories = {category["id"]: category["name"] for category in content["categories"]}
    classes = {record["id"]: set() for record in content["images"]}
    for annotation in content["annotations"]:
        classes[annotation["image_id"]].add(categories[annotation["category_id"]])
    records = [image(record["file_name"], *sorted(classes[record["id"]])) for record in content["images"]]
    image_counts = Counter(name for found in classes.values() for name in found)
    for seed in range(10):
        parts = drawn(records, seed=seed)
        assert len(parts.validation) == 6
        for name, count in image_counts.items():
            assert with_class(parts.train, name)
            assert with_class(parts.validation, name) or count == 1
