import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data.stratification import BACKGROUND, Unit, stratify


def units(*classes):
    """Units of one image each, from strings in which each letter is a class."""
    return [Unit((str(number),), Counter(letters or [BACKGROUND])) for number, letters in enumerate(classes)]


def sizes(drawn_units, parts):
    counts = Counter()
    for unit, part in zip(drawn_units, parts, strict=True):
        counts[part] += len(unit.names)
    return [counts[part] for part in range(max(counts) + 1)]


def num_missing(drawn_units, parts):
    """Count the classes that two units or more have, and one of the two parts has not."""
    found = Counter()
    num_units = Counter()
    for unit, part in zip(drawn_units, parts, strict=True):
        num_units.update(unit.classes.keys())
        found.update({(name, part): 1 for name in unit.classes})
    names = [name for name, count in num_units.items() if count > 1 and name != BACKGROUND]
    return sum((name, part) not in found for name in names for part in (0, 1))


@pytest.mark.parametrize("seed", range(10))
def test_one_image_for_validation_is_the_one_that_shows_most_classes(seed):
    # Of a, b and c there are two each; only the first image shows all of them.
    drawn = units("abc", "a", "b", "c", "", "")
    assert stratify(drawn, [5, 1], seed=seed, main=0) == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(10))
def test_classes_of_one_unit_are_in_the_main_part_and_leave_the_others_to_the_rest(seed):
    parts = stratify(units("a", "b", "c", "d", "d", "d"), [4, 2], seed=seed, main=0)
    assert parts[:3] == [0, 0, 0]
    assert sorted(parts[3:]) == [0, 1, 1]


@pytest.mark.parametrize("seed", range(10))
def test_units_of_several_images_count_as_many(seed):
    pair = Unit(("x", "y"), {"a": 2})
    drawn = [pair, pair, *units("a", "a", "a", "a")]
    parts = stratify(drawn, [4, 4], seed=seed)
    assert sizes(drawn, parts) == [4, 4]


def test_every_part_gets_a_unit_even_where_none_fits():
    large = Unit(("x", "y", "z"), {"a": 3})
    assert sorted(stratify([large, large, large], [7, 1, 1], seed=0)) == [0, 1, 2]


@given(st.lists(st.text("abcd", max_size=3).map(set).map(sorted), min_size=4, max_size=9), st.integers(0, 99))
def test_hardly_a_class_is_missed_that_could_be_on_both_sides(classes, seed):
    # Which sides bring most classes to both is a hard question; all answers are tried here. A good one will do.
    drawn = units(*classes)
    num_second = len(drawn) // 2
    best = min(
        num_missing(drawn, [int(number in chosen) for number in range(len(drawn))])
        for chosen in itertools.combinations(range(len(drawn)), num_second)
    )
    parts = stratify(drawn, [len(drawn) - num_second, num_second], seed=seed, main=0)
    assert num_missing(drawn, parts) <= best + 1
