"""Everything that can be wrong with a data set, its severity, and how it is handled: one table, used everywhere.

A reader or a check adds a finding for everything that is not as it should be. Nothing is dropped without one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from boxtune.data.compact import Compact
from boxtune.errors import DataError, printable


class Severity(StrEnum):
    """How bad it is: data are lost, data may be wrong, or good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Action(StrEnum):
    """How `boxtune convert` handles it."""

    REFUSE = "refuse"
    SKIP_IMAGE = "skip the image"
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

    `file` is a path within the data set, `location` where in it ("line 14", "annotations[3]", or empty), `image` the
    name of the image that it is about, if there is one. `flags` are those of the command line that set it right, where
    some do.
    """

    kind: Kind
    file: str
    message: str
    location: str = ""
    image: str = ""
    flags: str = ""

    @property
    def where(self) -> str:
        """The file, and the location in it if that is known, such as "a.xml, line 14"."""
        return f"{self.file}, {self.location}" if self.location else self.file

    def __str__(self) -> str:
        return self.message if self.file == "." else f"{self.where}: {self.message}"


class SkipError(Exception):
    """A part of a data set that cannot be used; becomes a finding in `Findings.skipping`."""

    def __init__(self, kind: Kind, message: str, location: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.location = location


@contextmanager
def skipped_as(kind: Kind, prefix: str = "") -> Iterator[None]:
    """Turn a DataError into a SkipError of a kind."""
    try:
        yield
    except DataError as error:
        raise SkipError(kind, f"{prefix}{error}") from error


@dataclass
class Findings:
    """Collects the findings about the files below `root`."""

    root: Path
    items: list[Finding] = field(default_factory=list)

    def add(
        self, kind: Kind, path: Path, message: str, *, location: str = "", image: str = "", flags: str = ""
    ) -> None:
        """Add a finding about a file below the root (or another, which is then named whole).

        A message that starts with the path does not repeat it.
        """
        message = message.removeprefix(f"{path}: ")
        if message.startswith(f"{path} "):
            message = f"it{message.removeprefix(str(path))}"
        texts = map(printable, (self.name(path), message, location, image, flags))
        self.items.append(Finding(kind, *texts))

    @contextmanager
    def skipping(self, path: Path, *, location: str = "", image: str = "") -> Iterator[None]:
        """Turn a SkipError into a finding, of its own location if it has one, and go on behind the block."""
        try:
            yield
        except SkipError as skip:
            self.add(skip.kind, path, str(skip), location=skip.location or location, image=image)

    def name(self, path: Path) -> str:
        """Return the path within the root, with slashes."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def by_kind(findings: Iterable[Finding]) -> dict[Kind, list[Finding]]:
    """Return the findings of each kind, in the order of the table."""
    groups: dict[Kind, list[Finding]] = {kind: [] for kind in KINDS}
    for finding in findings:
        groups[finding.kind].append(finding)
    return {kind: group for kind, group in groups.items() if group}


def flags_of(findings: Iterable[Finding]) -> str:
    """Return the flags that set several findings right, each once."""
    return " ".join(dict.fromkeys(finding.flags for finding in findings if finding.flags))


def _kinds(severity: Severity, action: Action) -> Callable[[str, str], Kind]:
    return lambda name, advice: Kind(name, severity, action, advice)


_refuse = _kinds(Severity.ERROR, Action.REFUSE)
_skip_image = _kinds(Severity.ERROR, Action.SKIP_IMAGE)
_skip_object = _kinds(Severity.ERROR, Action.SKIP_OBJECT)
_repair = _kinds(Severity.WARNING, Action.REPAIR)
_warn = _kinds(Severity.WARNING, Action.KEEP)
_note = _kinds(Severity.NOTE, Action.KEEP)

