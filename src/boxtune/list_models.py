"""The verb `models`: what can be trained, and what each model costs."""

import textwrap

from boxtune import weights
from boxtune.config import zoo


def list_models() -> str:
    """Return a table of the models of the API's zoo that boxtune can train, and how to choose one."""
    models = zoo.zoo_models()
    width = max(len(model.name) for model in models)
    lines = [f"{'MODEL':{width}}  INPUT  PARAMETERS     GMAC      STEP    MEMORY  COCO mAP"]
    lines += [
        f"{model.name:{width}}  {model.size:5}  {model.parameters:8.1f} M  {model.multiply_adds:7.1f}"
        f"  {_seconds(model):>8}  {_memory(model):>8}  {model.coco_map:8.1f}"
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
        "Start from the weights of a MODEL, which are downloaded once, or from random ones:",
        "  boxtune retrain PHOTOS --model_dir mine --checkpoint MODEL",
        "  boxtune retrain PHOTOS --model_dir mine --model MODEL",
        "They are at",
        f"  {models[0].address.replace(models[0].name, 'MODEL')}",
    ]
    return "\n".join(lines)


def list_downloads() -> str:
    """Return the folder in which downloaded weights are kept, and in further lines what it holds."""
    lines = [str(weights.cache())]
    for name, download in weights.kept().items():
        lines.append(f"  {name}  {download.date}  {download.source}  SHA-256 {download.sha256}")
    return "\n".join(lines)


def _memory(model: zoo.ZooModel) -> str:
    return "-" if model.memory is None else f"{model.memory:.2f} GiB"


def _seconds(model: zoo.ZooModel) -> str:
    return "-" if model.seconds is None else f"{model.seconds:.2f} s"
