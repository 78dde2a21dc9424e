"""Training on tiles: each image that is larger than one becomes its tiles, with the objects that they show, and itself.

So a detector learns small objects at the size at which `predict --tile` and `evaluate --tile` show them. Images are cut
after the split, so no image is in two parts. Cutting is only planned here: pixels are cut when they are written.

Source of the rule for objects: slicing.slice_coco of SAHI (arXiv:2202.06934), whose `min_area_ratio` is `min_visible`;
what is below it is left out there, as background, and is not counted as right or wrong here.
"""

import hashlib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from boxtune.data import findings as kinds
from boxtune.data import masks
from boxtune.data.findings import Findings
from boxtune.data.image_record import (
    Box,
    ImageRecord,
    Keypoint,
    ObjectRecord,
    Tile,
    area,
    clip,
    has_area,
    within,
)
from boxtune.data.tiling import Tiling
from boxtune.errors import ConfigError, many

MIN_VISIBLE = 0.5
MIN_IN_WHOLE = 4.0
"""Pixels of the side of an object where the whole image is scaled down to the side of a tile: of less nothing can be
recognised, and nothing is learned."""
WHOLE = "whole"
"""The part of the validation images as they are, for `evaluate --tile`; `validation` has their tiles."""

_ALL_OF_IT = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Cutting:
    """How images are cut for training.

    Attributes:
        tiling: where tiles lie.
        min_visible: the fraction in (0, 1] of an object's box that has to lie in a tile for it to be an object there.

    Raises:
        ConfigError: if `min_visible` is not in (0, 1].
    """

    tiling: Tiling
    min_visible: float = MIN_VISIBLE

    def __post_init__(self) -> None:
        if not 0 < self.min_visible <= 1:
            raise ConfigError(
                f"--min_visible is {self.min_visible!r}: give the fraction of an object that a tile has to show, from "
                f"above 0 to 1, such as {MIN_VISIBLE}"
            )


@dataclass(slots=True)
class Counts:
    """What became of the images and objects of a part.

    Attributes:
        images: in it; `cut` of them are larger than a tile.
        tiles: that are written; `background` of them are without an object, and `background_left_out` not written.
        objects: whole in a tile, once for each tile; `cut_objects` at its edge and visible enough.
        ignored: less visible, and so neither object nor background; or left out, where the format cannot say that.
        only_whole: objects, each once, that are in no tile visible enough: only the whole image has them.
        too_small: objects, each once, that are too small in the whole image, and ignored there: tiles have them.
    """

    images: int = 0
    cut: int = 0
    tiles: int = 0
    background: int = 0
    background_left_out: int = 0
    objects: int = 0
    cut_objects: int = 0
    ignored: int = 0
    only_whole: int = 0
    too_small: int = 0


def cut_parts(
    parts: Mapping[str, Sequence[ImageRecord]],
    cutting: Cutting,
    findings: Findings,
    *,
    seed: int = 0,
    can_ignore: bool = True,
) -> tuple[dict[str, Sequence[ImageRecord]], dict[str, Counts]]:
    """Cut the images for training and validation; return the parts, and what became of each that is cut.

    Those for validation are kept whole, too, as a part of their own, and those for testing are not cut. Of the tiles
    for training that are without an object as many are kept as there are others, the same for the same seed; of those
    for validation all.

    Args:
        parts: images by the name of their part.
        cutting: how they are cut.
        findings: takes what is told of it.
        seed: of the draw of tiles without an object.
        can_ignore: whether what is written can say of an object that it counts neither as right nor as wrong.

    Raises:
        ConfigError: naming the image that would become too many tiles.
    """
    taken = {image.name for images in parts.values() for image in images}
    made: dict[str, Sequence[ImageRecord]] = {}
    counts = {}
    for part, images in parts.items():
        if part not in ("train", "validation"):
            made[part] = images
            continue
        cutter = _Cutter(cutting, findings, taken, can_ignore)
        tiles = [tile for image in images for tile in cutter.cut(image)]
        made[part] = _less_background(tiles, cutter.counts, seed) if part == "train" else tiles
        counts[part] = cutter.counts
        if part == "validation" and cutter.counts.cut:
            made[WHOLE] = images
        _tell(part, cutting, cutter.counts, findings, can_ignore)
    return made, counts