# How the set is written: the cause of much that may follow
COLUMNS_UNSURE = _refuse(
    "columns uncertain",
    "Write a header into the first line: filename,width,height,class,xmin,ymin,xmax,ymax.",
)
CONVENTION_UNSURE = _refuse(
    "boxes written in another way",
    "Give the flag that fits (what is drawn shows it), or --boxes as_written where they are right.",
)
CONVENTIONS_MIXED = _refuse(
    "boxes written in two ways",
    "Write all of them alike, or read the parts one by one; --boxes as_written where they are right.",
)
KEYPOINTS_UNSURE = _refuse(
    "polygons or keypoints",
    "Say it in data.yaml beside names: kpt_shape: [COUNT, 2 or 3] for keypoints, task: segment for polygons.",
)
ORIENTATION_UNSURE = _refuse(
    "orientation uncertain",
    "Say how the boxes were drawn: --exif upright (browsers, Ultralytics) or --exif stored (old LabelImg).",
)

# Classes
CLASS_UNKNOWN = _refuse(
    "class not in the label map",
    "Add it to the label map, correct the annotation, or give --rename WRONG=RIGHT.",
)
CLASS_UNNAMED = _refuse(
    "class number without name",
    'Put a label map (.pbtxt) that names it beside the records, or give --rename "class NUMBER=NAME".',
)
CLASS_SPELLINGS = _warn(
    "class spelled in several ways",
    "They are different classes unless you say otherwise: --rename WRONG=RIGHT.",
)
CLASS_NOT_IN_TRAINING = _warn("class not in training", "It cannot be learnt: annotate more of it.")
CLASS_NOT_IN_VALIDATION = _warn("class not in validation", "It cannot be measured: annotate more of it.")
CLASS_ONLY_CROWDS = _warn(
    "class of crowds only", "No evaluation counts crowds (iscrowd): annotate its objects one by one."
)
CLASS_UNUSED = _note(
    "class without objects", "The label map or the list of classes names it, no object has it."
)
CLASS_NUMBERS = _note(
    "class of several numbers", "Their objects are of one class; give them different names if they are not."
)
CLASS_LOST = _refuse(
    "class lost",
    "Annotate each image once, or draw the same object alike, so that annotations can be joined.",
)
CLASS_DROPPED = _note("class left out", "You asked for it with --drop.")
LABEL_IDS = _warn(
    "label ids with gaps or out of order",
    "Ids without gaps from 1 on need no unused outputs; num_classes must be the highest id.",
)

# Annotations
ANNOTATION_UNREADABLE = _skip_image("unreadable annotation", "Save it again with the program that drew it.")
ANNOTATION_TWICE = _repair(
    "image annotated twice",
    "They cannot be joined without doubling objects: the one of the image's own name is used, else the first.",
)
ANNOTATION_JOINED = _note(
    "annotations joined", "Their objects are those of one image; equal boxes of one class count once."
)
OBJECT_LEFT_OUT = _skip_object(
    "object of an annotation that is not used",
    "Draw it in the annotation that is used, and delete the other.",
)
FOREIGN = _note("not an annotation", "It is not of the format that was read.")
OTHER_FORMAT = _warn(
    "annotations in another format", "They are not read. Give --format NAME to read them instead."
)
NOT_LOOKED_AT = _warn(
    "not looked at", "Copy what is needed into the folder, under a name without a leading dot."
)
UNOPENED = _warn(
    "file that cannot be opened", "If it belongs to the data set, do what its message says; else remove it."
)
NOT_READ = _warn("not read", "Another part of the data set was preferred, as the message says.")
RECORD_TYPES = _repair(
    "key of another type than the API's",
    "Its values are read as that type; the API itself refuses the record.",
)
OBJECTS_TOO_MANY = _skip_image(
    "too many objects", "Training takes too much memory for them: cut the image into parts."
)
OBJECT_WITHOUT_NAME = _skip_object("object without name", "Give it its class.")
OBJECT_WITHOUT_BOX = _skip_object("object without box", "Draw it again.")
MASK_UNREADABLE = _repair(
    "unreadable mask or keypoints", "The object is kept without them; its box is not affected."
)
OBJECT_OTHER_SHAPE = Kind(
    "shape without a box of its own",
    Severity.WARNING,
    Action.SKIP_OBJECT,
    "Points and lines are not objects to detect; draw boxes or polygons.",
)
NO_USABLE_OBJECT = _skip_image(
    "no usable object", "Correct its objects; without them it would train as background."
)
NO_OBJECT = _note(
    "image without objects", "It is used as background: the detector learns to find nothing there."
)

