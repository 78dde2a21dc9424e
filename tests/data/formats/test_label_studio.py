import pytest

from annotation_files import assert_survives, locations, read_json, recognised, spoiled
from boxtune.data import findings as kinds
from boxtune.data.formats.label_studio import FORMAT
from boxtune.data.masks import Mask

RECTANGLE = {"x": 10, "y": 20, "width": 50, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
SIZE = {"original_width": 200, "original_height": 100}


def result(value=RECTANGLE, kind="rectanglelabels", **more):
    return {**SIZE, "image_rotation": 0, "value": value, "id": "abc", "type": kind} | more


def task(*results, image="/data/upload/1/0c27b5c4-name.jpg", **more):
    return {
        "id": 1,
        "annotations": [{"id": 2, "result": list(results), "was_cancelled": False}],
        "predictions": [],
        "data": {"image": image},
    } | more


def flat(*regions, **more):
    return {
        "image": "/data/upload/1/0c27b5c4-name.jpg",
        "id": 1,
        "label": list(regions),
        "annotator": 1,
    } | more


def only(tmp_path, *results):
    [annotation], findings = read_json(FORMAT, tmp_path, [task(*results)])
    assert findings == []
    [found] = annotation.objects
    return found


def test_a_rectangle_is_in_percent_of_the_image(tmp_path):
    [annotation], findings = read_json(FORMAT, tmp_path, [task(result())])
    assert findings == []
    assert (annotation.filename, annotation.size) == ("/data/upload/1/0c27b5c4-name.jpg", (200, 100))
    assert (annotation.location, annotation.normalized, annotation.complete) == ("[0]", True, True)
    [found] = annotation.objects
    assert (found.class_name, found.location) == ("cat", "[0].annotations[0].result[0]")
    assert found.edges == pytest.approx((0.1, 0.2, 0.6, 0.6))
    assert recognised(FORMAT, tmp_path) == ["a.json"]


def test_the_flat_form_is_read_alike(tmp_path):
    [annotation], findings = read_json(FORMAT, tmp_path, [flat(RECTANGLE | SIZE)])
    assert findings == []
    assert (annotation.filename, annotation.size) == ("/data/upload/1/0c27b5c4-name.jpg", (200, 100))
    [found] = annotation.objects
    assert (found.class_name, found.location) == ("cat", "[0].label[0]")
    assert found.edges == pytest.approx((0.1, 0.2, 0.6, 0.6))
    assert recognised(FORMAT, tmp_path) == ["a.json"]


def test_a_rectangle_is_turned_in_pixels_around_its_x_and_y(tmp_path):
    # 200 x 100 pixels: the corner is at (20, 20), the sides are 100 and 40. A quarter turn clockwise sends the side
    # of 100 down and that of 40 to the left: from (-20, 20) to (20, 120), in fractions (-0.1, 0.2) to (0.1, 1.2).
    found = only(tmp_path, result(RECTANGLE | {"rotation": 90}))
    assert found.edges == pytest.approx((-0.1, 0.2, 0.1, 1.2))


def test_a_turned_rectangle_without_the_size_of_the_image_is_reported(tmp_path):
    turned = result(RECTANGLE | {"rotation": 5}, original_width=None)
    [annotation], findings = read_json(FORMAT, tmp_path, [task(turned)])
    assert (annotation.objects, annotation.complete, annotation.size) == ((), False, None)
    assert locations(findings) == [(kinds.OBJECT_WITHOUT_BOX, "[0].annotations[0].result[0]")]


def test_a_polygon_is_a_box_and_a_mask(tmp_path):
    value = {"points": [[50, 10], [90, 70], [20, 40]], "polygonlabels": ["cat"]}
    found = only(tmp_path, result(value, "polygonlabels"))
    assert found.edges == pytest.approx((0.2, 0.1, 0.9, 0.7))
    assert found.mask == Mask(polygons=((0.5, 0.1, 0.9, 0.7, 0.2, 0.4),))


def test_an_ellipse_is_turned_around_its_centre(tmp_path):
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 40, "rotation": 0, "ellipselabels": ["cat"]}
    assert only(tmp_path, result(value, "ellipselabels")).edges == pytest.approx((0.4, 0.1, 0.6, 0.9))
    # In pixels the radii are 20 and 40 around (100, 50); turned, 40 and 20: (60, 30) to (140, 70).
    turned = result(value | {"rotation": 90}, "ellipselabels")
    assert only(tmp_path, turned).edges == pytest.approx((0.3, 0.3, 0.7, 0.7))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"x": 1, "y": 2, "width": 0.5, "keypointlabels": ["cat"]}, "keypointlabels"),
        ({"format": "rle", "rle": [0, 1], "brushlabels": ["cat"]}, "brushlabels"),
    ],
)
def test_other_shapes_are_reported_and_the_image_is_not_background(tmp_path, value, kind):
    [annotation], findings = read_json(FORMAT, tmp_path, [task(result(value, kind))])
    assert (annotation.objects, annotation.complete) == ((), False)
    assert locations(findings) == [(kinds.OBJECT_OTHER_SHAPE, "[0].annotations[0].result[0]")]
    assert kind in findings[0].message