class _Cutter:
    """Cuts the images of one part, and counts."""

    def __init__(self, cutting: Cutting, findings: Findings, taken: set[str], can_ignore: bool) -> None:
        self.cutting, self.findings, self.can_ignore = cutting, findings, can_ignore
        self.counts = Counts()
        self._taken = taken

    def cut(self, image: ImageRecord) -> list[ImageRecord]:
        """Return the image and its tiles."""
        tiles = self.cutting.tiling.tiles(image.height, image.width, image.name)
        self.counts.images += 1
        if not tiles:
            return [image]
        self.counts.cut += 1
        shown: set[int] = set()
        records = [self._tile(image, tile, shown) for tile in tiles]
        return [self._whole(image, shown), *records]

    def _whole(self, image: ImageRecord, shown: Collection[int]) -> ImageRecord:
        """Return the whole image, where objects that are `shown` in a tile may be too small to count."""
        objects = []
        for number, item in enumerate(image.objects):
            is_small = self._side_in_whole(item, image) < MIN_IN_WHOLE * _ALL_OF_IT
            if number not in shown:
                self._note_only_whole(image, item)
            elif is_small and not (item.is_crowd or item.group_of):
                self.counts.too_small += 1
                if self.can_ignore:
                    objects.append(_ignored(item))
                continue
            objects.append(item)
        return replace(image, objects=tuple(objects))

    def _side_in_whole(self, item: ObjectRecord, image: ImageRecord) -> float:
        """Return the side of a square like an object, in pixels of the image scaled down to a tile."""
        scale = self.cutting.tiling.side / max(image.height, image.width)
        return math.sqrt(area(item.box) * image.height * image.width) * scale

    def _tile(self, image: ImageRecord, tile: Tile, shown: set[int]) -> ImageRecord:
        """Return the record of a tile; the numbers of the objects that count there are added to `shown`."""
        objects = []
        for number, item in enumerate(image.objects):
            fraction = visible(item.box, tile, image)
            if fraction <= 0:
                continue
            counts = fraction >= self.cutting.min_visible or item.is_crowd or item.group_of
            if counts:
                shown.add(number)
                self.counts.objects += fraction >= _ALL_OF_IT
                self.counts.cut_objects += fraction < _ALL_OF_IT
            else:
                self.counts.ignored += 1
            if counts or self.can_ignore:
                objects.append(_moved(item, tile, image, fraction, ignored=not counts))
        self.counts.tiles += 1
        self.counts.background += not any(_counts(item) for item in objects)
        return replace(
            image,
            name=self._name(image.name, tile),
            width=tile.width,
            height=tile.height,
            objects=tuple(objects),
            crop=tile,
        )

    def _name(self, name: str, tile: Tile) -> str:
        """Return a name that says where the tile lies, and that no other image has."""
        stem, extension = os.path.splitext(name)
        stem += f"_y{tile.top}_x{tile.left}_{tile.width}x{tile.height}"
        found, number = f"{stem}{extension}", 2
        while found in self._taken:
            found, number = f"{stem}-{number}{extension}", number + 1
        self._taken.add(found)
        return found

    def _note_only_whole(self, image: ImageRecord, item: ObjectRecord) -> None:
        self.counts.only_whole += 1
        width = (item.box.xmax - item.box.xmin) * image.width
        height = (item.box.ymax - item.box.ymin) * image.height
        message = f"{item.class_name} of {width:.0f}x{height:.0f} pixels is in no tile to {self.cutting.min_visible:g}."
        self.findings.add(
            kinds.ONLY_IN_WHOLE, self.findings.root / image.annotation, message, image=image.name
        )


