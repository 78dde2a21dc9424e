"""Drawing detections as the API does: boxes with labels, masks, keypoints and heat maps.

What is drawn on an array changes it in place. TensorFlow is loaded by the functions that take tensors.
"""

import abc
import io
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from boxtune.data.files import whole_file
from boxtune.errors import ConfigError, DataError
from boxtune.report.box_drawing import Font
from object_detection.core.standard_fields import DetectionResultFields, InputDataFields

STANDARD_COLORS = """
AliceBlue Chartreuse Aqua Aquamarine Azure Beige Bisque BlanchedAlmond BlueViolet BurlyWood CadetBlue
AntiqueWhite Chocolate Coral CornflowerBlue Cornsilk Crimson Cyan DarkCyan DarkGoldenRod DarkGrey DarkKhaki
DarkOrange DarkOrchid DarkSalmon DarkSeaGreen DarkTurquoise DarkViolet DeepPink DeepSkyBlue DodgerBlue
FireBrick FloralWhite ForestGreen Fuchsia Gainsboro GhostWhite Gold GoldenRod Salmon Tan HoneyDew HotPink
IndianRed Ivory Khaki Lavender LavenderBlush LawnGreen LemonChiffon LightBlue LightCoral LightCyan
LightGoldenRodYellow LightGray LightGrey LightGreen LightPink LightSalmon LightSeaGreen LightSkyBlue
LightSlateGray LightSlateGrey LightSteelBlue LightYellow Lime LimeGreen Linen Magenta MediumAquaMarine
MediumOrchid MediumPurple MediumSeaGreen MediumSlateBlue MediumSpringGreen MediumTurquoise MediumVioletRed
MintCream MistyRose Moccasin NavajoWhite OldLace Olive OliveDrab Orange OrangeRed Orchid PaleGoldenRod
PaleGreen PaleTurquoise PaleVioletRed PapayaWhip PeachPuff Peru Pink Plum PowderBlue Purple Red RosyBrown
RoyalBlue SaddleBrown Green SandyBrown SeaGreen SeaShell Sienna Silver SkyBlue SlateBlue SlateGray SlateGrey
Snow SpringGreen SteelBlue GreenYellow Teal Thistle Tomato Turquoise Violet Wheat White WhiteSmoke Yellow
YellowGreen
""".split()  # noqa: SIM905
"""The colors of classes: that of class k is the k-th, counted from 0 and in turn."""

_TRACK_STEPS = (5, 7, 11, 13, 17)
_AGNOSTIC_COLOR = "DarkOrange"
_FONT_FILE, _FONT_SIZE = "arial.ttf", 24
_MARGIN = 0.05
"""Around a label, as a fraction of its height."""

Categories = Mapping[int, Mapping[str, Any]]
"""The categories by id, as `label_map_util.create_category_index` returns them."""
Box = tuple[float, float, float, float]


class DrawingError(DataError, ValueError):
    """An image or a mask that cannot be drawn; a ValueError too, which is what the API raises."""


# Files


def save_image_array_as_png(image: np.ndarray, output_path: str | os.PathLike[str]) -> None:
    """Write an image [h, w, 3] as a PNG file, whole or not at all; raise DataError if that fails."""
    with whole_file(Path(output_path)) as temporary:
        temporary.write_bytes(encode_image_array_as_png_str(image))


def encode_image_array_as_png_str(image: np.ndarray) -> bytes:
    """Return an image [h, w, 3] as the bytes of a PNG file."""
    output = io.BytesIO()
    Image.fromarray(np.uint8(image)).save(output, format="PNG")
    return output.getvalue()


# Boxes


def draw_bounding_box_on_image_array(
    image: np.ndarray,
    ymin: float,
    xmin: float,
    ymax: float,
    xmax: float,
    color: str = "red",
    thickness: int = 4,
    display_str_list: Sequence[str] = (),
    use_normalized_coordinates: bool = True,
) -> None:
    """Draw a box on an array [h, w, 3], as `draw_bounding_box_on_image` does."""
    drawn = _pillow(image)
    draw_bounding_box_on_image(
        drawn, ymin, xmin, ymax, xmax, color, thickness, display_str_list, use_normalized_coordinates
    )
    np.copyto(image, np.array(drawn))


