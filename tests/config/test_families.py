"""The registry of families: whoever needs one asks it."""

import importlib

import pytest

from boxtune import config
from boxtune.config.families import FAMILIES, Family, recipe_names, register
from boxtune.config.pipeline_pb2 import DetectionModel
from boxtune.errors import ConfigError


@pytest.fixture(params=recipe_names())
def stock(request):
    """The stock recipe of each name."""
    return config.recipe(request.param)


def test_each_recipe_is_of_one_family():
    names = [name for family in FAMILIES.values() for name in family.recipe_names()]
    assert sorted(names) == recipe_names()
    assert len(set(names)) == len(names)
    assert names


def test_a_recipe_is_of_the_family_that_has_it(stock):
    family = config.family_of(stock.model)
    assert FAMILIES[family.name] is family
    assert any(family.recipe(name) == stock for name in family.recipe_names())
    assert f"{family.path}." in f"model.{stock.model.WhichOneof('model')}."


def test_a_family_names_the_module_that_builds_it(stock):
    assert callable(importlib.import_module(config.family_of(stock.model).builder).build)


def test_a_recipe_leaves_the_classes_open(stock):
    family = config.family_of(stock.model)
    assert family.num_classes(stock.model) == 0
    family.set_num_classes(stock.model, 7)
    assert family.num_classes(stock.model) == 7


def test_a_recipe_says_how_images_are_resized(stock):
    family = config.family_of(stock.model)
    assert family.image_resizer(stock.model).WhichOneof("image_resizer_oneof")
    # What is changed there is changed in the model.
    family.image_resizer(stock.model).fixed_shape_resizer.height = 77
    assert family.image_resizer(stock.model).fixed_shape_resizer.height == 77


def test_a_recipe_is_whole_and_has_no_problems(stock):
    family = config.family_of(stock.model)
    assert list(family.problems(stock.model)) == []
    assert list(family.warnings(stock.model)) == []
    whole = config.complete(stock)
    assert whole == stock


def test_a_model_that_is_empty():
    with pytest.raises(
        ConfigError, match=r"model is empty; choose a feature extractor.* There are ssd_.*ssd_mobilenet_v2"
    ):
        config.family_of(DetectionModel())


def test_a_family_without_its_parts_cannot_be_made():
    class Half(Family):
        name = "half"

        def recipe_names(self):
            return []

    with pytest.raises(TypeError, match=r"abstract methods .*complete.*recipe"):
        Half()


class Other(Family):
    """A family of one recipe, which stands in place of the SSDs."""

    name, builder = "ssd", "boxtune.models.ssd"
    api_types = ("other", "other_large")

    def recipe_names(self):
        return ["other"]

    def recipe(self, name):
        return config.parse("model { ssd { num_classes: 0 } }", "other")

    def complete(self, model):
        return self.recipe("other")


def test_a_family_that_is_registered_is_found(monkeypatch):
    for name, family in FAMILIES.items():
        monkeypatch.setitem(FAMILIES, name, family)  # what is registered is undone
    other = Other()
    register(other)
    assert recipe_names() == ["other"]
    assert config.family_of(DetectionModel(ssd={})) is other
    assert config.recipe("other") == other.recipe("other")
    with pytest.raises(
        ConfigError, match='does not have the feature extractor "other_large" yet; it has other'
    ):
        config.recipe("other_large")


@pytest.mark.parametrize(
    ("override", "field"),
    [("model.num_classes=5", "num_classes"), ("model.ssd.num_classes=5", "num_classes")],
)
def test_an_override_may_leave_the_family_out(override, field):
    given = config.parse("model { ssd { num_classes: 2 } }", "base")
    config.apply_override(given, override)
    assert getattr(given.model.ssd, field) == 5


def test_an_override_without_family_needs_a_model():
    with pytest.raises(ConfigError, match=r'override "model\.num_classes=5": .*"num_classes"'):
        config.apply_override(config.parse("", "base"), "model.num_classes=5")


def test_an_override_of_the_type_chooses_the_recipe_with_and_without_family(tmp_path):
    path = tmp_path / "pipeline.config"
    path.write_text('model { ssd { num_classes: 2 feature_extractor { type: "ssd_mobilenet_v2_keras" } } }')
    expected = config.recipe("ssd_mobilenet_v2_fpn_keras").model.ssd.anchor_generator
    for family in ("ssd.", ""):
        loaded = config.load(path, [f'model.{family}feature_extractor.type="ssd_mobilenet_v2_fpn_keras"'])
        assert loaded.model.ssd.anchor_generator == expected
        assert loaded.model.ssd.num_classes == 2
