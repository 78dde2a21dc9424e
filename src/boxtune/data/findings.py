"""What can be wrong with a data set, how bad each is, and what is done about it: one table, used everywhere.

A reader or a check adds a finding for everything that is not as it should be. Nothing is dropped without one.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from boxtune.data.compact import Compact
from boxtune.errors import printable


class Severity(StrEnum):
    """How bad it is: data are lost, data may be wrong, or good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Action(StrEnum):
    """What `boxtune convert` does about it."""

    REFUSE = "refuse"
    SKIP_IMAGE = "skip the picture"
    SKIP_OBJECT = "skip the object"
    REPAIR = "repair"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Kind(Compact):
    """One thing that can be wrong: its name, severity and action, and the way out in a sentence."""

    name: str
    severity: Severity
    action: Action
    advice: str


@dataclass(frozen=True, slots=True)
class Finding(Compact):
    """Something that was not as it should be.

    `file` is a path within the data set, `place` where in it ("line 14", "annotations[3]", or empty), `image` the
    name of the picture that it is about, if there is one.
    """

    kind: Kind
    file: str
    message: str
    place: str = ""
    image: str = ""

    @property
    def where(self) -> str:
        """The file, and the place in it if that is known, such as "a.xml, line 14"."""
        return f"{self.file}, {self.place}" if self.place else self.file