# Boxes
KEYPOINTS_TOLD = _note(
    "keypoints without kpt_shape", "All lines of the set say so. kpt_shape in data.yaml says it, too."
)
COLUMNS_GUESSED = _note("columns without header", "They are taken for those of the table that fits them.")
BOX_REORDERED = _repair("box with swapped corners", "Its corners are put in order.")
BOX_CLIPPED = _repair("box beyond the image", "It is cut to the image.")
BOX_IN_FRACTIONS = _skip_object(
    "box in fractions among pixels",
    "Write it in pixels, as its format has it, or give --boxes normalized if all are.",
)
BOX_OUTSIDE = _skip_object("box outside the image", "Is it the right image, and was it resized afterwards?")
BOX_WITHOUT_AREA = _skip_object("box without area", "Draw it again or delete it.")
BOX_TINY = _warn(
    "tiny box", "A side has fewer than three pixels: a slip of the mouse, or too small to be found."
)
BOX_TWICE = _repair("box drawn twice", "One of two equal boxes of one class is left out.")
BOX_OF_TWO_CLASSES = _warn("box of two classes", "One of the two is probably a mistake.")

# Images
IMAGE_MISSING = _skip_image("image not found", "Add the image, or delete the annotation.")
IMAGE_AMBIGUOUS = _skip_image("image ambiguous", "Give the images different names.")
NAME_CONTRADICTED = _skip_image(
    "name of another image",
    "Correct it, or give --image_names own (files were renamed) or --image_names written (names are alike by chance).",
)
IMAGE_SIMILAR_NAME = _note("image of a similar name", "The name that is written does not exist exactly so.")
IMAGE_WITHOUT_ANNOTATION = _note(
    "image without annotation", "It is not used. Save it without boxes to use it as background."
)
IMAGE_UNREADABLE = _skip_image("unreadable image", "Each message says what helps.")
IMAGE_TOO_LARGE = _skip_image("image too large", "Make it smaller before annotating it.")
IMAGE_WRONG_EXTENSION = _note("content other than its extension", "It is read by its content.")
IMAGE_RECODED = _repair(
    "image encoded again", "It becomes RGB in JPEG or PNG, which every decoder reads alike."
)
IMAGE_WITHOUT_END = _repair(
    "image without end marker", "It gets the marker that it lacks, and no pixel changes."
)
IMAGE_GREY = _note("grey image", "Its three channels will be equal.")
IMAGE_TURNED = _repair("image turned upright", "Its EXIF orientation is applied, and it is encoded again.")
SIZE_DIFFERS = _warn(
    "size differs",
    "The image's own size counts. If it was resized after it was annotated, its boxes are wrong.",
)
IMAGE_TWICE = _warn("same image twice", "All of its copies are kept on one side of a drawn split.")
BURSTS = _note(
    "images right after each other",
    "By their EXIF or names they were taken within three seconds, or are numbered one after the other and look alike: "
    "each series is kept on one side of a drawn split.",
)
SPLIT_KEPT = _note("split of before", "Only what is new was drawn; --new_split draws all images.")
CUT_INTO_TILES = _note(
    "images cut into tiles", "You asked for it with --tile. Images that are not larger stay as they are."
)
NOTHING_CUT = _warn("no image larger than a tile", "They stay as they are: give a smaller --tile, or none.")
ONLY_IN_WHOLE = _note(
    "object in no tile",
    "Only the whole image has it, scaled down: a larger --tile, or more --overlap, shows it.",
)
LIST_WRONG = _refuse(
    "list of another data set",
    "Correct the lists, or ask for another split with --validation_fraction, --validation_files or --folds.",
)
LISTS_INCOMPLETE = _note(
    "lists without validation",
    "They name images for training or for validation only; the split is made without them.",
)
IMAGE_UNASSIGNED = _note(
    "image in none of the parts", "It is used for training: no list or folder says where it belongs."
)
LEAK = Kind(
    "same image in two parts",
    Severity.ERROR,
    Action.KEEP,
    "The result will look better than it is: remove it from one side.",
)

KINDS: tuple[Kind, ...] = tuple(kind for kind in list(globals().values()) if isinstance(kind, Kind))