def visible(box: Box, tile: Tile, image: ImageRecord) -> float:
    """Return the fraction in [0, 1] of a box of an image that lies in a tile; 0 where no area would be left."""
    cut = clip(within(box, _window(tile, image)))
    if not has_area(cut):
        return 0.0
    share = area(cut) * (tile.height * tile.width) / (image.height * image.width)
    return min(share / area(box), 1.0)


def _window(tile: Tile, image: ImageRecord) -> Box:
    """Return a tile as fractions of its image."""
    height, width = image.height, image.width
    return Box(tile.top / height, tile.left / width, tile.bottom / height, tile.right / width)


def _moved(
    item: ObjectRecord, tile: Tile, image: ImageRecord, fraction: float, *, ignored: bool
) -> ObjectRecord:
    """Return an object of an image in the frame of a tile, cut to it; its area by the visible fraction of its box."""
    window, is_cut = _window(tile, image), fraction < _ALL_OF_IT
    moved = replace(
        item,
        box=clip(within(item.box, window)),
        truncated=item.truncated or is_cut,
        area=item.area * fraction if item.area is not None and is_cut else item.area,
        mask=masks.cropped(item.mask, tile, image.height, image.width) if item.mask else None,
        keypoints=tuple(_moved_point(point, window) for point in item.keypoints),
    )
    return _ignored(moved) if ignored else moved


def _ignored(item: ObjectRecord) -> ObjectRecord:
    """Return an object that has no weight in training, and is no mistake in an evaluation, found or not."""
    return replace(item, difficult=True, is_crowd=True, weight=0.0)


def _moved_point(point: Keypoint, window: Box) -> Keypoint:
    """Return a keypoint in the frame of a window; one that lies outside is absent."""
    y, x, _, _ = within(Box(point.y, point.x, point.y, point.x), window)
    return point._replace(y=y, x=x) if 0 <= y <= 1 and 0 <= x <= 1 else Keypoint(point.name, 0.0, 0.0, 0)


def _counts(item: ObjectRecord) -> bool:
    return item.weight > 0


def _less_background(tiles: Sequence[ImageRecord], counts: Counts, seed: int) -> list[ImageRecord]:
    """Return the images without those tiles that have no object and are more than the others; they are counted."""
    without = [one for one in tiles if one.crop and not any(map(_counts, one.objects))]
    most = sum(one.crop is not None for one in tiles) - len(without)
    left_out = {one.name for one in sorted(without, key=lambda one: _rank(one.name, seed))[most:]}
    counts.background_left_out = len(left_out)
    counts.background -= len(left_out)
    counts.tiles -= len(left_out)
    return [one for one in tiles if one.name not in left_out]


def _rank(name: str, seed: int) -> bytes:
    """Return where a tile stands in a random order, which more images do not change."""
    return hashlib.sha256(f"{seed} {name}".encode(errors="surrogateescape")).digest()


def _tell(part: str, cutting: Cutting, counts: Counts, findings: Findings, can_ignore: bool) -> None:
    """Add what became of a part as one finding."""
    if not counts.cut:
        message = (
            f"{part}: none of {many(counts.images, 'image')} is larger than {cutting.tiling.side} pixels."
        )
        findings.add(kinds.NOTHING_CUT, findings.root, message)
        return
    left_out = f", and {counts.background_left_out:,} more left out" if counts.background_left_out else ""
    ignored = "not counted" if can_ignore else "left out, as the format cannot say that they do not count"
    findings.add(
        kinds.CUT_INTO_TILES,
        findings.root,
        f"{part}: {counts.cut:,} of {many(counts.images, 'image')} became {many(counts.tiles, 'tile')} beside the "
        f"whole ({counts.background:,} without an object{left_out}); objects in them: {counts.objects:,} whole, "
        f"{counts.cut_objects:,} cut, of {counts.ignored:,} less than {cutting.min_visible:g} is visible ({ignored}); "
        f"{counts.too_small:,} are too small in the whole ({ignored} there).",
    )
