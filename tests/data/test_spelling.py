import pytest

from boxtune.data.spelling import look, plain


@pytest.mark.parametrize(
    "other",
    [
        "c\u0430t",  # a Cyrillic letter
        "\u0441\u0430\u0442",
        "c\u03b1t",  # a Greek one
        "\uff43\uff41\uff54",  # of full width
        "cat\u200b",
        "cat\ufeff",
        "ca\u00adt",
        "cat\u00a0",
        " cat",
    ],
)
def test_names_that_look_alike(other):
    assert look(other) == look("cat")
    assert plain(other) == "cat"


@pytest.mark.parametrize(
    ("one", "other"), [("Red-car", "red car"), ("A_b", "ab"), ("\u041a\u041e\u0422", "kot")]
)
def test_names_that_differ_in_capitals_and_marks_only(one, other):
    assert look(one) != look(other)
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cut"),
        ("\u0915\u093f", "\u0915\u093e"),  # two syllables of Hindi
        ("\U0001f431", "\U0001f436"),
        ("e", "\u00e9"),
        ("+", "-"),
    ],
)
def test_names_that_are_different(one, other):
    assert plain(one) != plain(other)


def test_a_name_without_letters_is_what_is_seen_of_it():
    assert plain("\u2764\ufe0f") == plain("\u2764") == "\u2764"
    assert plain("\U0001f431\u200b") == "\U0001f431"
