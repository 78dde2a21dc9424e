"""What an exported file says of its model besides the network."""

import json
from dataclasses import asdict, dataclass

import boxtune
from boxtune.data.label_map import LabelMap
from boxtune.evaluation.thresholds import Thresholds
from boxtune.runtimes.model_file import CLASSES, SCORE_FLOOR, THRESHOLDS, VERSION


@dataclass(frozen=True)
class About:
    """What a file says of its model."""

    label_map: LabelMap | None
    thresholds: Thresholds | None
    score_floor: float = 0.0
    """The score that its detections exceed."""

    def metadata(self) -> dict[str, str]:
        """Return it as texts by their names, as `runtimes.model_file` reads them."""
        values = {VERSION: boxtune.__version__, SCORE_FLOOR: repr(self.score_floor)}
        if self.label_map:
            labels = [
                {"id": label.id, "name": label.name, "display_name": label.display_name}
                for label in self.label_map.labels
            ]
            values[CLASSES] = json.dumps(labels)
        if self.thresholds:
            values[THRESHOLDS] = json.dumps(asdict(self.thresholds))
        return values