def draw_bounding_box_on_image(
    image: Image.Image,
    ymin: float,
    xmin: float,
    ymax: float,
    xmax: float,
    color: str = "red",
    thickness: int = 4,
    display_str_list: Sequence[str] = (),
    use_normalized_coordinates: bool = True,
) -> None:
    """Draw a box on an image of Pillow, with a line of text for each string.

    The last string is the lowest. They are above the box where there is room, else below it. Coordinates are fractions
    of the image, or pixels.
    """
    pen = ImageDraw.Draw(image)
    width, height = image.size if use_normalized_coordinates else (1, 1)
    # As float64: in float32 the last digit decides on a pixel.
    left, right = float(xmin) * width, float(xmax) * width
    top, bottom = float(ymin) * height, float(ymax) * height
    if thickness > 0:
        corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
        pen.line(corners, width=thickness, fill=color)
    font = _font()
    heights = [_text_size(font, text)[1] for text in display_str_list]
    room = (1 + 2 * _MARGIN) * sum(heights)
    text_bottom = top if top > room else bottom + room
    for text in reversed(display_str_list):
        text_width, text_height = _text_size(font, text)
        margin = math.ceil(_MARGIN * text_height)
        text_top = text_bottom - text_height - 2 * margin
        pen.rectangle([(left, text_top), (left + text_width, text_bottom)], fill=color)
        pen.text((left + margin, text_bottom - text_height - margin), text, fill="black", font=font)
        text_bottom -= text_height - 2 * margin


def draw_bounding_boxes_on_image_array(
    image: np.ndarray,
    boxes: np.ndarray,
    color: str = "red",
    thickness: int = 4,
    display_str_list_list: Sequence[Sequence[str]] = (),
) -> None:
    """Draw boxes [n, 4] in fractions on an array [h, w, 3], as `draw_bounding_boxes_on_image` does."""
    drawn = Image.fromarray(image)
    draw_bounding_boxes_on_image(drawn, boxes, color, thickness, display_str_list_list)
    np.copyto(image, np.array(drawn))


def draw_bounding_boxes_on_image(
    image: Image.Image,
    boxes: np.ndarray,
    color: str = "red",
    thickness: int = 4,
    display_str_list_list: Sequence[Sequence[str]] = (),
) -> None:
    """Draw boxes [n, 4] in fractions on an image of Pillow, with the strings of each.

    Raises DrawingError if the boxes are not [n, 4].
    """
    shape = np.shape(boxes)
    if not shape:
        return
    if len(shape) != 2 or shape[1] != 4:
        raise DrawingError(f"The boxes have the shape {shape}; it has to be [n, 4].")
    for number, (ymin, xmin, ymax, xmax) in enumerate(boxes):
        strings = display_str_list_list[number] if display_str_list_list else ()
        draw_bounding_box_on_image(image, ymin, xmin, ymax, xmax, color, thickness, strings)


def _font() -> Font:
    try:
        return ImageFont.truetype(_FONT_FILE, _FONT_SIZE)
    except OSError:
        return ImageFont.load_default()


def _text_size(font: Font, text: str) -> tuple[float, float]:
    """Return width and height of a text in pixels."""
    left, top, right, bottom = font.getbbox(text)
    return right - left, bottom - top


def _pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.uint8(image)).convert("RGB")


# Keypoints


def draw_keypoints_on_image_array(
    image: np.ndarray,
    keypoints: np.ndarray,
    keypoint_scores: np.ndarray | None = None,
    min_score_thresh: float = 0.5,
    color: str = "red",
    radius: float = 2,
    use_normalized_coordinates: bool = True,
    keypoint_edges: Iterable[tuple[int, int]] | None = None,
    keypoint_edge_color: str = "green",
    keypoint_edge_width: int = 2,
) -> None:
    """Draw keypoints on an array [h, w, 3], as `draw_keypoints_on_image` does."""
    drawn = _pillow(image)
    draw_keypoints_on_image(
        drawn, keypoints, keypoint_scores=keypoint_scores, min_score_thresh=min_score_thresh, color=color,
        radius=radius, use_normalized_coordinates=use_normalized_coordinates, keypoint_edges=keypoint_edges,
        keypoint_edge_color=keypoint_edge_color, keypoint_edge_width=keypoint_edge_width,
    )  # fmt: skip
    np.copyto(image, np.array(drawn))


