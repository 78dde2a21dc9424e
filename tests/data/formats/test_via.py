import pytest

from annotation_files import assert_survives, locations, read_json, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats.via import FORMAT
from boxtune.data.masks import Mask

RECT = {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 20}


def region(shape=RECT, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(*regions, filename="a.jpg"):
    return {"filename": filename, "size": 1234, "regions": list(regions), "file_attributes": {}}


def only(tmp_path, *regions):
    [annotation], findings = read_json(FORMAT, tmp_path, {"a.jpg1234": entry(*regions)})
    assert findings == []
    [found] = annotation.objects
    return found


@pytest.mark.parametrize(
    ("document", "location"),
    [
        ({"a.jpg1234": entry(region(label="cat"))}, "a.jpg1234"),
        ({"_via_img_metadata": {"a.jpg1234": entry(region(label="cat"))}, "_via_settings": {}}, "a.jpg1234"),
        ([entry(region(label="cat"))], "[0]"),
    ],
)
def test_entries_are_found_alone_in_projects_and_in_lists(tmp_path, document, location):
    [annotation], findings = read_json(FORMAT, tmp_path, document)
    assert findings == []
    assert (annotation.filename, annotation.location, annotation.complete) == ("a.jpg", location, True)
    [found] = annotation.objects
    assert (found.class_name, found.edges, found.location) == (
        "cat",
        (1, 2, 11, 22),
        f"{location}.regions[0]",
    )
    assert recognised(FORMAT, tmp_path) == ["a.json"]


def test_version_1_numbers_its_regions_in_an_object(tmp_path):
    document = {
        "a.jpg1234": {"filename": "a.jpg", "regions": {"0": region(name="cat"), "7": region(name="dog")}}
    }
    [annotation], findings = read_json(FORMAT, tmp_path, document)
    assert findings == []
    seen = [(item.class_name, item.location) for item in annotation.objects]
    assert seen == [("cat", "a.jpg1234.regions.0"), ("dog", "a.jpg1234.regions.7")]


@pytest.mark.parametrize(
    ("shape", "edges"),
    [
        ({"name": "circle", "cx": 10, "cy": 20, "r": 5}, (5, 15, 15, 25)),
        ({"name": "ellipse", "cx": 10, "cy": 20, "rx": 3, "ry": 4}, (7, 16, 13, 24)),
        # theta is in radians: a quarter turn
        (
            {"name": "ellipse", "cx": 10, "cy": 20, "rx": 3, "ry": 4, "theta": 1.5707963267948966},
            (6, 17, 14, 23),
        ),
    ],
)
def test_round_shapes_are_boxes(tmp_path, shape, edges):
    assert only(tmp_path, region(shape, label="cat")).edges == pytest.approx(edges)


def test_a_polygon_is_a_box_and_a_mask(tmp_path):
    shape = {"name": "polygon", "all_points_x": [5, 9, 2], "all_points_y": [1, 7, 4]}
    found = only(tmp_path, region(shape, label="cat"))
    assert (found.edges, found.mask) == ((2, 1, 9, 7), Mask(polygons=((5, 1, 9, 7, 2, 4),)))


@pytest.mark.parametrize("name", ["point", "polyline", "line"])
def test_other_shapes_are_reported_and_the_image_is_not_background(tmp_path, name):
    document = [entry(region({"name": name, "cx": 1, "cy": 2}, label="cat"))]
    [annotation], findings = read_json(FORMAT, tmp_path, document)
    assert (annotation.objects, annotation.complete) == ((), False)
    assert locations(findings) == [(kinds.OBJECT_OTHER_SHAPE, "[0].regions[0]")]


def classes(tmp_path, *regions):
    [annotation], findings = read_json(FORMAT, tmp_path, [entry(*regions)])
    return [item.class_name for item in annotation.objects], findings


def test_the_class_is_the_attribute_that_is_called_so_then_the_only_one(tmp_path):
    assert classes(tmp_path, region(colour="red", Class="cat", name="Tom")) == (["cat"], [])
    assert classes(tmp_path, region(colour="red", Label="cat")) == (["cat"], [])
    assert classes(tmp_path, region(animal="cat", colour=""), region(animal="dog")) == (["cat", "dog"], [])


def test_of_other_attributes_the_most_used_is_taken_and_reported(tmp_path):
    names, findings = classes(tmp_path, region(animal="cat", colour="red"), region(animal="dog"))
    assert names == ["cat", "dog"]
    assert locations(findings) == [(kinds.NOT_READ, "")]
    assert findings[0].message == (
        "the classes are taken from the attribute \"animal\"; others are not read: ['colour']."
    )


def test_a_checkbox_with_one_tick_is_a_class_and_with_several_is_none(tmp_path):
    one = region(type={"cat": True, "dog": False})
    several = region(type={"cat": True, "dog": True})
    names, findings = classes(tmp_path, one, several, region(type={}), region())
    assert names == ["cat"]
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_NAME, f"[0].regions[{number}]") for number in (1, 2, 3)
    ]
    assert findings[0].message == 'its attribute "type" has several values: cat, dog.'


