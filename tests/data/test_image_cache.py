import numpy as np
import tensorflow as tf

from boxtune.data.input import ImageCache


def cached_images(cache, numbers, decoded):
    """Ask for images of 2 x 3 pixels in a pipeline; `decoded` counts those that had to be made."""

    def decode(number):
        def made():
            counted = tf.numpy_function(lambda n: decoded.append(int(n)) or n, [number], tf.int64)
            return tf.fill([2, 3, 3], tf.cast(counted, tf.uint8))

        return cache.image(number, made)

    data = tf.data.Dataset.from_tensor_slices(np.int64(numbers)).map(decode, num_parallel_calls=4)
    return [image.numpy() for image in data]


def test_each_is_decoded_once():
    cache, decoded = ImageCache(), []
    images = cached_images(cache, [1, 2, 3], decoded) + cached_images(cache, [3, 1, 2], decoded)
    assert [image[0, 0, 0] for image in images] == [1, 2, 3, 3, 1, 2]
    assert {image.shape for image in images} == {(2, 3, 3)}
    assert sorted(decoded) == [1, 2, 3]


def test_what_does_not_fit_is_decoded_each_time():
    cache, decoded = ImageCache(max_bytes=2 * 18 + 17), []  # each has 2 * 3 * 3 = 18 bytes
    for _ in range(3):
        assert [image[0, 0, 0] for image in cached_images(cache, [1, 2, 3], decoded)] == [1, 2, 3]
    assert len(cache) == 2
    assert cache.bytes_left == 17
    assert len(decoded) == 3 + 1 + 1


def test_a_image_that_is_changed_later_does_not_change_the_kept_one():
    cache, decoded = ImageCache(), []
    (first,) = cached_images(cache, [7], decoded)
    first[:] = 0
    (again,) = cached_images(cache, [7], decoded)
    assert again.min() == 7
