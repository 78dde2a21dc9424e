import pytest

from annotation_files import assert_survives, locations, read_json, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats.labelme import FORMAT
from boxtune.data.masks import Mask


def shape(shape_type="rectangle", points=((1, 2), (11, 22)), label="cat", **more):
    return {"label": label, "points": list(map(list, points)), "shape_type": shape_type, **more}


def document(*shapes, **more):
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "a.jpg",
        "imageData": None,
        "imageHeight": 30,
        "imageWidth": 40,
    } | more


def only(tmp_path, *shapes):
    [annotation], findings = read_json(FORMAT, tmp_path, document(*shapes))
    assert findings == []
    [found] = annotation.objects
    return found


def test_a_rectangle_is_two_corners_in_any_order(tmp_path):
    [annotation], findings = read_json(
        FORMAT, tmp_path, document(shape(points=((11, 2), (1, 22))), imagePath="..\\images\\a.jpg")
    )
    assert findings == []
    assert (annotation.filename, annotation.size, annotation.location) == ("../images/a.jpg", (40, 30), "")
    assert (annotation.complete, annotation.normalized) == (True, False)
    [found] = annotation.objects
    assert (found.class_name, found.edges, found.location) == ("cat", (1, 2, 11, 22), "shapes[0]")
    assert (found.mask, found.difficult) == (None, False)


@pytest.mark.parametrize("shape_type", ["polygon", "oriented_rectangle", "rotation", None])
def test_a_polygon_is_a_box_and_a_mask(tmp_path, shape_type):
    found = only(tmp_path, shape(shape_type, points=((5, 1), (9, 7), (2, 4))))
    assert found.edges == (2, 1, 9, 7)
    assert found.mask == Mask(polygons=((5, 1, 9, 7, 2, 4),))


def test_a_circle_is_its_centre_and_a_point_on_it(tmp_path):
    # The radius is the distance of (10, 10) and (13, 14): 5.
    assert only(tmp_path, shape("circle", points=((10, 10), (13, 14)))).edges == (5, 5, 15, 15)


def test_a_drawn_mask_is_its_box(tmp_path):
    found = only(tmp_path, shape("mask", mask="iVBORw0KGgo="))
    # Its points are the first and the last pixel: the box ends behind the last.
    assert (found.edges, found.mask) == ((1, 2, 12, 23), None)


@pytest.mark.parametrize("more", [{"flags": {"difficult": True}}, {"difficult": True}])
def test_difficult_is_a_flag(tmp_path, more):
    assert only(tmp_path, shape(**more)).difficult


@pytest.mark.parametrize("shape_type", ["point", "line", "linestrip", "points", "unheard-of"])
def test_other_shapes_are_reported_and_the_image_is_not_background(tmp_path, shape_type):
    [annotation], findings = read_json(FORMAT, tmp_path, document(shape(shape_type)))
    assert (annotation.objects, annotation.complete) == ((), False)
    assert locations(findings) == [(kinds.OBJECT_OTHER_SHAPE, "shapes[0]")]
    assert shape_type in findings[0].message


def test_what_cannot_be_used_is_reported_with_its_place(tmp_path):
    shapes = [shape(label=" "), shape(points=[(1, 2)]), shape("polygon"), shape(points=[(1, "x"), (2, 3)]), 3]
    [annotation], findings = read_json(FORMAT, tmp_path, document(*shapes, shape()))
    assert [item.location for item in annotation.objects] == ["shapes[5]"]
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_NAME, "shapes[0]"),
        *[(kinds.OBJECT_WITHOUT_BOX, f"shapes[{number}]") for number in range(1, 5)],
    ]


def test_a_image_without_shapes_is_background(tmp_path):
    [annotation], findings = read_json(FORMAT, tmp_path, document(imageWidth=None))
    assert (annotation.objects, annotation.complete, annotation.size, findings) == ((), True, None, [])


@pytest.mark.parametrize("other", [{}, [], {"shapes": []}, {"shapes": {}, "imagePath": "a.jpg"}, 1])
def test_other_json_is_foreign(tmp_path, other):
    annotations, findings = read_json(FORMAT, tmp_path, other)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])
    assert recognised(FORMAT, tmp_path) == []


def test_its_own_are_recognised(tmp_path):
    read_json(FORMAT, tmp_path, document())
    assert recognised(FORMAT, tmp_path) == ["a.json"]


def test_no_junk_anywhere_is_an_error(tmp_path):
    polygon = shape("polygon", points=((5, 1), (9, 7), (2, 4)), flags={"difficult": True})
    assert_survives(FORMAT, tmp_path, document(shape(), polygon, shape("circle")))


def test_shapes_of_a_group_are_one_object(tmp_path):
    found = only(
        tmp_path, shape(group_id=7), shape(points=((20, 1), (30, 9)), group_id=7, flags={"difficult": True})
    )
    assert (found.edges, found.difficult, found.mask) == ((1, 1, 30, 22), True, None)


def test_outlines_of_a_group_are_one_mask(tmp_path):
    triangle = shape("polygon", ((5, 5), (9, 5), (5, 9)), group_id=0)
    found = only(tmp_path, triangle, shape(group_id=0))
    assert found.edges == (1, 2, 11, 22)
    assert found.mask == Mask(polygons=((5, 5, 9, 5, 5, 9), (1, 2, 11, 2, 11, 22, 1, 22)))


def test_shapes_of_other_labels_groups_or_none_are_objects_of_their_own(tmp_path):
    apart = [
        shape(group_id=1),
        shape(group_id=2),
        shape(group_id=1, label="dog"),
        shape(group_id=None),
        shape(),
    ]
    [annotation], findings = read_json(FORMAT, tmp_path, document(*apart))
    assert [item.class_name for item in annotation.objects] == ["cat", "cat", "dog", "cat", "cat"]
    assert findings == []


def test_points_of_a_group_do_not_spoil_its_object(tmp_path):
    point = shape("point", ((5, 5),), group_id=1)
    [annotation], findings = read_json(FORMAT, tmp_path, document(shape(group_id=1), point))
    assert [item.edges for item in annotation.objects] == [(1, 2, 11, 22)]
    assert [finding.kind for finding in findings] == [kinds.OBJECT_OTHER_SHAPE]