def test_polygons_of_unequal_lists_are_reported(tmp_path):
    shape = {"name": "polygon", "all_points_x": [5, 9, 2, 4], "all_points_y": [1, 7, 4]}
    _, findings = classes(tmp_path, region(shape, label="cat"))
    assert locations(findings) == [(kinds.OBJECT_WITHOUT_BOX, "[0].regions[0]")]
    assert findings[0].message == "its polygon has 4 x and 3 y."


# Version 3


def project_3(**metadata):
    return {
        "project": {"pid": "__VIA_PROJECT_ID__"},
        "config": {},
        "attribute": {
            "1": {
                "aname": "animal",
                "anchor_id": "FILE1_Z0_XY1",
                "type": 4,
                "options": {"0": "cat", "1": "dog"},
            },
            "2": {"aname": "note", "anchor_id": "FILE1_Z0_XY1", "type": 1, "options": {}},
        },
        "file": {
            "1": {"fid": "1", "fname": "a.jpg", "type": 2},
            "2": {"fid": "2", "fname": "b.jpg", "type": 2},
        },
        "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": [2]}},
        "metadata": metadata,
    }


def region_3(xy, view="1", **values):
    return {"vid": view, "flg": 0, "z": [], "xy": xy, "av": values}


def test_version_3_is_read(tmp_path):
    document = project_3(
        one=region_3([2, 1, 2, 10, 20], **{"1": "0", "2": ""}),
        two=region_3([7, 5, 1, 9, 7, 2, 4], "2", **{"1": "1"}),
        of_the_image=region_3([], **{"2": "blurred"}),
    )
    (first, second), findings = read_json(FORMAT, tmp_path, document)
    assert findings == []
    assert [(one.filename, one.location) for one in (first, second)] == [
        ("a.jpg", "view.1"),
        ("b.jpg", "view.2"),
    ]
    [found] = first.objects
    assert (found.class_name, found.edges, found.location) == ("cat", (1, 2, 11, 22), "metadata.one")
    [found] = second.objects
    assert (found.class_name, found.edges) == ("dog", (2, 1, 9, 7))
    assert found.mask == Mask(polygons=((5, 1, 9, 7, 2, 4),))
    assert recognised(FORMAT, tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("region", "kind"),
    [
        (region_3([2, 1, 2, 10], **{"1": "0"}), kinds.OBJECT_WITHOUT_BOX),
        (region_3([1, 1, 2], **{"1": "0"}), kinds.OBJECT_OTHER_SHAPE),
        (region_3([99, 1, 2], **{"1": "0"}), kinds.OBJECT_OTHER_SHAPE),
        (region_3([[2], 1, 2], **{"1": "0"}), kinds.OBJECT_OTHER_SHAPE),
        (region_3([2, 1, 2, 10, 20], **{"1": ""}), kinds.OBJECT_WITHOUT_NAME),
        (region_3([2, 1, 2, 10, 20], **{"1": "0,1"}), kinds.OBJECT_WITHOUT_NAME),
        (region_3([2, 1, 2, 10, 20], "9", **{"1": "0"}), kinds.IMAGE_MISSING),
        (7, kinds.OBJECT_WITHOUT_BOX),
    ],
)
def test_what_cannot_be_used_of_version_3_is_reported(tmp_path, region, kind):
    annotations, findings = read_json(FORMAT, tmp_path, project_3(one=region))
    assert [one.objects for one in annotations] == [(), ()]
    assert locations(findings) == [(kind, "metadata.one")]


@pytest.mark.parametrize(
    "other", [{}, [], {"a": 1}, [{"filename": "a.jpg"}], {"a": {"filename": 1, "regions": []}}]
)
def test_other_json_is_foreign(tmp_path, other):
    annotations, findings = read_json(FORMAT, tmp_path, other)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])
    assert recognised(FORMAT, tmp_path) == []


def test_no_junk_anywhere_is_an_error(tmp_path):
    polygon = {"name": "polygon", "all_points_x": [5, 9, 2], "all_points_y": [1, 7, 4]}
    ellipse = {"name": "ellipse", "cx": 10, "cy": 20, "rx": 3, "ry": 4, "theta": 0}
    entries = {
        "a": entry(region(label="cat"), region(polygon, label={"dog": True}), region(ellipse, label="cow"))
    }
    assert_survives(FORMAT, tmp_path, {"_via_img_metadata": entries})


def test_no_junk_anywhere_in_version_3_is_an_error(tmp_path):
    one, two = region_3([2, 1, 2, 10, 20], **{"1": "0"}), region_3([7, 5, 1, 9, 7, 2, 4], **{"1": "1"})
    assert_survives(FORMAT, tmp_path, project_3(one=one, two=two))
