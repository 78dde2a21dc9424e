"""The verb `models`: what can be trained, and what each model costs."""

import textwrap

from boxtune.config import zoo


def list_models() -> str:
    """Return a table of the models of the API's zoo that boxtune can train, and how to choose one."""
    models = zoo.zoo_models()
    width = max(len(model.name) for model in models)
    lines = [f"{'MODEL':{width}}  INPUT  PARAMETERS     GMAC      STEP  COCO mAP"]
    lines += [
        f"{model.name:{width}}  {model.size:5}  {model.parameters:8.1f} M  {model.multiply_adds:7.1f}"
        f"  {_seconds(model):>8}  {model.coco_map:8.1f}"
        for model in models
    ]
    lines += ["", "A good choice for"]
    lines += [f"  {model.suits + ':':45} {model.name}" for model in models if model.suits]
    lines += ["", "Without published weights:", *(f"  {name}" for name in zoo.unpublished())]
    lines += ["", "Where this is from"]
    for title, text in zoo.sources().items():
        lines += textwrap.wrap(f"{title}: {text}", 100, initial_indent="  ", subsequent_indent="    ")
    lines += [
        "",
        "The weights of a MODEL, to be unpacked:",
        f"  {models[0].address.replace(models[0].name, 'MODEL')}",
        "Start from them, or from random weights:",
        "  boxtune retrain PHOTOS --model_dir mine --checkpoint MODEL",
        "  boxtune retrain PHOTOS --model_dir mine --model MODEL",
    ]
    return "\n".join(lines)


def _seconds(model: zoo.ZooModel) -> str:
    return "-" if model.seconds is None else f"{model.seconds:.2f} s"
