import pytest

from boxtune.config import pipeline_pb2
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import ConfigError
from boxtune.training.build import class_weights

LABEL_MAP = LabelMap((Label(1, "cat"), Label(3, "dog", "Dog")))


def read(**weights):
    items = [pipeline_pb2.ClassWeight(name=name, weight=weight) for name, weight in weights.items()]
    return class_weights(items, LABEL_MAP, 3)


def test_by_name_in_the_order_of_numbers():
    assert read(dog=2.5) == [1, 1, 2.5]  # nothing is of the number 2
    assert read(Dog=0.5, cat=0.0) == [0, 1, 0.5]


def test_none_if_there_are_none():
    assert read() is None


def test_an_unknown_class():
    with pytest.raises(
        ConfigError, match=r'class_weights: The label map has no class "dogs"\. Did you mean "dog"'
    ):
        read(dogs=2.0)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_an_impossible_weight(weight):
    with pytest.raises(ConfigError, match=r'"cat" weighs .*; it must be 0 or more'):
        read(cat=weight)


def test_a_class_given_twice():
    with pytest.raises(ConfigError, match='"Dog" is given twice'):
        read(dog=2.0, Dog=3.0)
