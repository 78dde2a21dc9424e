import pytest

from annotation_files import locations, read, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats.csv_table import FORMAT

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"
ROW = "a.jpg,40,30,cat,1,2,11,22"


def parsed(tmp_path, *rows, encoding="utf-8", end="\n", name="labels.csv"):
    (tmp_path / name).write_bytes("".join(row + end for row in rows).encode(encoding))
    return read(FORMAT, tmp_path)


def only(tmp_path, *rows, **how):
    """Return the one object of a table, and the name and size of its image."""
    [annotation], findings = parsed(tmp_path, *rows, **how)
    assert findings == []
    assert recognised(FORMAT, tmp_path) == [how.get("name", "labels.csv")]
    [found] = annotation.objects
    return found.class_name, found.edges, annotation.filename, annotation.size


CAT = ("cat", (1, 2, 11, 22), "a.jpg", (40, 30))


def test_the_table_of_the_tutorials_is_read(tmp_path):
    [first, second], findings = parsed(
        tmp_path, HEADER, ROW, "b.jpg,4,3,dog,0,0,4,3", "a.jpg,40,30,dog,5,6,7,8"
    )
    assert findings == []
    assert (first.filename, first.size, first.location) == ("a.jpg", (40, 30), "line 2")
    assert [(item.class_name, item.location) for item in first.objects] == [
        ("cat", "line 2"),
        ("dog", "line 4"),
    ]
    assert (second.filename, second.size, second.location, second.complete) == (
        "b.jpg",
        (4, 3),
        "line 3",
        True,
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "rows", [(HEADER, ROW), (ROW,), ("", HEADER, "", ROW), ("," + HEADER, "0," + ROW), ("0," + ROW,)]
)
def test_separators_encodings_line_ends_headers_and_indexes(tmp_path, separator, encoding, end, rows):
    rows = [row.replace(",", separator) for row in rows]
    assert only(tmp_path, *rows, encoding=encoding, end=end) == CAT


def test_tables_may_end_in_tsv(tmp_path):
    assert only(tmp_path, HEADER.replace(",", "\t"), ROW.replace(",", "\t"), name="labels.TSV") == CAT


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("class,ymax,xmax,ymin,xmin,height,width,filename", "cat,22,11,2,1,30,40,a.jpg"),
        (
            "id, Image Name ,label,X_Min,Y_Min,X_Max,Y_Max,Image-Width,image_height,score",
            "7,a.jpg,cat,1,2,11,22,40,30,1",
        ),
        ("image,x1,y1,x2,y2,width,height,label", "a.jpg,1,2,11,22,40,30,cat"),
        (
            "path,filename,name,class,left,top,right,bottom,width,height",
            "x/b.jpg,a.jpg,Tom,cat,1,2,11,22,40,30",
        ),
    ],
)
def test_a_header_may_name_and_order_columns_otherwise(tmp_path, header, row):
    assert only(tmp_path, header, row) == CAT


def test_the_table_of_retinanet_has_no_header_and_no_size(tmp_path):
    assert only(tmp_path, "sub\\a.jpg,1,2,11,22,cat") == ("cat", (1, 2, 11, 22), "sub/a.jpg", None)


@pytest.mark.parametrize(
    "rows", [(HEADER, "a.jpg,40,30,,,,,"), ("a.jpg,,,,,",), (HEADER, "a.jpg,40,30"), (HEADER, "a.jpg")]
)
def test_a_row_without_class_and_box_is_background(tmp_path, rows):
    [annotation], findings = parsed(tmp_path, *rows)
    assert (annotation.filename, annotation.objects, annotation.complete) == ("a.jpg", (), True)
    assert findings == []


def test_what_cannot_be_used_is_reported_with_its_line(tmp_path):
    rows = (
        "a.jpg,40,30,,1,2,3,4",
        "a.jpg,40,30,cat,1,2,3,",
        'a.jpg,40,30,"c\nat",1,2,3,inf',
        ",40,30,cat,1,2,3,4",
        ROW,
    )
    [annotation], findings = parsed(tmp_path, HEADER, *rows)
    assert [item.location for item in annotation.objects] == ["line 7"]
    assert not annotation.complete
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_NAME, "line 2"),
        (kinds.OBJECT_WITHOUT_BOX, "line 3"),
        (kinds.OBJECT_WITHOUT_BOX, "line 4"),  # which goes on in line 5
        (kinds.IMAGE_MISSING, "line 6"),
    ]
    assert [finding.image for finding in findings] == ["a.jpg"] * 3 + [""]


def test_a_header_alone_names_no_image(tmp_path):
    assert parsed(tmp_path, HEADER) == ([], [])


def test_an_empty_file_is_foreign(tmp_path):
    annotations, findings = parsed(tmp_path)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])


@pytest.mark.parametrize(
    "row",
    [
        "cat,0",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax",
        "filename,class,x,y,w,h",
        "filename,class,xmin,ymin,xmax",
        "a.jpg,40,30,cat,1,2,11,x",
        "a.txt,1,2,3,4,cat",
        "a.jpg,1,2,3,4,cat,0.9",
        '"' + "a" * 200_000,
    ],
)
def test_other_tables_are_foreign(tmp_path, row):
    annotations, findings = parsed(tmp_path, row, ROW)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])
    assert recognised(FORMAT, tmp_path) == []


def test_a_quote_that_is_never_closed_is_unreadable(tmp_path):
    annotations, findings = parsed(tmp_path, HEADER, ROW, '"' + "a" * 200_000)
    assert (annotations, locations(findings)) == ([], [(kinds.ANNOTATION_UNREADABLE, "line 3")])


def test_what_is_no_text_is_unreadable(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    annotations, findings = read(FORMAT, tmp_path)
    assert (annotations, locations(findings)) == ([], [(kinds.ANNOTATION_UNREADABLE, "")])
    assert recognised(FORMAT, tmp_path) == []


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", "NULL", "<NA>", "N/A"])
def test_what_programs_write_into_empty_cells_is_background(tmp_path, nothing):
    [annotation], findings = parsed(tmp_path, HEADER, f"a.jpg,40,30,{','.join([nothing] * 5)}")
    assert (annotation.objects, annotation.complete, findings) == ((), True, [])
    [annotation], findings = parsed(tmp_path, HEADER, f"a.jpg,40,30,cat,{','.join([nothing] * 4)}")
    assert (annotation.objects, annotation.complete) == ((), False)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("location,x1,y1,x2,y2,class_name", "line 1, has no column for filename (filename, imagename,"),
        (
            "image;xmin;ymin;xmax;label",
            "line 1, has no column for ymax (ymax, y2, bottom): it has image, xmin",
        ),
        (
            "a.jpg,1,2,3",
            "its line 1 is no header, and no row of a box in a known order of columns: a.jpg,1,2,3",
        ),
        ("name,price", ""),
        ("", ""),
    ],
)
def test_complaints(tmp_path, row, complaint):
    (tmp_path / "a.csv").write_text(row + "\n")
    assert complaint in FORMAT.complaint(tmp_path / "a.csv")
    assert bool(FORMAT.complaint(tmp_path / "a.csv")) == bool(complaint)