class SkipError(Exception):
    """A part of a data set that cannot be used; becomes a finding in `Findings.skipping`."""

    def __init__(self, kind: Kind, message: str, place: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.place = place


@dataclass
class Findings:
    """Collects the findings about the files below `root`."""

    root: Path
    items: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, path: Path, message: str, *, place: str = "", image: str = "") -> None:
        """Add a finding about a file below the root (or another, which is then named whole)."""
        self.items.append(
            Finding(kind, printable(self.name(path)), printable(message), printable(place), printable(image))
        )

    @contextmanager
    def skipping(self, path: Path, *, place: str = "", image: str = "", prefix: str = "") -> Iterator[None]:
        """Turn a SkipError into a finding, of its own place if it has one, and go on behind the block."""
        try:
            yield
        except SkipError as skip:
            self.add(skip.kind, path, prefix + str(skip), place=skip.place or place, image=image)

    def name(self, path: Path) -> str:
        """Return the path within the root, with slashes."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def by_kind(findings: Iterable[Finding]) -> dict[Kind, list[Finding]]:
    """Return the findings of each kind, in the order of the table."""
    groups: dict[Kind, list[Finding]] = {kind: [] for kind in KINDS}
    for finding in findings:
        groups[finding.kind].append(finding)
    return {kind: group for kind, group in groups.items() if group}


def _error(name: str, action: Action, advice: str) -> Kind:
    return Kind(name, Severity.ERROR, action, advice)


def _warning(name: str, action: Action, advice: str) -> Kind:
    return Kind(name, Severity.WARNING, action, advice)


def _note(name: str, advice: str) -> Kind:
    return Kind(name, Severity.NOTE, Action.KEEP, advice)


# Classes
CLASS_UNKNOWN = _error(
    "class not in the label map",
    Action.REFUSE,
    "Add it to the label map, correct the annotation, or give --rename WRONG=RIGHT.",
)
CLASS_SPELLINGS = _warning(
    "class spelled in several ways",
    Action.KEEP,
    "They are different classes unless you say otherwise: --rename WRONG=RIGHT.",
)
CLASS_NOT_IN_TRAINING = _warning(
    "class not in training", Action.KEEP, "It cannot be learnt: annotate more of it."
)
CLASS_NOT_IN_VALIDATION = _warning(
    "class not in validation", Action.KEEP, "It cannot be measured: annotate more of it."
)
CLASS_UNUSED = _note(
    "class without objects", "The label map or the list of classes names it, no object has it."
)
CLASS_DROPPED = _note("class left out", "You asked for it with --drop.")
LABEL_IDS = _warning(
    "label ids with gaps or out of order",
    Action.KEEP,
    "Ids without gaps from 1 on need no unused outputs; num_classes must be the highest id.",
)

# Annotations
ANNOTATION_UNREADABLE = _error(
    "unreadable annotation", Action.SKIP_IMAGE, "Save it again with the program that drew it."
)
ANNOTATION_TWICE = _error(
    "picture annotated twice",
    Action.SKIP_IMAGE,
    "Keep one of the two; the one of the picture's own name is used.",
)
FOREIGN = _note("not an annotation", "It is not of the format that was read.")
OTHER_FORMAT = _warning(
    "annotations in another format",
    Action.KEEP,
    "They are not read. Give --format NAME to read them instead.",
)
NOT_LOOKED_AT = _warning(
    "not looked at", Action.KEEP, "Copy what is needed into the folder, under a name without a leading dot."
)
NOT_READ = _warning(
    "not read", Action.KEEP, "Another part of the data set was preferred, as the message says."
)
OBJECT_WITHOUT_NAME = _error("object without name", Action.SKIP_OBJECT, "Give it its class.")
OBJECT_WITHOUT_BOX = _error("object without box", Action.SKIP_OBJECT, "Draw it again.")
MASK_UNREADABLE = _warning(
    "unreadable mask or keypoints", Action.REPAIR, "The object is kept without them; its box is not affected."
)
OBJECT_OTHER_SHAPE = _warning(
    "shape without a box of its own",
    Action.SKIP_OBJECT,
    "Points and lines are not objects to detect; draw boxes or polygons.",
)
NO_USABLE_OBJECT = _error(
    "no usable object", Action.SKIP_IMAGE, "Correct its objects; without them it would train as background."
)
NO_OBJECT = _note(
    "picture without objects", "It is used as background: the detector learns to find nothing there."
)

# Boxes
BOX_REORDERED = _warning("box with swapped corners", Action.REPAIR, "Its corners are put in order.")
BOX_CLIPPED = _warning("box beyond the picture", Action.REPAIR, "It is cut to the picture.")
BOX_OUTSIDE = _error(
    "box outside the picture", Action.SKIP_OBJECT, "Is it the right picture, and was it resized afterwards?"
)
BOX_WITHOUT_AREA = _error("box without area", Action.SKIP_OBJECT, "Draw it again or delete it.")
BOX_TINY = _warning(
    "tiny box",
    Action.KEEP,
    "A side has fewer than three pixels: a slip of the mouse, or too small to be found.",
)
BOX_TWICE = _warning("box drawn twice", Action.REPAIR, "One of two equal boxes of one class is left out.")
BOX_OF_TWO_CLASSES = _warning("box of two classes", Action.KEEP, "One of the two is probably a mistake.")

# Pictures
PICTURE_MISSING = _error("picture not found", Action.SKIP_IMAGE, "Add the picture, or delete the annotation.")
PICTURE_AMBIGUOUS = _error("picture ambiguous", Action.SKIP_IMAGE, "Give the pictures different names.")
PICTURE_SIMILAR_NAME = _note(
    "picture of a similar name", "The name that is written does not exist exactly so."
)
PICTURE_WITHOUT_ANNOTATION = _note(
    "picture without annotation", "It is not used. Save it without boxes to use it as background."
)
PICTURE_UNREADABLE = _error("unreadable picture", Action.SKIP_IMAGE, "Copy or export it again.")
PICTURE_TOO_LARGE = _error("picture too large", Action.SKIP_IMAGE, "Make it smaller before annotating it.")
PICTURE_WRONG_EXTENSION = _note("content other than its extension", "It is read by its content.")
PICTURE_RECODED = _warning(
    "picture encoded again", Action.REPAIR, "It becomes RGB in JPEG or PNG, which every decoder reads alike."
)
PICTURE_GREY = _note("grey picture", "Its three channels will be equal.")
PICTURE_TURNED = _warning(
    "picture turned upright", Action.REPAIR, "Its EXIF orientation is applied, and it is encoded again."
)
ORIENTATION_UNSURE = _warning(
    "orientation uncertain",
    Action.REPAIR,
    "The boxes are taken to fit the picture as it is stored, and both are turned upright: look at it.",
)
SIZE_DIFFERS = _warning(
    "size differs",
    Action.KEEP,
    "The picture's own size counts. If it was resized after it was annotated, its boxes are wrong.",
)
PICTURE_TWICE = _warning(
    "same picture twice", Action.KEEP, "All of its copies are kept on one side of a drawn split."
)
PICTURE_UNPLACED = _note(
    "picture in none of the parts", "It is used for training: no folder says where it belongs."
)
LEAK = _error(
    "same picture in two parts",
    Action.KEEP,
    "The result will look better than it is: remove it from one side.",
)

KINDS: tuple[Kind, ...] = tuple(kind for kind in list(globals().values()) if isinstance(kind, Kind))