def draw_keypoints_on_image(
    image: Image.Image,
    keypoints: np.ndarray,
    keypoint_scores: np.ndarray | None = None,
    min_score_thresh: float = 0.5,
    color: str = "red",
    radius: float = 2,
    use_normalized_coordinates: bool = True,
    keypoint_edges: Iterable[tuple[int, int]] | None = None,
    keypoint_edge_color: str = "green",
    keypoint_edge_width: int = 2,
) -> None:
    """Draw keypoints [k, 2] of y and x as dots on an image of Pillow, and lines between the pairs of `keypoint_edges`.

    Those without a number are left out or, if there are scores [k], those whose score is not above the threshold.
    """
    pen = ImageDraw.Draw(image)
    points = np.array(keypoints, np.float64)[:, 1::-1] * (
        image.size if use_normalized_coordinates else (1, 1)
    )
    if keypoint_scores is None:
        is_shown = np.asarray(~np.isnan(points).any(axis=1))
    else:
        is_shown = np.asarray(np.array(keypoint_scores) > min_score_thresh)
    for x, y in points[is_shown].tolist():
        pen.ellipse([(x - radius, y - radius), (x + radius, y + radius)], outline=color, fill=color)
    for edge in keypoint_edges or ():
        if all(0 <= end < len(points) and is_shown[end] for end in edge):
            pen.line(points[list(edge)].ravel().tolist(), fill=keypoint_edge_color, width=keypoint_edge_width)


# Masks and heat maps


def draw_mask_on_image_array(
    image: np.ndarray, mask: np.ndarray, color: str = "red", alpha: float = 0.4
) -> None:
    """Blend a color into an array uint8 [h, w, 3] where `mask` uint8 [h, w] is 1; `alpha` is how opaque it is.

    Raises DrawingError for other types and shapes, and if there are other values than 0 and 1 in the mask.
    """
    _check_mask(image, mask)
    if np.any(mask > 1):
        raise DrawingError("The mask holds other values than 0 and 1.")
    _blend(image, Image.new("RGB", image.shape[1::-1], ImageColor.getrgb(color)[:3]), mask > 0, alpha)


def draw_part_mask_on_image_array(
    image: np.ndarray, mask: np.ndarray, alpha: float = 0.4, num_parts: int = 24
) -> None:
    """Blend the color of each part into an array uint8 [h, w, 3] where `mask` uint8 [h, w] has its number, from 1 on.

    Raises DrawingError for other types and shapes.
    """
    _check_mask(image, mask)
    table = np.zeros((256, 3), np.uint8)
    for number, color in enumerate(STANDARD_COLORS[:num_parts], start=1):
        table[number] = ImageColor.getrgb(color)[:3]
    _blend(image, Image.fromarray(table[mask]), mask > 0, alpha)


def draw_float_channel_on_image_array(
    image: np.ndarray, channel: np.ndarray, mask: np.ndarray, alpha: float = 0.9, cmap: str = "YlGn"
) -> None:
    """Blend values in [0, 1] of `channel` [h, w] into an array uint8 [h, w, 3] where `mask` uint8 [h, w] is above 0.

    The colors are those of matplotlib's color map `cmap`. Raises DrawingError for other types and shapes, and
    ConfigError if matplotlib is not installed.
    """
    _check_mask(image, mask)
    if channel.dtype not in (np.float32, np.float64) or channel.shape != mask.shape:
        raise DrawingError(
            f"The channel is {channel.dtype} {channel.shape}; it has to be float32 {mask.shape}."
        )
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(
            "The color maps of a float channel need matplotlib: pip install matplotlib"
        ) from error
    colors = matplotlib.colormaps[cmap](channel)[..., :3]
    _blend(image, Image.fromarray(np.uint8(255 * colors)), mask > 0, alpha)


def _check_mask(image: np.ndarray, mask: np.ndarray) -> None:
    for name, array in (("image", image), ("mask", mask)):
        if array.dtype != np.uint8:
            raise DrawingError(f"The {name} is of {array.dtype}; it has to be of uint8.")
    if image.shape[:2] != mask.shape:
        raise DrawingError(
            f"The image is {image.shape[:2]} pixels and the mask {mask.shape}; they have to agree."
        )


def _blend(image: np.ndarray, colors: Image.Image, where: np.ndarray, alpha: float) -> None:
    opacity = Image.fromarray(np.uint8(255 * alpha * where))
    np.copyto(image, np.array(Image.composite(colors, Image.fromarray(image), opacity)))


def draw_heatmaps_on_image(image: Image.Image, heatmaps: np.ndarray) -> None:
    """Draw heat maps float [h, w, c] in [0, 1] on an image of Pillow of the same size, each in a color of its own."""
    pen = ImageDraw.Draw(image)
    for number in range(heatmaps.shape[2]):
        values = (heatmaps[:, :, number] * 255).astype("uint8")
        pen.bitmap((0, 0), Image.fromarray(values), fill=STANDARD_COLORS[number])