def test_shape_and_label_may_be_two_results(tmp_path):
    plain = {key: value for key, value in RECTANGLE.items() if key != "rectanglelabels"}
    drawn, named = result(plain, "rectangle"), result(plain | {"labels": ["cat"]}, "labels")
    assert only(tmp_path, drawn, named).class_name == "cat"
    [annotation], findings = read_json(FORMAT, tmp_path, [task(drawn)])
    assert (annotation.objects, annotation.complete) == ((), False)
    assert locations(findings) == [(kinds.OBJECT_WITHOUT_NAME, "[0].annotations[0].result[0]")]


def test_what_describes_is_not_an_object(tmp_path):
    plain = {key: value for key, value in RECTANGLE.items() if key != "rectanglelabels"}
    descriptions = (
        {"type": "relation", "from_id": "a", "to_id": "b"},
        result({"choices": ["night"]}, "choices"),
        result(plain | {"text": ["a cat"]}, "textarea"),
    )
    assert only(tmp_path, result(), *descriptions).class_name == "cat"
    entry = flat(RECTANGLE | SIZE, choice=["night"], rating=5)
    [annotation], findings = read_json(FORMAT, tmp_path, [entry])
    assert (len(annotation.objects), findings) == (1, [])


def test_each_annotation_that_was_not_cancelled_is_read(tmp_path):
    cancelled = {"result": [result(), result()], "was_cancelled": True}
    both, findings = read_json(
        FORMAT, tmp_path, [task(annotations=[cancelled, {"result": [result()]}, {"result": []}])]
    )
    assert [[item.location for item in one.objects] for one in both] == [["[0].annotations[1].result[0]"], []]
    assert len({one.filename for one in both}) == 1
    assert findings == []


@pytest.mark.parametrize("annotations", [[], [{"result": [result()], "was_cancelled": True}]])
def test_a_task_without_annotation_is_not_background(tmp_path, annotations):
    document = [task(annotations=annotations, predictions=[{"result": [result()]}]), task()]
    [annotation], findings = read_json(FORMAT, tmp_path, document)
    assert (annotation.location, annotation.objects, annotation.complete) == ("[1]", (), True)
    assert findings == []


def test_the_oldest_exports_call_them_completions(tmp_path):
    document = [{"data": {"image": "a.jpg"}, "completions": [{"result": [result()]}]}]
    [annotation], findings = read_json(FORMAT, tmp_path, document)
    assert (annotation.filename, len(annotation.objects), findings) == ("a.jpg", 1, [])


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/upload/1/0c27b5c4-my%20cat.jpg", "/data/upload/1/0c27b5c4-my cat.jpg"),
        ("/data/local-files/?d=pets%2Fmy%20cat.jpg", "pets/my cat.jpg"),
        ("/data/local-files/?d=pets\\cat.jpg", "pets/cat.jpg"),
        ("s3://bucket/pets/cat.jpg", "/pets/cat.jpg"),
        ("https://example.org/pets/cat.JPG?signature=a%2Fb", "/pets/cat.JPG"),
        ("C:\\pets\\cat.jpg", "C:/pets/cat.jpg"),
        ("cat #1.jpg", "cat #1.jpg"),
    ],
)
def test_names_are_taken_out_of_urls(tmp_path, url, name):
    [annotation], _ = read_json(FORMAT, tmp_path, [task(image=url)])
    assert annotation.filename == name


def test_the_image_is_the_first_of_the_data_that_looks_like_one(tmp_path):
    document = [task(data={"text": "a cat", "number": 3, "photo": "pets/cat.png", "other": "dog.png"})]
    [annotation], _ = read_json(FORMAT, tmp_path, document)
    assert annotation.filename == "pets/cat.png"
    document = [task(image="data:image/png;base64," + "A" * 5000, file_upload="0c27b5c4-cat.png")]
    [annotation], _ = read_json(FORMAT, tmp_path, document)
    assert annotation.filename == "0c27b5c4-cat.png"


