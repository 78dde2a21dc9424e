import pytest

from boxtune import errors
from boxtune.errors import many, nearest, to_copy


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2000, ("image",), "2,000 images"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_a_number_of_things(number, words, expected):
    assert many(number, *words) == expected


def test_the_nearest_word_if_any_is_near():
    assert nearest("racoon", ["raccoon", "cat"]) == "raccoon"
    assert nearest("zzz", ["raccoon", "cat"]) == ""


def test_a_command_to_copy_is_quoted_as_its_shell_reads_it(monkeypatch):
    words = ("boxtune", "predict", "my model", "IMAGES")
    assert to_copy(*words) == "boxtune predict 'my model' IMAGES"
    monkeypatch.setattr(errors.os, "name", "nt")
    assert to_copy(*words) == 'boxtune predict "my model" IMAGES'