def draw_heatmaps_on_image_array(image: Any, heatmaps: Any) -> np.ndarray:
    """Return a copy of an image [h, w, 3] with heat maps [h, w, c] on it; both are arrays or tensors."""
    drawn = _pillow(np.asarray(image))
    draw_heatmaps_on_image(drawn, np.asarray(heatmaps))
    return np.array(drawn)


# Everything on one image


def visualize_boxes_and_labels_on_image_array(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray | None,
    category_index: Categories,
    instance_masks: np.ndarray | None = None,
    instance_boundaries: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    keypoint_scores: np.ndarray | None = None,
    keypoint_edges: Iterable[tuple[int, int]] | None = None,
    track_ids: np.ndarray | None = None,
    use_normalized_coordinates: bool = False,
    max_boxes_to_draw: int | None = 20,
    min_score_thresh: float = 0.5,
    agnostic_mode: bool = False,
    line_thickness: int = 4,
    mask_alpha: float = 0.4,
    groundtruth_box_visualization_color: str = "black",
    skip_boxes: bool = False,
    skip_scores: bool = False,
    skip_labels: bool = False,
    skip_track_ids: bool = False,
) -> np.ndarray:
    """Draw detections on an array uint8 [h, w, 3], in place, and return it.

    Objects with the very same box share it: its labels are listed, and it has the color, the masks and the scores of
    keypoints of the last of them. Ground truth, which has no scores, is drawn without labels.

    Args:
        image: uint8 [h, w, 3].
        boxes: [n, 4] as `[ymin, xmin, ymax, xmax]`.
        classes: ids [n], from 1 on.
        scores: [n], or None for ground truth.
        category_index: the classes' names by id; one that it lacks is "N/A".
        instance_masks: uint8 [n, h, w] of 0 and 1.
        instance_boundaries: the same, drawn in opaque red.
        keypoints: [n, k, 2] as `[y, x]`.
        keypoint_scores: [n, k].
        keypoint_edges: pairs of numbers of keypoints, between which there is a line.
        track_ids: [n]; colors are by track then.
        use_normalized_coordinates: whether boxes and keypoints are fractions of the image rather than pixels.
        max_boxes_to_draw: None for all; the first ones are drawn.
        min_score_thresh: scores have to be above it.
        agnostic_mode: draw scores only, and all boxes in one color.
        line_thickness: in pixels.
        mask_alpha: how opaque masks are, in [0, 1].
        groundtruth_box_visualization_color: of boxes without scores.
        skip_boxes, skip_scores, skip_labels, skip_track_ids: what not to draw.

    Raises:
        DrawingError: for masks of another type or size, and masks on an image that is not uint8.
    """
    rows: dict[Box, list[int]] = {}
    labels: defaultdict[Box, list[str]] = defaultdict(list)
    most = len(boxes) if max_boxes_to_draw is None else max_boxes_to_draw
    for row in range(len(boxes)):
        if len(rows) == most:
            break
        if scores is not None and not scores[row] > min_score_thresh:
            continue
        box = tuple(np.asarray(boxes[row]).tolist())
        rows.setdefault(box, []).append(row)
        if scores is not None:
            name = "" if skip_labels or agnostic_mode else _class_name(category_index, classes[row])
            score = "" if skip_scores else f"{round(100 * scores[row])}%"
            track = "" if skip_track_ids or track_ids is None else f"ID {track_ids[row]}"
            labels[box].append(": ".join(filter(None, (name, score, track))))

    for box, of_box in rows.items():
        last = of_box[-1]
        if scores is None:
            color = groundtruth_box_visualization_color
        elif agnostic_mode:
            color = _AGNOSTIC_COLOR
        elif track_ids is not None:
            color = STANDARD_COLORS[
                _get_multiplier_for_color_randomness() * int(track_ids[last]) % len(STANDARD_COLORS)
            ]
        else:
            color = STANDARD_COLORS[int(classes[last]) % len(STANDARD_COLORS)]
        if instance_masks is not None:
            draw_mask_on_image_array(image, instance_masks[last], color=color, alpha=mask_alpha)
        if instance_boundaries is not None:
            draw_mask_on_image_array(image, instance_boundaries[last], color="red", alpha=1.0)
        draw_bounding_box_on_image_array(
            image,
            *box,
            color=color,
            thickness=0 if skip_boxes else line_thickness,
            display_str_list=labels[box],
            use_normalized_coordinates=use_normalized_coordinates,
        )
        if keypoints is not None:
            draw_keypoints_on_image_array(
                image,
                np.concatenate([keypoints[row] for row in of_box]),
                None if keypoint_scores is None else np.concatenate([keypoint_scores[row] for row in of_box]),
                min_score_thresh=min_score_thresh,
                color=color,
                radius=line_thickness / 2,
                use_normalized_coordinates=use_normalized_coordinates,
                keypoint_edges=keypoint_edges,
                keypoint_edge_color=color,
                keypoint_edge_width=line_thickness // 2,
            )
    return image