@pytest.mark.parametrize("image", ["", "http://[::1", "a cat", 7])
def test_a_task_without_a_image_is_reported(tmp_path, image):
    annotations, findings = read_json(FORMAT, tmp_path, [task(result(), image=image)])
    assert (annotations, locations(findings)) == ([], [(kinds.IMAGE_MISSING, "[0]")])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        (result(RECTANGLE | {"rectanglelabels": []}), kinds.OBJECT_WITHOUT_NAME),
        (result(RECTANGLE | {"rectanglelabels": ["cat", "dog"]}), kinds.OBJECT_WITHOUT_NAME),
        (result(RECTANGLE | {"x": "left"}), kinds.OBJECT_WITHOUT_BOX),
        (result(image_rotation=90), kinds.OBJECT_WITHOUT_BOX),
        (result(None), kinds.OBJECT_WITHOUT_BOX),
        (7, kinds.OBJECT_WITHOUT_BOX),
    ],
)
def test_what_cannot_be_used_is_reported_with_its_place(tmp_path, changed, kind):
    [annotation], findings = read_json(FORMAT, tmp_path, [task(changed, result())])
    assert (len(annotation.objects), annotation.complete) == (1, False)
    assert locations(findings) == [(kind, "[0].annotations[0].result[0]")]


@pytest.mark.parametrize(
    "other",
    [
        {},
        [],
        [1],
        [{"data": {}}],
        [{"image": "a.jpg", "annotations": []}],
        [{"image": "a.jpg", "label": [1]}],
    ],
)
def test_other_json_is_foreign(tmp_path, other):
    annotations, findings = read_json(FORMAT, tmp_path, other)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])
    assert recognised(FORMAT, tmp_path) == []


def test_no_junk_anywhere_is_an_error(tmp_path):
    polygon = {"points": [[50, 10], [90, 70], [20, 40]], "polygonlabels": ["dog"]}
    turned = RECTANGLE | {"rotation": 10}
    assert_survives(FORMAT, tmp_path, [task(result(), result(polygon, "polygonlabels"), result(turned))])


def test_no_junk_anywhere_in_the_flat_form_is_an_error(tmp_path):
    assert_survives(FORMAT, tmp_path, [flat(RECTANGLE | SIZE, RECTANGLE | SIZE | {"x": 3})])


# Tasks about several images


def on(name, **more):
    return result() | {"to_name": name} | more


def objects_by_image(annotations):
    return [(one.filename, len(one.objects)) for one in annotations]


def test_shapes_are_on_the_image_that_they_say(tmp_path):
    data = {"left": "l.jpg", "right": "r.jpg", "preview": "p.jpg"}
    document = [
        task(on("left"), on("right"), on("right"), data=data),
        task(on("left"), data=data | {"left": "l2.jpg", "right": "r2.jpg"}),
    ]
    annotations, findings = read_json(FORMAT, tmp_path, document)
    assert objects_by_image(annotations) == [("l.jpg", 1), ("r.jpg", 2), ("l2.jpg", 1), ("r2.jpg", 0)]
    assert findings == []


def test_shapes_are_on_the_page_that_they_say(tmp_path):
    document = [task(on("pages", item_index=1), on("pages"), data={"pages": ["1.png", "2.png", "3.png"]})]
    annotations, findings = read_json(FORMAT, tmp_path, document)
    assert objects_by_image(annotations) == [("1.png", 1), ("2.png", 1), ("3.png", 0)]
    assert findings == []


@pytest.mark.parametrize(
    "document",
    [
        [task(on("first"), on("second"), data={"left": "l.jpg", "right": "r.jpg"})],
        [task(on("first"), data={"left": "l.jpg", "right": "r.jpg"})],
        [task(on("left"), on("first"), data={"left": "l.jpg", "right": "r.jpg"})],
        [task(on("pages", item_index=7), data={"pages": ["1.png", "2.png"]})],
        [{"left": "l.jpg", "right": "r.jpg", "label": [RECTANGLE | SIZE]}],
    ],
)
def test_shapes_that_could_be_on_any_image_are_on_none(tmp_path, document):
    annotations, findings = read_json(FORMAT, tmp_path, document)
    assert annotations == []
    assert [finding.kind for finding in findings] == [kinds.IMAGE_AMBIGUOUS]


def test_no_junk_in_a_task_of_several_images_is_an_error(tmp_path):
    document = [task(on("left"), on("right", item_index=0), data={"left": "l.jpg", "right": ["r.jpg"]})]
    for spoiled_document, _ in spoiled(document):
        read_json(FORMAT, tmp_path, spoiled_document)
