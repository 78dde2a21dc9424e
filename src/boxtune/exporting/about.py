"""What a file says about its model besides the network, in words that are the same in every format."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import boxtune
from boxtune.data.label_map import LabelMap
from boxtune.evaluation.thresholds import Thresholds
from boxtune.runtimes.model_file import CLASSES, INPUT_IMAGES, THRESHOLDS, VERSION


@dataclass(frozen=True)
class About:
    """The classes of a model and the scores from which on its detections count; None of what is not known."""

    label_map: LabelMap | None
    thresholds: Thresholds | None

    def as_metadata(self, images: Mapping[str, Any]) -> dict[str, str]:
        """Return texts by their names, `images` being what a program has to know of the images it gives the file."""
        values = {VERSION: boxtune.__version__, INPUT_IMAGES: json.dumps(dict(images))}
        if self.label_map:
            labels = [
                {"id": label.id, "name": label.name, "display_name": label.display_name}
                for label in self.label_map.labels
            ]
            values[CLASSES] = json.dumps(labels)
        if self.thresholds:
            values[THRESHOLDS] = json.dumps(asdict(self.thresholds))
        return values