def _get_multiplier_for_color_randomness() -> int:
    """Return how far the colors of successive tracks lie apart: about a tenth of the colors, which may be the user's
    own, and a prime that does not divide their number, so that all are used."""
    count = len(STANDARD_COLORS)
    return min((step for step in _TRACK_STEPS if count % step), key=lambda step: abs(step - count / 10))


def _class_name(category_index: Categories, number: int) -> str:
    return str(category_index[number]["name"]) if number in category_index else "N/A"


# Tensors


def create_visualization_fn(
    category_index: Categories,
    include_masks: bool = False,
    include_keypoints: bool = False,
    include_keypoint_scores: bool = False,
    include_track_ids: bool = False,
    **kwargs: Any,
) -> Callable[..., np.ndarray]:
    """Return a function of arrays for `tf.numpy_function`, which returns a copy of its image with detections on it.

    It takes image, boxes, classes and scores, and what else is included, in the order of the arguments. The other
    arguments are those of `visualize_boxes_and_labels_on_image_array`.
    """
    included = {
        "instance_masks": include_masks,
        "keypoints": include_keypoints,
        "keypoint_scores": include_keypoint_scores,
        "track_ids": include_track_ids,
    }
    names = [name for name, is_included in included.items() if is_included]

    def visualize(
        image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, *more: np.ndarray
    ) -> np.ndarray:
        options = kwargs | dict(zip(names, more, strict=True))
        return visualize_boxes_and_labels_on_image_array(
            np.array(image), boxes, classes, scores, category_index, **options
        )

    return visualize


def draw_heatmaps_on_image_tensors(images: Any, heatmaps: Any, apply_sigmoid: bool = False) -> Any:
    """Return images uint8 [b, h, w, 3] with heat maps [b, y, x, c] on them, which are stretched to their size."""
    import tensorflow as tf

    images = _three_channels(images)
    if apply_sigmoid:
        heatmaps = tf.math.sigmoid(heatmaps)
    stretched = tf.image.resize(heatmaps, tf.shape(images)[1:3])

    def draw(parts: Any) -> Any:
        return tf.numpy_function(draw_heatmaps_on_image_array, parts, tf.uint8)

    return tf.map_fn(draw, (images, stretched), fn_output_signature=tf.uint8)


def draw_bounding_boxes_on_image_tensors(
    images: Any,
    boxes: Any,
    classes: Any,
    scores: Any,
    category_index: Categories,
    original_image_spatial_shape: Any = None,
    true_image_shape: Any = None,
    instance_masks: Any = None,
    keypoints: Any = None,
    keypoint_scores: Any = None,
    keypoint_edges: Iterable[tuple[int, int]] | None = None,
    track_ids: Any = None,
    max_boxes_to_draw: int | None = 20,
    min_score_thresh: float = 0.2,
    use_normalized_coordinates: bool = True,
) -> Any:
    """Return images uint8 [b, h, w, 3] with detections on them.

    Args:
        images: uint8 [b, h, w, c]; of more than 3 channels the first 3 are taken, and one is gray.
        boxes: float32 [b, n, 4].
        classes: ids [b, n], from 1 on.
        scores: float32 [b, n].
        category_index: the classes' names by id.
        original_image_spatial_shape: [b, 2]; the images are stretched to these heights and widths.
        true_image_shape: [b, 3]; the images are cut to these heights and widths before.
        instance_masks: [b, n, h, w] of 0 and 1.
        keypoints: float32 [b, n, k, 2].
        keypoint_scores: float32 [b, n, k].
        keypoint_edges: pairs of numbers of keypoints.
        track_ids: [b, n].
        max_boxes_to_draw: None for all.
        min_score_thresh: scores have to be above it.
        use_normalized_coordinates: whether boxes and keypoints are fractions of the image.
    """
    import tensorflow as tf

    images = _three_channels(images)
    visualize = create_visualization_fn(
        category_index,
        include_masks=instance_masks is not None,
        include_keypoints=keypoints is not None,
        include_keypoint_scores=keypoint_scores is not None,
        include_track_ids=track_ids is not None,
        keypoint_edges=keypoint_edges,
        max_boxes_to_draw=max_boxes_to_draw,
        min_score_thresh=min_score_thresh,
        use_normalized_coordinates=use_normalized_coordinates,
    )
    more = [part for part in (instance_masks, keypoints, keypoint_scores, track_ids) if part is not None]
    whole = tf.shape(images)[1:3]
    sizes = [
        tf.broadcast_to(whole, [tf.shape(images)[0], 2]) if shape is None else tf.cast(shape, tf.int32)[:, :2]
        for shape in (true_image_shape, original_image_spatial_shape)
    ]
    stretches = original_image_spatial_shape is not None

    def draw(parts: Any) -> Any:
        true_size, original_size, image, *detections = parts
        if stretches:
            image = _stretched(image[: true_size[0], : true_size[1]], original_size)
        drawn = tf.numpy_function(visualize, [image, *detections], tf.uint8)
        return tf.ensure_shape(drawn, image.shape)

    parts = (*sizes, images, boxes, classes, scores, *more)
    return tf.map_fn(draw, tuple(map(tf.convert_to_tensor, parts)), fn_output_signature=tf.uint8)


