"""The verb `draw`: a small practice set of annotated images, to try everything before having a data set.

Four kinds of objects in many colours lie on photograph-like grounds; some overlap, some are cut by the
border. Everything is computed from the seed. An object has coordinates of its own, u to the right and v down,
and lies within the unit circle there. It is drawn by the signed distance to its outline, negative inside: the
sign gives the shape, the value soft edges and shadows.

Dimension letters: h w, pixels; g, any shape.
"""

import colorsys
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from boxtune.data.files import whole_file, writable_folder, write_text
from boxtune.data.formats import voc
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.errors import DataError, many

WIDTH, HEIGHT = 320, 240
MAX_IMAGES = 9999
MIN_SIDE, MAX_SIDE = 64, 8000
MIN_OBJECT = 6
MAX_OBJECTS = 500
MIN_VISIBLE = 0.55
_FILE_NAME = re.compile(r"practice-\d{4}\.(jpg|xml)")

Array = np.ndarray
Random = np.random.Generator
Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class DrawReport:
    """What was drawn, and the number of objects of each class."""

    output_dir: Path
    images: int
    classes: dict[str, int]

    def __str__(self) -> str:
        classes = ", ".join(f"{count} {name}" for name, count in self.classes.items())
        objects = sum(self.classes.values())
        return f"{many(self.images, 'image')} with {many(objects, 'object')} ({classes}) in {self.output_dir}"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How large images and objects are: `scale` is that of an image to the usual one."""

    width: int
    height: int
    diameters: tuple[float, float] | None
    objects: int | None

    @property
    def scale(self) -> float:
        return self.height / HEIGHT

    def radius(self, rng: Random) -> float:
        """Return the radius of the circle around an object, in pixels."""
        if self.diameters is None:
            return self.height * rng.triangular(0.05, 0.16, 0.25)
        return rng.uniform(*self.diameters) / 2

    def num_objects(self, rng: Random) -> int:
        """Return how many objects an image is to have."""
        return int(rng.integers(1, 5)) if self.objects is None else self.objects


def draw(
    output_dir: str | Path,
    *,
    num_images: int = 120,
    seed: int = 0,
    size: int = WIDTH,
    object_size: tuple[float, float] | None = None,
    objects: int | None = None,
) -> DrawReport:
    """Draw images to ``images/*.jpg`` and their boxes to ``annotations/*.xml``, Pascal VOC like LabelImg's.

    The seed, an image's number, and the last three arguments alone decide what is in it. What an earlier call drew in
    the same folder is replaced.

    Args:
        output_dir: made if need be.
        num_images: from 1 to 9,999.
        seed: of everything.
        size: width of the images in pixels, from 64 to 8,000; they are three quarters as high.
        object_size: the smallest and the largest diameter of the circle around an object, in pixels, from 6 to half of
            `size`; by default from a tenth to a half of the height of the images.
        objects: in each image, from 1 to 500, as far as they find room; by default from 1 to 4.

    Raises:
        DataError: for an argument out of range, or if the folder cannot be written to.
    """
    output_dir = Path(output_dir)
    layout = _layout(size, object_size, objects)
    if not 1 <= num_images <= MAX_IMAGES:
        raise DataError(f"{num_images} images cannot be drawn: from 1 to {MAX_IMAGES} can.")
    for folder in (writable_folder(output_dir / "images"), writable_folder(output_dir / "annotations")):
        for path in sorted(folder.iterdir()):
            if _FILE_NAME.fullmatch(path.name):
                path.unlink()

    classes = Counter(dict.fromkeys(sorted(KINDS), 0))
    for number in range(1, num_images + 1):
        scene = _scene(np.random.default_rng([seed, number]), layout)
        _save(scene, output_dir, f"practice-{number:04d}")
        classes.update(thing.class_name for thing in scene.things)
    return DrawReport(output_dir, num_images, dict(classes))


def _layout(size: int, object_size: tuple[float, float] | None, objects: int | None) -> _Layout:
    if not MIN_SIDE <= size <= MAX_SIDE:
        raise DataError(f"images of {size} pixels cannot be drawn: from {MIN_SIDE} to {MAX_SIDE} can.")
    if object_size and not MIN_OBJECT <= object_size[0] <= object_size[1] <= size / 2:
        low, high = object_size
        raise DataError(
            f"objects of {low:g} to {high:g} pixels cannot be drawn in images of {size}: from {MIN_OBJECT} to "
            f"{size // 2} can, the smallest first."
        )
    if objects is not None and not 1 <= objects <= MAX_OBJECTS:
        raise DataError(f"{objects} objects in an image cannot be drawn: from 1 to {MAX_OBJECTS} can.")
    return _Layout(size, round(size * HEIGHT / WIDTH), object_size, objects)


# Scenes


class _Thing(NamedTuple):
    """An object in a scene, and how many pixels it would show if nothing hid or cut it."""

    class_name: str
    area: float


@dataclass(slots=True)
class _Scene:
    """Colours [h, w, 3] in [0, 1], which thing is seen where [h, w] (-1: none), and where light is from.

    `shown` counts the pixels that are seen of each thing.
    """

    layout: _Layout
    colours: Array
    seen: Array
    light: Array
    things: list[_Thing] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Return xmin, ymin, xmax, ymax, the edges of the visible part of a thing."""
        rows, columns = np.nonzero(self.seen == number)
        return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _scene(rng: Random, layout: _Layout = _Layout(WIDTH, HEIGHT, None, None)) -> _Scene:
    light = np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.7, -0.2), 0.75], np.float32)
    light /= np.linalg.norm(light)
    ground = (_table, _gravel, _backdrop)[rng.integers(3)](rng, layout)
    scene = _Scene(layout, ground, np.full((layout.height, layout.width), -1), light)
    num_things = layout.num_objects(rng)
    for _ in range(max(25, 5 * num_things)):
        if len(scene.things) < num_things:
            _try_to_add(scene, rng)
    scene.colours = _photographed(scene.colours, rng, layout)
    return scene


def _try_to_add(scene: _Scene, rng: Random) -> None:
    """Lay a random object somewhere, unless too little would be seen of it or of another."""
    name = str(rng.choice(sorted(KINDS)))
    kind, layout = KINDS[name], scene.layout
    radius = layout.radius(rng)
    centre = rng.uniform(0, layout.width), rng.uniform(0, layout.height)
    angle = rng.uniform(-kind.max_angle, kind.max_angle)

    window = _around(centre, radius, layout)
    u, v = _coordinates(centre, radius, angle, window)
    distance = kind.outline(u, v)
    inside = distance < 0
    grid = np.linspace(-1, 1, 128)
    unit_area = 4 * float(np.mean(kind.outline(grid[None, :], grid[:, None]) < 0))
    things = [*scene.things, _Thing(name, unit_area * radius**2)]
    seen = scene.seen[window]
    hidden = np.bincount(seen[inside] + 1, minlength=len(things))[1:]
    shown = [*(np.array(scene.shown, int) - hidden).tolist(), int(inside.sum())]
    if any(count < MIN_VISIBLE * thing.area for count, thing in zip(shown, things, strict=True)):
        return

    light = np.array([*_turned(scene.light[0], scene.light[1], angle), scene.light[2]], np.float32)
    fallen = (centre[0] - 0.4 * radius * scene.light[0], centre[1] - 0.4 * radius * scene.light[1])
    shadow = 0.55 * _smoothstep(0.22, -0.3, kind.outline(*_coordinates(fallen, radius, angle, window)))
    opacity = np.clip(0.5 - distance * radius, 0, 1)[..., None]
    paint = np.clip(kind.paint(u, v, light, _colours(kind, rng)), 0, 1)
    drawn = scene.colours[window] * (1 - shadow[..., None]) * (1 - opacity) + paint * opacity
    scene.colours = scene.colours.astype(drawn.dtype, copy=False)
    scene.colours[window] = drawn
    seen[inside] = len(scene.things)
    scene.things, scene.shown = things, shown


def _around(centre: tuple[float, float], radius: float, layout: _Layout) -> Window:
    """Return the rows and columns that an object and its shadow can reach."""
    x, y = centre
    reach = 2 * radius + 2
    rows = slice(max(int(y - reach), 0), min(int(y + reach), layout.height))
    return rows, slice(max(int(x - reach), 0), min(int(x + reach), layout.width))


def _everywhere(layout: _Layout) -> Window:
    return slice(0, layout.height), slice(0, layout.width)


def _coordinates(
    centre: tuple[float, float], radius: float, angle: float, window: Window
) -> tuple[Array, Array]:
    """Return u and v [h, w] of the centre of each pixel of a window, for an object of that location, size and turn."""
    rows, columns = window
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - centre[0]) / radius
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - centre[1]) / radius
    return _turned(x[None, :], y[:, None], angle)


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def _photographed(colours: Array, rng: Random, layout: _Layout) -> Array:
    """Imitate a camera: light falloff, darker corners, exposure, a tint, grain."""
    x = np.linspace(-1, 1, layout.width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, layout.height, dtype=np.float32)[:, None]
    slope = 1 + rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.2, 0.1) * y
    vignette = 1 - rng.uniform(0.1, 0.3) * (x**2 + y**2) / 2
    tint = (rng.uniform(0.93, 1.07, 3) * rng.uniform(0.95, 1.25)).astype(np.float32)
    grain = rng.uniform(0.005, 0.02) * rng.standard_normal((layout.height, layout.width, 1), np.float32)
    return np.clip(colours * (slope * vignette)[..., None] * tint + grain, 0, 1)


def _save(scene: _Scene, folder: Path, name: str) -> None:
    image = Image.fromarray((scene.colours * 255).round().astype(np.uint8))
    with whole_file(folder / "images" / f"{name}.jpg") as temporary:
        image.save(temporary, "JPEG", quality=92)
    width, height, objects = scene.layout.width, scene.layout.height, []
    for number, thing in enumerate(scene.things):
        xmin, ymin, xmax, ymax = scene.box(number)
        truncated = xmin == 0 or ymin == 0 or xmax == width or ymax == height
        box = Box(ymin / height, xmin / width, ymax / height, xmax / width)
        objects.append(ObjectRecord(thing.class_name, box, truncated=truncated))
    path = Path("images", f"{name}.jpg")
    record = ImageRecord(path.name, ImageSource(path), "", width, height, tuple(objects))
    write_text(folder / "annotations" / f"{name}.xml", voc.to_xml(record, path))


# Grounds without objects, colours [h, w, 3]


def _table(rng: Random, layout: _Layout) -> Array:
    """A wooden table before a blurred room."""
    wood = _muted(rng, hue=rng.uniform(0.04, 0.11), value=rng.uniform(0.35, 0.75))
    grain = (
        0.10 * _noise(rng, layout, 50, 3)
        + 0.06 * _noise(rng, layout, 120, 6)
        + 0.10 * _noise(rng, layout, 3, 4)
    )
    table = wood * (1 + grain[..., None])
    height, slope = layout.height * rng.uniform(-0.1, 0.5), rng.uniform(-0.1, 0.1)
    edge = height + slope * (np.arange(layout.width, dtype=np.float32) - layout.width / 2)
    below = _smoothstep(-2, 2, np.arange(layout.height, dtype=np.float32)[:, None] - edge[None, :])[..., None]
    return below * table + (1 - below) * _room(rng, layout)


def _room(rng: Random, layout: _Layout) -> Array:
    """The background, out of focus."""
    wall = _muted(rng, hue=rng.uniform(), value=rng.uniform(0.3, 0.8))
    room = wall * (1 + 0.35 * _noise(rng, layout, 3, 4) + 0.2 * _noise(rng, layout, 5, 9))[..., None]
    for _ in range(rng.integers(0, 7)):
        centre = rng.uniform(0, layout.width), rng.uniform(0, layout.height / 2)
        u, v = _coordinates(centre, rng.uniform(8, 22) * layout.scale, 0, _everywhere(layout))
        glow = rng.uniform(0.1, 0.4) * _smoothstep(1.1, 0.9, np.hypot(u, v))[..., None]
        room = room * (1 - glow) + _muted(rng, hue=rng.uniform(), value=0.95) * glow
    return room


def _gravel(rng: Random, layout: _Layout) -> Array:
    """Earth, sand, grass or stone from above."""
    one, other = (_muted(rng, hue=rng.uniform(0.05, 0.4), value=rng.uniform(0.25, 0.7)) for _ in range(2))
    mixture = np.clip(0.5 + 0.5 * _noise(rng, layout, 3, 4) + 0.3 * _noise(rng, layout, 8, 11), 0, 1)[
        ..., None
    ]
    bumps = (
        0.12 * _noise(rng, layout, 30, 40)
        + 0.10 * _noise(rng, layout, 80, 107)
        + 0.08 * _noise(rng, layout, 160, 213)
    )
    return (one * mixture + other * (1 - mixture)) * (1 + bumps[..., None])


def _backdrop(rng: Random, layout: _Layout) -> Array:
    """Paper or cloth that is lit in the middle."""
    paper = _muted(rng, hue=rng.uniform(), value=rng.uniform(0.45, 0.9))
    centre = rng.uniform(0, layout.width), rng.uniform(0, layout.height)
    u, v = _coordinates(centre, 250 * layout.scale, 0, _everywhere(layout))
    creases = 0.06 * _noise(rng, layout, 4, 5) + 0.03 * _noise(rng, layout, 9, 12)
    return paper * (1.1 - 0.4 * _smoothstep(0, 1, np.hypot(u, v)) + creases)[..., None]


def _noise(rng: Random, layout: _Layout, rows: int, columns: int) -> Array:
    """Return smooth noise [h, w] of about [-1, 1] with that many waves."""
    coarse = Image.fromarray(2 * rng.random((rows, columns), np.float32) - 1)
    return np.asarray(coarse.resize((layout.width, layout.height), Image.Resampling.BICUBIC))


def _muted(rng: Random, *, hue: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.05, 0.45), value), np.float32)


def _smoothstep(start: float, end: float, x: Array) -> Array:
    """Rise smoothly from 0 at `start` to 1 at `end`, [g] to [g]."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


# Objects: an outline maps u, v [g] to distances [g]; a paint maps them, light [3] and two colours to [g, 3]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a class looks; half of its objects have a hue near `hue`, the others any."""

    outline: Callable[[Array, Array], Array]
    paint: Callable[[Array, Array, Array, tuple[Array, Array]], Array]
    hue: float
    max_angle: float


def _colours(kind: _Kind, rng: Random) -> tuple[Array, Array]:
    """Return the main and the second colour of one object."""
    hue = rng.normal(kind.hue, 0.04) if rng.random() < 0.5 else rng.uniform()
    main = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.45, 0.95), rng.uniform(0.55, 0.95))
    second = colorsys.hsv_to_rgb((hue + rng.uniform(0.2, 0.8)) % 1, rng.uniform(0, 0.6), rng.uniform(0.7, 1))
    return np.array(main, np.float32), np.array(second, np.float32)


def _lit(colour: Array, normal: tuple[Array, Array, Array], light: Array, gloss: float) -> Array:
    """Return a surface's colours [g, 3] by Lambert's law with a highlight (Blinn-Phong, seen from above)."""
    towards = sum(n * part for n, part in zip(normal, light, strict=True))
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    mirrored = sum(n * part for n, part in zip(normal, half, strict=True))
    highlight = gloss * np.clip(mirrored, 0, 1) ** 40
    return colour * (0.35 + 0.75 * np.clip(towards, 0, 1))[..., None] + highlight[..., None]


def _mixed(one: Array, other: Array, fraction: Array) -> Array:
    return one * (1 - fraction[..., None]) + other * fraction[..., None]


def _ball_paint(u: Array, v: Array, light: Array, colours: tuple[Array, Array]) -> Array:
    height = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    band = _smoothstep(0.30, 0.26, np.abs(0.8 * u + 0.6 * height - 0.1))
    return _lit(_mixed(*colours, band), (u, v, height), light, gloss=0.7)


def _star_outline(u: Array, v: Array) -> Array:
    along, across = _star_ray(u, v)
    tip, notch = (1.0, 0.0), (0.5 * np.cos(np.pi / 5), 0.5 * np.sin(np.pi / 5))
    edge = np.hypot(notch[0] - tip[0], notch[1] - tip[1])
    return ((along - tip[0]) * notch[1] + np.abs(across) * (tip[0] - notch[0])) / edge


def _star_ray(u: Array, v: Array) -> tuple[Array, Array]:
    """Return the coordinates along and across the nearest of the five rays."""
    angle = np.arctan2(u, -v)
    off = angle - 0.4 * np.pi * np.round(angle / (0.4 * np.pi))
    radius = np.hypot(u, v)
    return radius * np.cos(off), radius * np.sin(off)


def _star_paint(u: Array, v: Array, light: Array, colours: tuple[Array, Array]) -> Array:
    _, across = _star_ray(u, v)
    angle = np.arctan2(u, -v)
    ray = 0.4 * np.pi * np.round(angle / (0.4 * np.pi))
    facing = ray + np.tanh(across * 40) * 0.9
    normal = (0.65 * np.sin(facing), -0.65 * np.cos(facing), np.full_like(u, 0.76))
    return _lit(colours[0], normal, light, gloss=0.15)


def _leaf_outline(u: Array, v: Array) -> Array:
    across = _leaf_across(u, v)
    blade = np.hypot(np.abs(across) + 0.55, (v + 0.18) / 0.95) - np.hypot(0.55, 0.82)
    stem = np.maximum(np.abs(across) - 0.035, np.abs(v - 0.75) - 0.22)
    return np.minimum(blade, stem)


def _leaf_across(u: Array, v: Array) -> Array:
    """Return the distance from the bent midrib."""
    return u - 0.16 * (v**2 - 0.35)


def _leaf_paint(u: Array, v: Array, light: Array, colours: tuple[Array, Array]) -> Array:
    across = _leaf_across(u, v)
    midrib = _smoothstep(0.05, 0.02, np.abs(across))
    veins = 0.6 * _smoothstep(0.8, 1, np.cos(22 * (v + 0.9 * np.abs(across))))
    colour = _mixed(colours[0], 0.6 * colours[0] + 0.4, np.maximum(midrib, veins))
    slope = 0.45 * np.sign(across) * _smoothstep(0, 0.08, np.abs(across))
    return _lit(colour, (slope, np.zeros_like(u), np.full_like(u, 0.89)), light, gloss=0.1)


def _mug_outline(u: Array, v: Array) -> Array:
    outside = np.hypot(np.maximum(np.abs(u + 0.18) - 0.42, 0), np.maximum(np.abs(v - 0.1) - 0.58, 0))
    body = outside - 0.12
    handle = np.abs(np.hypot(u - 0.38, (v - 0.1) / 1.15) - 0.36) - 0.085
    return np.minimum(np.minimum(body, _mug_rim(u, v)), handle)


def _mug_rim(u: Array, v: Array) -> Array:
    return (np.hypot((u + 0.18) / 0.54, (v + 0.58) / 0.17) - 1) * 0.17


def _mug_paint(u: Array, v: Array, light: Array, colours: tuple[Array, Array]) -> Array:
    main, second = colours
    around = np.clip((u + 0.18) / 0.56, -1, 1)
    front = np.sqrt(1 - around**2)
    ring = _smoothstep(0.17, 0.14, np.abs(v - 0.12 - 0.1 * front))
    body = _lit(_mixed(main, second, ring), (around, np.full_like(u, -0.1), front), light, gloss=0.5)
    handle = _lit(main, (np.clip(u - 0.6, -1, 1), 0.3 * v, np.full_like(u, 0.7)), light, gloss=0.2)
    colours_outside = _mixed(body, handle, _smoothstep(0.36, 0.37, u))
    inside = _mixed(0.55 * main, np.array([0.16, 0.09, 0.05], np.float32), _smoothstep(-0.10, -0.03, v + 0.5))
    rim = _mixed(0.5 * main + 0.5, inside, _smoothstep(-0.015, -0.035, _mug_rim(u, v)))
    return _mixed(colours_outside, rim, _smoothstep(0.01, -0.01, _mug_rim(u, v)))


KINDS = {
    "ball": _Kind(lambda u, v: np.hypot(u, v) - 0.97, _ball_paint, hue=0.0, max_angle=np.pi),
    "leaf": _Kind(_leaf_outline, _leaf_paint, hue=0.29, max_angle=np.pi),
    "mug": _Kind(_mug_outline, _mug_paint, hue=0.58, max_angle=0.35),
    "star": _Kind(_star_outline, _star_paint, hue=0.13, max_angle=np.pi),
}
