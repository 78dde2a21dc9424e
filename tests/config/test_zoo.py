"""The models of the API's zoo: found by name, with the recipes that the API ships."""

import pytest

from boxtune import cli, config
from boxtune.config import zoo
from boxtune.errors import ConfigError
from conftest import REPOSITORY

FPNLITE = "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8"
STOCK = {
    **{
        f"efficientdet_d{n}_coco17_tpu-32": size
        for n, size in enumerate((512, 640, 768, 896, 1024, 1280, 1408, 1536))
    },
    **{
        f"ssd_resnet{depth}_v1_fpn_{size}x{size}_coco17_tpu-8": size
        for depth in (50, 101, 152)
        for size in (640, 1024)
    },
    "ssd_mobilenet_v1_fpn_640x640_coco17_tpu-8": 640,
    "ssd_mobilenet_v2_320x320_coco17_tpu-8": 300,  # the API's own contradiction
    FPNLITE: 320,
    "ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8": 640,
}


def test_all_of_the_family_are_there():
    assert {model.name: model.size for model in zoo.zoo_models()} == STOCK


@pytest.mark.parametrize("name", STOCK)
def test_the_recipe_is_the_stock_configuration(name, shared):
    pattern = name.replace("_coco17_tpu-32", f"_{STOCK[name]}x{STOCK[name]}_coco17_tpu-*")
    (path,) = (shared / "stock_configs").glob(f"*{pattern}.config")
    stock, recipe = config.load(path), zoo.recipe_of(name)
    for field in ("num_classes", "freeze_batchnorm"):  # the latter is set to its default
        stock.model.ssd.ClearField(field)
    assert recipe.model == stock.model
    assert recipe.train_config.data_augmentation_options == stock.train_config.data_augmentation_options


@pytest.mark.parametrize(
    ("name", "full"),
    [
        (FPNLITE, FPNLITE),
        ("ssd_mobilenet_v2_fpnlite_3", FPNLITE),
        ("ssd_mobilenet_v2_fpn_keras", FPNLITE),  # a type of feature extractor
        ("efficientdet_d7", "efficientdet_d7_coco17_tpu-32"),
    ],
)
def test_names(name, full):
    assert zoo.recipe_of(name) == zoo.recipe_of(full)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ssd_mobilenet_v2_fpnlite", f'"ssd_mobilenet_v2_fpnlite" may be {FPNLITE} or '),
        ("eficientdet_d1", 'there is no model "eficientdet_d1"; .*Did you mean "efficientdet_d1"'),
        ("", 'there is no model ""'),
    ],
)
def test_names_that_name_no_model(name, words):
    with pytest.raises(ConfigError, match=words):
        zoo.recipe_of(name)


def test_the_list(capsys):
    assert cli.main(["models"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.split("\n\n")[0].splitlines()[1:]]
    assert {row[0] for row in rows} == set(STOCK)
    assert next(row for row in rows if row[0].startswith("efficientdet_d0"))[1:4] == ["512", "5.6", "M"]
    assert "ssd_mobilenet_v1_keras" in printed  # has no published weights
    assert zoo.zoo_models()[0].address in printed.replace("MODEL", zoo.zoo_models()[0].name)


def test_the_docs_name_the_figures_the_address_and_the_licence_of_each():
    documented = (REPOSITORY / "docs" / "models.md").read_text()
    for model in zoo.zoo_models():
        seconds = "-" if model.seconds is None else f"{model.seconds:.2f} s"
        row = (
            f"| [{model.name}]({model.address}) | {model.size} | {model.parameters:.1f} M | "
            f"{model.multiply_adds:.1f} | {seconds} | {model.memory:.2f} GiB | {model.coco_map:.1f} |"
        )
        assert row in documented
    for text in zoo.sources().values():
        assert text in documented
