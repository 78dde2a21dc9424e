"""Every kind of image has the same pixels in check, convert, training, evaluation, prediction and export."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, features

from boxtune.data import images, pixels
from boxtune.data.decoder import decoded, decoded_anywhere
from boxtune.data.images import ImageSource
from boxtune.errors import DataError

HEIGHT, WIDTH = 37, 53
ROTATED = 6
"""The EXIF orientation of an image that is turned clockwise to be seen upright."""


def smooth(mode="RGB"):
    """An image of slopes and noise, as JPEG codes them in many ways."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    bands = [rows * 6, columns * 4, rows * 3 + columns * 2, np.full_like(rows, 40)]
    values = np.stack(bands, axis=-1) + rng.integers(0, 30, (HEIGHT, WIDTH, 4))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)[..., :3]).convert(mode)


def saved(image, name, **options):
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def turned(image, name):
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    return saved(image, name, exif=exif)


def deep(bits):
    """A grey image of 16 bits that uses so many."""
    values = np.linspace(0, (1 << bits) - 1, HEIGHT * WIDTH).astype(np.uint16)
    return Image.fromarray(values.reshape(HEIGHT, WIDTH))


def with_alpha(mode):
    image = smooth(mode[:-1])
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


JPEG = {
    "JPEG": saved(smooth(), "JPEG"),
    **{f"JPEG {form}": saved(smooth(), "JPEG", subsampling=form) for form in ("4:4:4", "4:2:2", "4:2:0")},
    "progressive JPEG": saved(smooth(), "JPEG", progressive=True),
    "grey JPEG": saved(smooth("L"), "JPEG"),
    "JPEG with restarts": saved(smooth(), "JPEG", restart_marker_blocks=2),
    "JPEG of RGB": saved(smooth(), "JPEG", keep_rgb=True),
    "several images in one JPEG": saved(smooth(), "MPO", save_all=True, append_images=[smooth("L")]),
    "JPEG with more behind it": saved(smooth(), "JPEG") + b"\0trailer" * 9,
    "JPEG without end": saved(smooth(), "JPEG")[:-2],
    "turned JPEG": turned(smooth(), "JPEG"),
}
PNG = {
    "PNG": saved(smooth(), "PNG"),
    "grey PNG": saved(smooth("L"), "PNG"),
    "PNG of a bit": saved(smooth("1"), "PNG"),
    "PNG of 4 bits": saved(smooth().quantize(12), "PNG", bits=4),
    "palette PNG": saved(smooth("P"), "PNG"),
    "transparent palette PNG": saved(smooth("P"), "PNG", transparency=3),
    "PNG with a transparent colour": saved(smooth(), "PNG", transparency=(0, 0, 0)),
    "PNG with alpha": saved(with_alpha("RGBA"), "PNG"),
    "grey PNG with alpha": saved(with_alpha("LA"), "PNG"),
    "PNG of 16 bits": saved(deep(16), "PNG"),
    "animated PNG": saved(smooth(), "PNG", save_all=True, append_images=[smooth().rotate(180)]),
    "turned PNG": turned(smooth(), "PNG"),
}
OTHERS = {
    "CMYK JPEG": saved(smooth("CMYK"), "JPEG"),
    "PNG of 12 in 16 bits": saved(deep(12), "PNG"),
    "PNG without end": saved(smooth(), "PNG")[:-12],
    "GIF": saved(smooth("P"), "GIF"),
    "animated GIF": saved(smooth("P"), "GIF", save_all=True, append_images=[smooth("P").rotate(180)]),
    "BMP": saved(smooth(), "BMP"),
    "palette BMP": saved(smooth("P"), "BMP"),
    "WebP": saved(smooth(), "WEBP"),
    "WebP with alpha": saved(with_alpha("RGBA"), "WEBP", lossless=True),
    "TIFF": saved(smooth(), "TIFF"),
    "packed TIFF": saved(smooth(), "TIFF", compression="tiff_lzw"),
    "CMYK TIFF": saved(smooth("CMYK"), "TIFF"),
    "TIFF of 16 bits": saved(deep(16), "TIFF"),
    "turned TIFF": turned(smooth(), "TIFF"),
    "TGA": saved(smooth(), "TGA"),
    "AVIF": saved(smooth(), "AVIF"),
}
BITS = {"PNG of 16 bits": 16, "PNG of 12 in 16 bits": 12, "TIFF of 16 bits": 16}
KINDS = JPEG | PNG | OTHERS