def draw_side_by_side_evaluation_image(
    eval_dict: Mapping[str, Any],
    category_index: Categories,
    max_boxes_to_draw: int | None = 20,
    min_score_thresh: float = 0.2,
    use_normalized_coordinates: bool = True,
    keypoint_edges: Iterable[tuple[int, int]] | None = None,
) -> list[Any]:
    """Return for each image uint8 [1, h, 2 * w, 3], on the left with detections and on the right with ground truth.

    `eval_dict` holds tensors by the names of `standard_fields`, with or without the dimension of the batch: the
    images, the detections and the ground truth, `original_image_spatial_shape` and `true_image_shape`; and maybe masks
    and keypoints of both. With `image_additional_channels` there is a third part: the ground truth on these.
    """
    import tensorflow as tf

    batch = _with_batch(eval_dict)

    def part(image: int, name: str, count: Any = None, dtype: Any = None) -> Any:
        """Return [1, ...], the values of an image, or None where there are none."""
        if name not in batch:
            return None
        values = batch[name][image : image + 1]
        values = values if count is None else values[:, :count]
        return values if dtype is None else tf.cast(values, dtype)

    shown = []
    for image in range(batch[InputDataFields.original_image].shape[0]):
        count = part(image, InputDataFields.num_groundtruth_boxes)
        count = None if count is None else tf.reshape(count, [])
        keypoints = part(image, DetectionResultFields.detection_keypoints)
        true_keypoints = part(image, InputDataFields.groundtruth_keypoints, count)
        visible = part(image, InputDataFields.groundtruth_keypoint_visibilities, count, tf.float32)
        keypoint_scores = part(image, DetectionResultFields.detection_keypoint_scores)
        true_classes = part(image, InputDataFields.groundtruth_classes, count)
        sizes = {
            "original_image_spatial_shape": part(image, InputDataFields.original_image_spatial_shape),
            "true_image_shape": part(image, InputDataFields.true_image_shape),
        }
        options: dict[str, Any] = {
            "keypoint_edges": keypoint_edges,
            "use_normalized_coordinates": use_normalized_coordinates,
        }
        groundtruth: dict[str, Any] = {
            "boxes": part(image, InputDataFields.groundtruth_boxes, count),
            "classes": true_classes,
            "scores": tf.ones_like(true_classes, tf.float32),
            "category_index": category_index,
            "instance_masks": part(image, InputDataFields.groundtruth_instance_masks, count, tf.uint8),
            "keypoints": true_keypoints,
            "keypoint_scores": _visibilities(true_keypoints) if visible is None else visible,
            "max_boxes_to_draw": None,
            "min_score_thresh": 0.0,
        }
        detected = draw_bounding_boxes_on_image_tensors(
            part(image, InputDataFields.original_image),
            part(image, DetectionResultFields.detection_boxes),
            part(image, DetectionResultFields.detection_classes),
            part(image, DetectionResultFields.detection_scores),
            category_index,
            instance_masks=part(image, DetectionResultFields.detection_masks, dtype=tf.uint8),
            keypoints=keypoints,
            keypoint_scores=_visibilities(keypoints) if keypoint_scores is None else keypoint_scores,
            max_boxes_to_draw=max_boxes_to_draw,
            min_score_thresh=min_score_thresh,
            **sizes,
            **options,
        )
        original = part(image, InputDataFields.original_image)
        parts = [
            detected,
            draw_bounding_boxes_on_image_tensors(original, **groundtruth, **sizes, **options),
        ]
        channels = part(image, InputDataFields.image_additional_channels)
        if channels is not None:
            sizes["true_image_shape"] = None
            parts.append(draw_bounding_boxes_on_image_tensors(channels, **groundtruth, **sizes, **options))
        shown.append(tf.concat(parts, axis=2))
    return shown


