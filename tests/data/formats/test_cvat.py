import pytest

from annotation_files import locations, read, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats.cvat import FORMAT
from boxtune.data.masks import Mask

BOX = '<box label="cat" occluded="0" source="manual" xtl="1.00" ytl="2.00" xbr="11.00" ybr="22.00" z_order="0"/>'


def parsed(tmp_path, *shapes, image='id="0" name="a.jpg" width="40" height="30"'):
    """Return the annotation and findings of a file with one image; its shapes are on line 4 and following."""
    lines = ["<annotations>", "<version>1.1</version>", f"<image {image}>", *shapes, "</image></annotations>"]
    (tmp_path / "annotations.xml").write_text("\n".join(lines))
    [annotation], findings = read(FORMAT, tmp_path)
    return annotation, findings


def only(tmp_path, shape):
    annotation, findings = parsed(tmp_path, shape)
    assert findings == []
    [found] = annotation.objects
    return found


def test_a_box_is_its_edges(tmp_path):
    annotation, findings = parsed(tmp_path, BOX, image='id="0" name="sub\\a.jpg" width="40" height="30"')
    assert findings == []
    assert (annotation.filename, annotation.size, annotation.location) == ("sub/a.jpg", (40, 30), "line 3")
    assert (annotation.complete, annotation.normalized) == (True, False)
    [found] = annotation.objects
    assert (found.class_name, found.edges, found.location, found.mask) == (
        "cat",
        (1, 2, 11, 22),
        "line 4",
        None,
    )
    assert (found.difficult, found.truncated) == (False, False)
    assert recognised(FORMAT, tmp_path) == ["annotations.xml"]


def test_a_turned_box_is_enclosed(tmp_path):
    # 10 x 20 around (6, 12), turned by 90 degrees: 20 x 10 around the same centre.
    found = only(tmp_path, BOX.replace("<box", '<box rotation="90.0"'))
    assert found.edges == pytest.approx((-4, 7, 16, 17))


def test_a_polygon_is_a_box_and_a_mask(tmp_path):
    found = only(tmp_path, '<polygon label="cat" points="5.0,1.0;9.0,7.0;2.0,4.0"/>')
    assert (found.edges, found.mask) == ((2, 1, 9, 7), Mask(polygons=((5, 1, 9, 7, 2, 4),)))


def test_masks_and_ellipses_are_boxes(tmp_path):
    mask = '<mask label="cat" rle="3, 5, 2" left="1" top="2" width="10" height="20"/>'
    assert only(tmp_path, mask).edges == (1, 2, 11, 22)
    ellipse = '<ellipse label="cat" cx="10" cy="20" rx="3" ry="4"/>'
    assert only(tmp_path, ellipse).edges == (7, 16, 13, 24)
    assert only(tmp_path, ellipse.replace("rx", 'rotation="90" rx')).edges == pytest.approx((6, 17, 14, 23))


def test_attributes_of_voc_are_taken(tmp_path):
    attributes = (
        '<attribute name="difficult">true</attribute><attribute name="Truncated">1</attribute>'
        '<attribute name="colour">true</attribute>'
    )
    found = only(tmp_path, BOX.replace("/>", f">{attributes}</box>"))
    assert (found.difficult, found.truncated) == (True, True)
    found = only(tmp_path, BOX.replace("/>", ">" + attributes.replace("true", "false") + "</box>"))
    assert not found.difficult


@pytest.mark.parametrize("tag", ["points", "polyline", "cuboid", "skeleton"])
def test_other_shapes_are_reported_and_the_image_is_not_background(tmp_path, tag):
    annotation, findings = parsed(tmp_path, f'<{tag} label="cat" points="1,2;3,4"/>')
    assert (annotation.objects, annotation.complete) == ((), False)
    assert locations(findings) == [(kinds.OBJECT_OTHER_SHAPE, "line 4")]


def test_tags_are_of_the_image_which_may_be_background(tmp_path):
    annotation, findings = parsed(tmp_path, '<tag label="night"/>', image='name="a.jpg"')
    assert (annotation.objects, annotation.complete, annotation.size, findings) == ((), True, None, [])


def test_what_cannot_be_used_is_reported_with_its_line(tmp_path):
    shapes = (
        BOX.replace('label="cat"', ""),
        BOX.replace('xtl="1.00"', ""),
        BOX.replace("1.00", "nan"),
        '<polygon label="cat" points="1,2;3;4,5"/>',
        '<polygon label="cat"/>',
        '<ellipse label="cat" cx="1"/>',
        BOX,
    )
    annotation, findings = parsed(tmp_path, *shapes)
    assert [found.location for found in annotation.objects] == ["line 10"]
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_NAME, "line 4"),
        *[(kinds.OBJECT_WITHOUT_BOX, f"line {line}") for line in range(5, 10)],
    ]
    assert {finding.image for finding in findings} == {"a.jpg"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<annotation><filename>a.jpg</filename></annotation>", kinds.FOREIGN),
        ("<annotations><version>1.1</version></annotations>", kinds.FOREIGN),
        ("<annotations><image name='a.jpg'>", kinds.ANNOTATION_UNREADABLE),
        ("<annotations><track id='0' label='cat'/></annotations>", kinds.ANNOTATION_UNREADABLE),
    ],
)
def test_other_files_are_reported(tmp_path, text, kind):
    (tmp_path / "a.xml").write_text(text)
    annotations, findings = read(FORMAT, tmp_path)
    assert (annotations, [finding.kind for finding in findings]) == ([], [kind])
    assert recognised(FORMAT, tmp_path) == (["a.xml"] if "<annotations>" in text else [])


def test_the_subset_of_a_project_is_kept(tmp_path):
    annotation, _ = parsed(tmp_path, BOX, image='id="0" name="a.jpg" subset="Train" width="40" height="30"')
    assert annotation.subset == "Train"
