import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_files import locations, read_file
from boxtune.data import findings as kinds
from boxtune.data.formats.open_images import FORMAT

HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction"
)


@pytest.fixture
def parsed(tmp_path):
    """Read a CSV file beside images of some names; return annotations and findings."""

    def parse(*rows, images=("0a", "0b"), header=HEADER, descriptions=None):
        path = tmp_path / "boxes.csv"
        path.write_text("\n".join((header, *rows)), encoding="utf-8")
        files = [path, *(tmp_path / f"{name}.jpg" for name in images)]
        if descriptions is not None:
            files.append(tmp_path / "class-descriptions-boxable.csv")
            files[-1].write_text(descriptions, encoding="utf-8")
        annotations, findings = read_file(FORMAT, *files)
        return annotations, locations(findings)

    return parse


def test_rows_are_gathered_by_image(parsed):
    annotations, findings = parsed(
        "0a,xclick,/m/01,1,0.1,0.6,0.2,0.9,0,1,0,0",
        "0b,xclick,/m/01,1,0,1,0,1,0,0,1,0",
        "0a,xclick,/m/02,1,0,1,0,1,1,-1,-1,0",
    )
    assert findings == []
    first, second = annotations
    assert (first.filename, first.location, first.normalized) == ("0a.jpg", "line 2", True)
    assert [(item.class_name, item.edges) for item in first.objects] == [
        ("/m/01", (0.1, 0.2, 0.6, 0.9)),  # xmin, ymin, xmax, ymax, though the file has xmin, xmax, ymin, ymax
        ("/m/02", (0.0, 0.0, 1.0, 1.0)),
    ]
    # -1 stands for unknown
    assert [(item.truncated, item.group_of) for item in first.objects] == [(True, False), (False, False)]
    assert (second.filename, second.objects[0].group_of) == ("0b.jpg", True)


def test_rows_about_images_elsewhere_are_one_finding(parsed):
    rows = [f"{number:x},x,/m/01,1,0,1,0,1,0,0,0,0" for number in range(100, 110)]
    annotations, findings = parsed(*rows, "0a,x,/m/01,1,0,1,0,1,0,0,0,0")
    assert [annotation.filename for annotation in annotations] == ["0a.jpg"]
    assert findings == [(kinds.NOT_READ, "")]


def test_without_any_image_all_rows_count(parsed):
    annotations, findings = parsed("0a,x,/m/01,1,0,1,0,1,0,0,0,0", images=())
    assert (len(annotations), findings) == (1, [])


def test_classes_are_called_by_their_descriptions(parsed):
    row = "0a,x,/m/{},1,0,1,0,1,0,0,0,0"
    descriptions = 'LabelName,DisplayName\n/m/01,"Lamp, standing"\n'
    [annotation], _ = parsed(row.format("01"), row.format("02"), descriptions=descriptions)
    assert [item.class_name for item in annotation.objects] == ["Lamp, standing", "/m/02"]


def test_rows_without_a_box_or_a_class_are_left_out_and_reported(parsed):
    [annotation], findings = parsed(
        "0a,x,/m/01,1,0,1,0,inf,0,0,0,0", "0a,x,,1,0,1,0,1,0,0,0,0", "0a,x,/m/01", "", "0a,x,/m/01,1,0,1,0,1"
    )
    assert [item.location for item in annotation.objects] == ["line 6"]
    assert not annotation.complete
    assert findings == [
        (kinds.OBJECT_WITHOUT_BOX, "line 2"),
        (kinds.OBJECT_WITHOUT_NAME, "line 3"),
        (kinds.OBJECT_WITHOUT_BOX, "line 4"),
    ]


def test_other_tables_are_foreign(parsed, tmp_path):
    assert parsed("a.jpg,1,2", header="filename,width,height") == ([], [(kinds.FOREIGN, "")])
    assert not FORMAT.recognises(tmp_path / "boxes.csv")
    parsed()
    assert FORMAT.recognises(tmp_path / "boxes.csv")
    assert not FORMAT.recognises(tmp_path / "absent.csv")


@pytest.mark.parametrize("rest", ['0a,x,"' + "y" * 200_000, "0a,x,\udcff"])
def test_what_is_no_csv_is_unreadable(tmp_path, rest):
    path = tmp_path / "boxes.csv"
    path.write_bytes(f"{HEADER}\n{rest}".encode(errors="surrogateescape"))
    annotations, findings = read_file(FORMAT, path)
    assert annotations == []
    assert [item.kind for item in findings] == [kinds.ANNOTATION_UNREADABLE]


@given(rest=st.text(alphabet='0a,/m1.-\n\r"\x00', max_size=60))
def test_any_text_is_read_or_reported(tmp_path_factory, rest):
    folder = tmp_path_factory.mktemp("boxes")
    path = folder / "boxes.csv"
    path.write_text(f"ImageID,LabelName,XMin,XMax,YMin,YMax\n{rest}", encoding="utf-8", newline="")
    assert FORMAT.recognises(path)
    annotations, findings = read_file(FORMAT, path)
    objects = sum(len(annotation.objects) for annotation in annotations)
    assert objects + len(findings) >= bool(rest.strip("\r\n"))
    assert all(annotation.complete for annotation in annotations) == (not findings)
