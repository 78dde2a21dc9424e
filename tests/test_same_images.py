"""Whether two runs have the same classes: the names and the ids count."""

import pytest

from boxtune.data.label_map import Label, LabelMap, write_label_map
from boxtune.same_images import known_names, knows_all
from boxtune.training.run_state import LABEL_MAP


@pytest.mark.parametrize(
    ("other", "same", "known"),
    [
        ([(1, "cat"), (2, "dog")], True, ["cat", "dog"]),
        ([(1, "cat"), (3, "dog")], False, ["cat", "dog"]),  # the same names, of other ids
        ([(1, "bird"), (2, "cat")], False, ["cat"]),
        ([(1, "bird")], False, []),
    ],
)
def test_classes_are_the_same_by_names_and_ids(tmp_path, other, same, known):
    maps = [
        LabelMap(tuple(Label(*label) for label in labels)) for labels in ([(1, "cat"), (2, "dog")], other)
    ]
    for name, label_map in zip("ab", maps, strict=True):
        (tmp_path / name).mkdir()
        write_label_map(label_map, tmp_path / name / LABEL_MAP)
    assert knows_all(tmp_path / "a", tmp_path / "b") is same
    assert known_names(*maps) == known
