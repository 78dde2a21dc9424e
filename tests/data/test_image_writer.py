import pytest

from boxtune.data.image_record import ImageRecord, ImageSource
from boxtune.data.image_writer import unique_stems, write_images
from boxtune.errors import DataError
from voc_folder import image_file


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.jpg", "b/c.png"], ["a", "b/c"]),
        (["a.jpg", "a.png", "A.jpg"], ["a", "a-2", "A-3"]),
        (["../../etc/passwd.jpg", "/etc/passwd"], ["etc/passwd", "etc/passwd-2"]),
        (["C:\\me\\a.jpg"], ["C_/me/a"]),
        (["", "..", "."], ["image", "image-2", "image-3"]),
        (["a.b.jpg", "a.rf.0123"], ["a.b", "a.rf.0123"]),
        (["bell\a.jpg", ".hidden.jpg"], ["bell_", "hidden"]),
        (["x" * 300 + ".jpg"], ["x" * 200]),
        (["ünï 'q'.jpg"], ["ünï 'q'"]),
        (["aux.jpg", "Com1/nul", "console.jpg", "con.a.jpg"], ["_aux", "_Com1/_nul", "console", "_con.a"]),
    ],
)
def test_names_are_safe_and_unique(names, stems):
    assert unique_stems(names) == stems


def test_the_extension_follows_the_content(tmp_path):
    records = [
        ImageRecord(name, ImageSource(image_file(tmp_path / name, **options)), "x", 40, 20, ())
        for name, options in {"a.png": {"format": "JPEG"}, "sub/b.jpg": {}, "c.gif": {"mode": "P"}}.items()
    ]
    assert write_images(records, tmp_path / "out") == ["a.jpg", "sub/b.jpg", "c.png"]
    assert (tmp_path / "out" / "sub" / "b.jpg").read_bytes() == (tmp_path / "sub" / "b.jpg").read_bytes()


def test_a_image_that_is_gone_is_named(tmp_path):
    record = ImageRecord("gone.jpg", ImageSource(tmp_path / "gone.jpg"), "x", 40, 20, ())
    with pytest.raises(DataError, match=r"gone\.jpg: it cannot be read"):
        write_images([record], tmp_path / "out")
