import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.data.label_map import Label, LabelMap, read_label_map, write_label_map
from boxtune.errors import DataError


def read(tmp_path, text):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(text, encoding="utf-8")
    return read_label_map(path)


def test_names_are_numbered_from_1_in_the_order_of_their_bytes():
    label_map = LabelMap.from_names(["dog", "ä", "Cat", "dog"])
    assert label_map.labels == (Label(1, "Cat"), Label(2, "dog"), Label(3, "ä"))


def test_the_text_is_that_of_the_api():
    assert LabelMap.from_names(["raccoon"]).to_text() == "item {\n  id: 1\n  name: 'raccoon'\n}\n"


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(str.strip)


@given(st.lists(NAMES, min_size=1, unique=True))
def test_any_name_is_read_as_it_was_written(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("labels") / "label_map.pbtxt"
    label_map = LabelMap.from_names([*names, 'it\'s\n"a\\b"\t'])
    write_label_map(label_map, path)
    assert read_label_map(path) == label_map


def test_keypoints_are_kept(tmp_path):
    text = "item {\n  id: 1\n  name: 'cat'\n  keypoints {\n    id: 0\n    label: 'cat\\'s nose'\n  }\n}\n"
    label_map = read(tmp_path, text)
    assert label_map.labels == (Label(1, "cat", "", ((0, "cat's nose"),)),)
    assert label_map.to_text() == text


@pytest.mark.shared
def test_label_maps_of_the_api_are_read_and_written(tmp_path, shared):
    paths = sorted(shared.glob("stock_label_maps/*.pbtxt"))
    assert len(paths) > 10
    for path in paths:
        label_map = read_label_map(path)
        write_label_map(label_map, tmp_path / path.name)
        assert read_label_map(tmp_path / path.name) == label_map
    people = read_label_map(shared / "stock_label_maps/face_person_with_keypoints_label_map.pbtxt")
    assert people.labels[1].keypoints


def test_hierarchy_and_frequency_are_kept(tmp_path):
    label_map = LabelMap(
        (Label(1, "animal", descendants=(2,), frequency="f"), Label(2, "cat", ancestors=(1,)))
    )
    write_label_map(label_map, tmp_path / "map.pbtxt")
    assert read_label_map(tmp_path / "map.pbtxt") == label_map
    assert label_map.ancestors(3) == [[0], [0, 1], [2]]
    assert label_map.descendants(3) == [[0, 1], [1], [2]]


def test_ids_may_have_gaps_and_come_in_any_order(tmp_path):
    label_map = read(tmp_path, 'item { id: 7 name: "b" display_name: "B" } item { name: "a" id: 2 }')
    assert label_map.labels == (Label(2, "a"), Label(7, "b", "B"))
    assert label_map.names == ["a", "b"]
    assert label_map.shown_names == {1: "a", 6: "B"}


def test_a_class_is_found_by_name_and_then_by_display_name():
    label_map = LabelMap((Label(1, "/m/1", "cat"), Label(2, "cat")))
    assert label_map.label("cat").id == 2
    assert label_map.label("/m/1").id == 1
    with pytest.raises(DataError, match='no class "cats"'):
        label_map.label("cats")


def test_background_at_0_is_no_class(tmp_path):
    label_map = read(tmp_path, "item { id: 0 name: 'background' } item { id: 1 name: 'cat' }")
    assert label_map.labels == (Label(1, "cat"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no classes"),
        ("item { id: 0 name: 'cat' }", '"cat" has the id 0'),
        ("item { name: 'cat' }", '"cat" has the id 0'),
        ("item { id: -1 name: 'cat' }", "-1"),
        ("item { id: 1 }", "id 1 has no name"),
        ("item { id: 1 name: 'cat' } item { id: 1 name: 'dog' }", '"1" occurs twice'),
        ("item { id: 1 name: 'cat' } item { id: 2 name: 'cat' }", '"cat" occurs twice'),
        ("item { id: 1 nam: 'cat' }", "label_map.pbtxt"),
    ],
)
def test_an_unusable_label_map_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_an_id_that_no_detector_has_room_for_is_refused(tmp_path):
    with pytest.raises(DataError, match=r'"cup" has the id 10001; at most 10000'):
        read(tmp_path, "item { id: 10001 name: 'cup' }")
    assert read(tmp_path, "item { id: 10000 name: 'cup' }").names == ["cup"]


def test_names_that_share_an_id_come_with_the_way_to_merge_them(tmp_path):
    with pytest.raises(
        DataError, match="To make one class of cat, big cat, leave one item of that id"
    ) as error:
        read(tmp_path, "item { id: 1 name: 'cat' } item { id: 1 name: 'big cat' } item { id: 2 name: 'dog' }")
    assert str(error.value).endswith("and convert with --rename 'big cat=cat'.")


def test_a_name_that_is_shown_for_several_classes_is_told(tmp_path, caplog):
    read(
        tmp_path,
        "item { id: 1 name: 'a' display_name: 'cat' } item { id: 2 name: 'cat' } item { id: 3 name: 'c' }",
    )
    assert "label_map.pbtxt: 1 display_name is of several classes: cat." in caplog.text