def _three_channels(images: Any) -> Any:
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    if images.shape[3] == 1:
        return tf.image.grayscale_to_rgb(images)
    return images[..., :3]


def _stretched(image: Any, size: Any) -> Any:
    """Return an image [h, w, c] in another size, each pixel that of the nearest, corners upon corners."""
    import tensorflow as tf

    resized = tf.compat.v1.image.resize_nearest_neighbor(image[tf.newaxis], size, align_corners=True)
    return tf.cast(resized[0], tf.uint8)


def _with_batch(eval_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors of a batch, which has one image if they lack the dimension of a batch."""
    import tensorflow as tf

    always = (InputDataFields.original_image, InputDataFields.image_additional_channels)
    is_batch = len(eval_dict[DetectionResultFields.detection_classes].shape) > 1
    return {
        name: value if is_batch or name in always else tf.expand_dims(value, 0)
        for name, value in eval_dict.items()
    }


def _visibilities(keypoints: Any) -> Any:
    """Return float32 [..., k], 1 for each of `keypoints` [..., k, 2] that has numbers, else 0; None for None."""
    import tensorflow as tf

    if keypoints is None:
        return None
    return tf.cast(~tf.reduce_any(tf.math.is_nan(keypoints), axis=-1), tf.float32)


def draw_densepose_visualizations(
    eval_dict: Mapping[str, Any],
    max_boxes_to_draw: int = 20,
    min_score_thresh: float = 0.2,
    num_parts: int = 24,
    dp_coord_to_visualize: int = 0,
) -> list[Any]:
    """Return for each image uint8 [1, h, 2 * w, 3]: on the left parts of bodies, on the right one of their coordinates.

    `eval_dict` holds, with or without the dimension of the batch, the images, the scores, `detection_masks`
    [b, n, h, w] with numbers of parts, from 1 on, and `detection_surface_coords` [b, n, h, w, 2] in [0, 1]. Raises
    DrawingError if it lacks any of them, and ConfigError if matplotlib is not installed.
    """
    import tensorflow as tf

    needed = (
        InputDataFields.original_image,
        DetectionResultFields.detection_scores,
        DetectionResultFields.detection_masks,
        DetectionResultFields.detection_surface_coords,
    )
    if absent := [name for name in needed if name not in eval_dict]:
        raise DrawingError(f"The evaluation has no {', '.join(absent)}.")
    batch = _with_batch(eval_dict)

    def draw(image: np.ndarray, scores: np.ndarray, masks: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        left, right = np.array(image), np.array(image)
        for row in np.flatnonzero(scores > min_score_thresh)[:max_boxes_to_draw]:
            draw_part_mask_on_image_array(left, masks[row], num_parts=num_parts)
            channel = coordinates[row, ..., dp_coord_to_visualize]
            draw_float_channel_on_image_array(right, channel, masks[row])
        return np.concatenate([left, right], axis=1)[np.newaxis]

    images, scores, masks, coordinates = (batch[name] for name in needed)
    parts = (_three_channels(images), scores, tf.cast(masks, tf.uint8), coordinates)
    return [
        tf.numpy_function(draw, [part[image] for part in parts], tf.uint8) for image in range(images.shape[0])
    ]


# Summaries of TensorFlow 1


def add_cdf_image_summary(values: Any, name: str) -> None:
    """Summarize how `values` are distributed: the fraction of them up to each, as an image "CDF/NAME"."""

    def draw(axes: Any, values: np.ndarray) -> None:
        ordered = np.sort(values.ravel())
        axes.plot(ordered, np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
        axes.set_ylabel("cumulative normalized count")

    _summarize_plot(f"CDF/{name}", values, name, draw)


def add_hist_image_summary(values: Any, bins: Any, name: str) -> None:
    """Summarize how many `values` are in each of some bins, given by number or edges, as an image "HIST/NAME"."""

    def draw(axes: Any, values: np.ndarray) -> None:
        axes.hist(values.ravel(), bins=bins)
        axes.set_ylabel("count")

    _summarize_plot(f"HIST/{name}", values, name, draw)


def _summarize_plot(tag: str, values: Any, name: str, draw: Callable[[Any, np.ndarray], None]) -> None:
    import tensorflow as tf

    def plot(values: np.ndarray) -> np.ndarray:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ConfigError("Plots of values need matplotlib: pip install matplotlib") from error
        figure = Figure()
        axes = figure.add_subplot()
        draw(axes, values)
        axes.set_xlabel(name)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[np.newaxis, ..., :3]

    image = tf.ensure_shape(tf.numpy_function(plot, [values], tf.uint8), [1, None, None, 3])
    summary = tf.summary if tf.executing_eagerly() else tf.compat.v1.summary
    summary.image(tag, image)


class EvalMetricOpsVisualization(abc.ABC):
    """Images of an evaluation as metrics of an Estimator, which has them in TensorBoard."""

    def __init__(
        self,
        category_index: Categories,
        max_examples_to_draw: int = 5,
        max_boxes_to_draw: int | None = 20,
        min_score_thresh: float = 0.2,
        use_normalized_coordinates: bool = True,
        summary_name_prefix: str = "evaluation_image",
        keypoint_edges: Iterable[tuple[int, int]] | None = None,
    ):
        self._category_index = category_index
        self._max_examples_to_draw = max_examples_to_draw
        self._options: dict[str, Any] = {
            "max_boxes_to_draw": max_boxes_to_draw,
            "min_score_thresh": min_score_thresh,
            "use_normalized_coordinates": use_normalized_coordinates,
            "keypoint_edges": keypoint_edges,
        }
        self._summary_name_prefix = summary_name_prefix
        self._images: list[np.ndarray] = []

    def clear(self) -> None:
        """Forget all images."""
        self._images = []

    def add_images(self, images: Sequence[np.ndarray]) -> None:
        """Keep images [1, h, w, c], as far as there is room."""
        self._images = [*self._images, *images][: self._max_examples_to_draw]

    def get_estimator_eval_metric_ops(self, eval_dict: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return a summary of each image and the operation that keeps the first of a batch, by the summary's name."""
        import tensorflow as tf

        if self._max_examples_to_draw == 0:
            return {}
        first = self.images_from_evaluation_dict(eval_dict)[0]

        def keep(image: np.ndarray) -> None:
            self.add_images([image])

        def take() -> list[np.ndarray]:
            nothing = np.array(0, np.uint8)
            missing = self._max_examples_to_draw - len(self._images)
            images = [*self._images, *[nothing] * missing]
            self.clear()
            return images

        def summary(name: str, image: Any) -> Any:
            is_image = tf.equal(tf.rank(image), 4)
            return tf.cond(is_image, lambda: tf.compat.v1.summary.image(name, image), lambda: tf.constant(""))

        update = tf.compat.v1.py_func(keep, [first], [])
        images = tf.compat.v1.py_func(take, [], [tf.uint8] * self._max_examples_to_draw)
        names = [f"{self._summary_name_prefix}/{number}" for number in range(self._max_examples_to_draw)]
        return {name: (summary(name, image), update) for name, image in zip(names, images, strict=True)}

    @abc.abstractmethod
    def images_from_evaluation_dict(self, eval_dict: Mapping[str, Any]) -> list[Any]:
        """Return images [1, h, w, c] of a batch."""


class VisualizeSingleFrameDetections(EvalMetricOpsVisualization):
    """Detections on the left, ground truth on the right."""

    def __init__(
        self,
        category_index: Categories,
        max_examples_to_draw: int = 5,
        max_boxes_to_draw: int | None = 20,
        min_score_thresh: float = 0.2,
        use_normalized_coordinates: bool = True,
        summary_name_prefix: str = "Detections_Left_Groundtruth_Right",
        keypoint_edges: Iterable[tuple[int, int]] | None = None,
    ):
        super().__init__(
            category_index,
            max_examples_to_draw=max_examples_to_draw,
            max_boxes_to_draw=max_boxes_to_draw,
            min_score_thresh=min_score_thresh,
            use_normalized_coordinates=use_normalized_coordinates,
            summary_name_prefix=summary_name_prefix,
            keypoint_edges=keypoint_edges,
        )

    def images_from_evaluation_dict(self, eval_dict: Mapping[str, Any]) -> list[Any]:
        """Return what `draw_side_by_side_evaluation_image` does."""
        return draw_side_by_side_evaluation_image(eval_dict, self._category_index, **self._options)
