"""The verb `check`: what is in a data set, what is wrong with it, what `convert` would do, and what a model doubts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxtune import config
from boxtune.data.files import Paths, paths_of, writable_folder, write_text
from boxtune.data.preparation import Options, Prepared, prepare
from boxtune.data.workers import kept_processes
from boxtune.metrics.label_doubts import LabelDoubts
from boxtune.report import data_set
from boxtune.report.anchor_fit import AnchorFit, fit_anchors
from boxtune.report.data_page import write_page
from boxtune.silence_stderr import silenced_stderr


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found; printed, it is a page for people. `prepared.refusal` says why convert would refuse."""

    prepared: Prepared
    doubts: LabelDoubts | None = None

    def __str__(self) -> str:
        refusal, reading = self.prepared.refusal, self.prepared.reading
        verdict = f"convert would refuse this: {refusal}" if refusal else "convert would take this."
        return data_set.text(reading.title, self.prepared, verdict, self.doubts)


@kept_processes()
def check(
    photos: Paths,
    options: Options | None = None,
    *,
    pipeline_config_path: str | Path | None = None,
    page: str | Path | None = None,
    report: str | Path | None = None,
    models: Paths = (),
) -> CheckResult:
    """Look at everything in a data set and change nothing.

    Args:
        photos: the folder of the images, or several, which are merged.
        options: how it is to be read and split.
        pipeline_config_path: a configuration, to whose anchors the boxes are compared on the page.
        page: an HTML file to write, to look at.
        report: a JSON file to write, for programs.
        models: one or several that look at the images and doubt labels, as `boxtune.doubts.find_doubts` takes them.

    Raises:
        DataError: if there is nothing that can be looked at, or a file cannot be written.
        ConfigError: if the configuration cannot be used.
        CheckpointError: if a model cannot be used.
    """
    prepared = prepare(photos, options or Options())
    doubts = _doubts(prepared, paths_of(models)) if models else None
    if report:
        writable_folder(Path(report).parent)
        write_text(Path(report), data_set.to_json(prepared, doubts=doubts))
    if page:
        writable_folder(Path(page).parent)
        write_page(
            Path(page),
            title=" and ".join(folder.resolve().name for folder in prepared.reading.formats),
            parts=prepared.parts,
            findings=prepared.findings,
            label_map=prepared.label_map,
            fit=_anchor_fit(prepared, Path(pipeline_config_path)) if pipeline_config_path else None,
            doubts=doubts,
        )
    return CheckResult(prepared, doubts)


def _doubts(prepared: Prepared, models: Sequence[Path]) -> LabelDoubts:
    with silenced_stderr():  # only this needs TensorFlow, which takes seconds to load
        from boxtune.doubts import find_doubts

    return find_doubts(prepared, models)


def _anchor_fit(prepared: Prepared, pipeline_config_path: Path) -> AnchorFit | None:
    with silenced_stderr():  # only this needs Keras, which takes seconds to load
        from boxtune import models
        from boxtune.backends import prepare_backend

    prepare_backend()
    section = config.complete(config.load(pipeline_config_path)).model
    anchors = models.anchors(section)
    if anchors is None:
        print(
            f"{pipeline_config_path}: this detector has no anchors that are the same for all images to compare with."
        )
        return None
    return fit_anchors(*anchors, prepared.images, models.image_resizer(section))
