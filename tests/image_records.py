"""Records of small images, made by hand: one TFRecord file of any content."""

import io

import tensorflow as tf
from PIL import Image


def record_of_image(filename="", source_id="", *, objects=(), size=(20, 10), value=0, **flags):
    """Return a serialized record; `objects` are ((ymin, xmin, ymax, xmax) as fractions, class from 1 on).

    `flags` are lists by the last part of their keys, such as `is_crowd`.
    """
    stream = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(stream, "PNG")
    texts = {"encoded": stream.getvalue(), "filename": filename.encode(), "source_id": source_id.encode()}
    features = {f"image/{key}": _bytes([text]) for key, text in texts.items()}
    for side, name in enumerate(("ymin", "xmin", "ymax", "xmax")):
        features[f"image/object/bbox/{name}"] = _floats([box[side] for box, _ in objects])
    features["image/object/class/label"] = _integers([number for _, number in objects])
    features |= {f"image/object/{key}": _integers(values) for key, values in flags.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def read_records(path):
    """Return the serialized records of a file."""
    with_buffer = tf.data.TFRecordDataset(str(path), buffer_size=1 << 18)
    return list(with_buffer.as_numpy_iterator())


def _bytes(values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
