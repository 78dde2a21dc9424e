"""The random numbers that several calls of the preprocessor share."""

from typing import Any

from object_detection.utils.ops import TensorError


class PreprocessorCache:
    """Keeps random numbers by the name of a function and a key, so that a second image is changed like the first."""

    ROTATION90 = "rotation90"
    HORIZONTAL_FLIP = "horizontal_flip"
    VERTICAL_FLIP = "vertical_flip"
    PIXEL_VALUE_SCALE = "pixel_value_scale"
    IMAGE_SCALE = "image_scale"
    RGB_TO_GRAY = "rgb_to_gray"
    ADJUST_BRIGHTNESS = "adjust_brightness"
    ADJUST_CONTRAST = "adjust_contrast"
    ADJUST_HUE = "adjust_hue"
    ADJUST_SATURATION = "adjust_saturation"
    DISTORT_COLOR = "distort_color"
    STRICT_CROP_IMAGE = "strict_crop_image"
    CROP_IMAGE = "crop_image"
    PAD_IMAGE = "pad_image"
    CROP_TO_ASPECT_RATIO = "crop_to_aspect_ratio"
    RESIZE_METHOD = "resize_method"
    PAD_TO_ASPECT_RATIO = "pad_to_aspect_ratio"
    BLACK_PATCHES = "black_patches"
    ADD_BLACK_PATCH = "add_black_patch"
    SELECTOR = "selector"
    SELECTOR_TUPLES = "selector_tuples"
    SELF_CONCAT_IMAGE = "self_concat_image"
    SSD_CROP_SELECTOR_ID = "ssd_crop_selector_id"
    SSD_CROP_PAD_SELECTOR_ID = "ssd_crop_pad_selector_id"
    JPEG_QUALITY = "jpeg_quality"
    DOWNSCALE_TO_TARGET_PIXELS = "downscale_to_target_pixels"
    PATCH_GAUSSIAN = "patch_gaussian"
    SQUARE_CROP_BY_SCALE = "square_crop_scale"

    _VALID_FNS = frozenset(
        value for name, value in list(locals().items()) if name.isupper() and isinstance(value, str)
    )

    def __init__(self) -> None:
        """Make an empty cache."""
        self._history: dict[str, dict[Any, Any]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._history = {}

    def get(self, function_id: str, key: Any) -> Any:
        """Return what is kept for a function and a key, or None; raise TensorError for an unknown function."""
        return self._of(function_id).get(key)

    def update(self, function_id: str, key: Any, value: Any) -> None:
        """Keep a value for a function and a key; raise TensorError for an unknown function."""
        self._of(function_id)[key] = value

    def _of(self, function_id: str) -> dict[Any, Any]:
        if function_id not in self._VALID_FNS:
            raise TensorError(f"Function id not recognized: {function_id}.")
        return self._history.setdefault(function_id, {})