PLAIN = saved(smooth(), "PNG")
BROKEN = {
    "no byte": (b"", "the file is empty"),
    "zeros": (bytes(500), "nothing but zeros"),
    "text": (b"hello, world\n" * 9, "no image of a known format"),
    "half a JPEG": (saved(smooth(), "JPEG")[:900], "it is JPEG that is cut short"),
    "JPEG without its last bytes": (saved(smooth(), "JPEG")[:-12], "it is JPEG that is cut short"),
    "the start of a JPEG": (saved(smooth(), "JPEG")[:100], "it is damaged JPEG|JPEG that is cut short"),
    "half a PNG": (PLAIN[:900], "it is damaged PNG"),
    "a PNG with a wrong checksum": (PLAIN[:700] + b"\0\1\2" + PLAIN[703:], "it is damaged PNG"),
    "a web page": (b"\n<!DOCTYPE html><html></html>", "it is a web page"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is SVG"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
    "JPEG XL": (b"\xff\x0a" + bytes(99), "it is JPEG XL"),
    "JPEG XL in a container": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "it is JPEG XL"),
    "JPEG 2000": (saved(smooth(), "JPEG2000"), "it is JPEG 2000"),
    "an icon": (saved(smooth(), "ICO"), "it is an icon"),
    "PPM": (saved(smooth(), "PPM"), "it is a Netpbm image"),
    "a video": (b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + bytes(99), "it is a video"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "compressed with gzip"),
    "floats": (saved(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "32 bit"),
}


def expected(name):
    """The pixels of an image as Pillow has them, as stored."""
    data = KINDS[name]
    if "without end" in name:
        data = JPEG["JPEG"] if "JPEG" in name else PNG["PNG"]
    with Image.open(io.BytesIO(data)) as image:
        if name not in BITS:
            return np.asarray(image.convert("RGB"))
        grey = (np.asarray(image).astype(int) * 256 // (1 << BITS[name])).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def upright(name):
    is_stored_so = not name.startswith("turned") or "TIFF" in name  # which Pillow turns by itself
    return expected(name) if is_stored_so else np.rot90(expected(name), -1)


def in_tf_data(decode, data):
    (image,) = tf.data.Dataset.from_tensors(data).map(decode).as_numpy_iterator()
    return image


@pytest.fixture
def source(tmp_path):
    def write(data):
        path = tmp_path / "image"
        path.write_bytes(data)
        return ImageSource(path)

    return write


@pytest.mark.parametrize("name", KINDS)
def test_training_and_evaluation(name):
    data = KINDS[name]
    np.testing.assert_array_equal(pixels.rgb(data), expected(name))
    np.testing.assert_array_equal(in_tf_data(decoded, data), expected(name))
    np.testing.assert_array_equal(decoded(tf.constant(data)), expected(name))


@pytest.mark.parametrize("name", KINDS)
def test_prediction(name, source):
    np.testing.assert_array_equal(images.read_rgb(source(KINDS[name])), upright(name))


@pytest.mark.parametrize("name", KINDS)
def test_check_and_conversion(name, source):
    written = source(KINDS[name])
    info = images.inspect(written)
    assert (info.height, info.width) == (HEIGHT, WIDTH)
    assert info.orientation == (ROTATED if name.startswith("turned") else 1)
    encoded = images.encode(written, info.orientation)
    # A JPEG that is turned is encoded again with some loss.
    tolerance = 24 if name == "turned JPEG" else 0
    for image in (pixels.rgb(encoded.data), in_tf_data(decoded, encoded.data)):
        np.testing.assert_allclose(image.astype(int), upright(name), atol=tolerance)
    np.testing.assert_array_equal(in_tf_data(decoded_anywhere, encoded.data), pixels.rgb(encoded.data))


@pytest.mark.parametrize("name", [name for name in JPEG | PNG if "without" not in name])
def test_export(name):
    np.testing.assert_array_equal(in_tf_data(decoded_anywhere, KINDS[name]), expected(name))


def test_export_rounds_cmyk_by_a_level_at_most():
    image = in_tf_data(decoded_anywhere, KINDS["CMYK JPEG"]).astype(int)
    np.testing.assert_allclose(image, expected("CMYK JPEG"), atol=1)


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "grey JPEG", "PNG", "grey PNG"])
def test_what_is_common_is_left_to_tensorflow(name):
    assert pixels.is_plain(KINDS[name])


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_decoded_is_named_by_all(name, source):
    data, message = BROKEN[name]
    for use in (images.inspect, images.read_rgb):
        with pytest.raises(DataError, match=message):
            use(source(data))
    with pytest.raises(DataError, match=message):
        pixels.rgb(data)
    with pytest.raises(tf.errors.OpError, match=message):
        in_tf_data(decoded, data)
    with pytest.raises(DataError, match=message):
        decoded(tf.constant(data))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bits_are_scaled_by_the_bits_that_are_used(bits, source):
    written = source(saved(deep(bits), "PNG"))
    assert images.inspect(written).bits == bits
    values = np.asarray(images.read_rgb(written))
    assert (values.min(), values.max()) == (0, 255)


def heic(brand=b"heic"):
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200)


def test_heic_without_its_reader(monkeypatch):
    monkeypatch.setattr(pixels, "_reads_heif", lambda: False)
    with pytest.raises(DataError, match=r'it is HEIC\. Install its reader \(pip install "boxtune\[heif\]"\)'):
        pixels.rgb(heic())


def test_heic_that_is_damaged(monkeypatch):
    monkeypatch.setattr(pixels, "_reads_heif", lambda: True)
    with pytest.raises(DataError, match=r"it is damaged HEIC"):
        pixels.rgb(heic())


def test_heic():
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(smooth()).save(stream, quality=95)
    assert pixels.name_of(stream.getvalue()) == "HEIC"
    image = pixels.rgb(stream.getvalue()).astype(int)
    assert np.abs(image - np.asarray(smooth())).mean() < 12
    np.testing.assert_array_equal(in_tf_data(decoded, stream.getvalue()), image)


def test_avif_is_read_by_the_pillow_that_is_required():
    assert features.check("avif")
