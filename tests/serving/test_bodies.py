"""The body of a request, in pieces of any size."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.serving.bodies import read_uploads
from boxtune.serving.limits import Limits, RefusedError, Room
from serving.running import FORM, form


def read(body, cuts=(), *, content_type=FORM, **limits):
    """Return the uploads of a body that comes in pieces, and how many bytes were taken."""
    taken = []

    async def pieces():
        edges = [0, *sorted(cuts), len(body)]
        for start, end in itertools.pairwise(edges):
            yield body[start:end]

    headers = {"content-type": content_type}
    return result_of(read_uploads(headers, pieces(), Limits(**limits), taken.append)), sum(taken)


def result_of(coroutine):
    """Return what a coroutine returns that waits for nothing: a browser may keep this thread's loop running."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


IMAGES = st.lists(st.binary(max_size=60).map(lambda data: data + b"\r\n--betwee"), min_size=1, max_size=4)


@given(IMAGES, st.lists(st.integers(0, 400), max_size=12))
def test_a_form_is_the_same_however_it_comes(images, cuts):
    body = form(*images)
    uploads, taken = read(body, [min(cut, len(body)) for cut in cuts])
    assert [upload.data for upload in uploads] == images
    assert [upload.name for upload in uploads] == [f"a{number}.png" for number in range(len(images))]
    assert taken == len(body)


@given(
    st.binary(max_size=300),
    st.sampled_from([FORM, "multipart/form-data; boundary=\x00", "image/png", ";;", ""]),
)
def test_any_bytes_are_read_or_refused(body, content_type):
    with contextlib.suppress(RefusedError):
        read(body, range(0, len(body), 7), content_type=content_type)


@given(st.data())
def test_a_damaged_form_is_read_or_refused(data):
    body = bytearray(form(b"one", b"two"))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RefusedError):
        read(bytes(body), range(0, len(body), 5))


def test_no_more_than_the_limit_is_taken():
    with pytest.raises(RefusedError, match="the request has more than 1,000 bytes"):
        read(bytes(5000), range(100, 5000, 100), content_type="image/png", request_bytes=1000)


def test_many_fields_are_refused():
    field = b'--between\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
    with pytest.raises(RefusedError, match="more than 16 parts that are no files"):
        read(field * 20)


def test_room_is_free_again():
    room = Room(100)
    with room.share() as take:
        take(60)
        with (
            room.share() as other,
            pytest.raises(RefusedError, match="hold 100 bytes, which is all that they may"),
        ):
            other(41)
        take(40)
        assert room.taken == 100
    assert room.taken == 0
