import numpy as np

from boxtune.report.confusion_image import MAX_CLASSES_SHOWN, draw_confusion_matrix


def cell(image, row, column):
    """The colour of a cell, beside its number."""
    return image.getpixel((150 + 44 * column + 4, 120 + 44 * row + 4))


def test_the_darker_the_larger_the_share_of_the_row():
    # Of ten cats nine are found as cats and one is missed; of two dogs one is taken for a cat; nothing is invented.
    image = draw_confusion_matrix(np.array([[9, 0, 1], [1, 1, 0], [0, 0, 0]]), ["cat", "dog"])
    assert cell(image, 0, 1) == cell(image, 2, 2) == (255, 255, 255)
    assert cell(image, 1, 0) == cell(image, 1, 1) == (143, 172, 204)  # half way to the full colour
    assert sum(cell(image, 0, 0)) < sum(cell(image, 1, 1)) < sum(cell(image, 0, 2))


def test_of_many_classes_the_most_confused_are_shown():
    matrix = np.diag(np.full(101, 5))
    matrix[70, 3] = 2
    image = draw_confusion_matrix(matrix, [f"class {number}" for number in range(100)])
    side = (MAX_CLASSES_SHOWN + 1) * 44
    assert image.size == (150 + side + 20, 120 + side + 20)
    # Class 3 is the fourth of those shown; class 70 stands last of them, before the background.
    assert cell(image, MAX_CLASSES_SHOWN - 1, 3) != (255, 255, 255)


def test_names_of_any_length():
    long = draw_confusion_matrix(np.eye(2, dtype=int), ["n" * 300])
    assert long.size == draw_confusion_matrix(np.eye(2, dtype=int), ["n"]).size
