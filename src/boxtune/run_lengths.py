"""Run lengths of masks as COCO has them: over the columns of an image, pixels outside and inside in turn."""

import ast
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from boxtune.errors import DataError

Ints = npt.NDArray[np.int64]

_DIGIT_BITS = 5
# Seven digits are 34 bits and a sign, more than any image needs.
_MAX_DIGITS = 7


def of_array(array: npt.NDArray[np.generic]) -> Ints:
    """Return int64 [r], the lengths of the runs of zeros and others in turn of an array [h, w], columns first."""
    flat = array.ravel(order="F").astype(bool)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = [0, 0] if flat[:1].any() else [0]
    return np.diff(np.concatenate((starts, changes, [flat.size])))


def bounds(starts: Ints, ends: Ints, height: int) -> tuple[float, float, float, float]:
    """Return ymin, xmin, ymax, xmax of runs of pixels [r] in an image of `height` rows; `ends` are behind the last."""
    last = ends - 1
    # A run that goes on in the next column has the last row of one and the first of the other.
    goes_on = (starts // height != last // height).any()
    ymin, ymax = (0, height) if goes_on else ((starts % height).min(), (last % height).max() + 1)
    return float(ymin), float(starts[0] // height), float(ymax), float(last[-1] // height + 1)


def unprinted(text: str) -> bytes:
    """Return the bytes of a text; some programs write them as Python prints them: ``b'nf4b'``."""
    if text.startswith(("b'", 'b"')):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            printed = ast.literal_eval(text)
            if isinstance(printed, bytes):
                return printed
    return text.encode(errors="replace")


def decompress(counts: bytes) -> Ints:
    """Return int64 [r], run lengths from COCO's compressed form.

    Source: the COCO API's rleFrString. A number is written in digits of five bits, the lowest first, each a
    character from "0" on; the sixth bit says that another digit follows, and the fifth of the last is the sign.
    From the fourth number on it is the difference to the number two before.

    Raises:
        DataError: if they are something else.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - ord("0")
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise DataError("a mask's compressed run lengths are malformed.")
    ends = np.flatnonzero(digits & 32 == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    num_digits = ends - starts + 1
    if num_digits.max() > _MAX_DIGITS:
        raise DataError("a mask's compressed run lengths are malformed.")
    shifts = _DIGIT_BITS * (np.arange(len(digits)) - np.repeat(starts, num_digits))
    runs = np.add.reduceat((digits & 31) << shifts, starts)
    runs -= (digits[ends] >> 4 & 1) << _DIGIT_BITS * num_digits
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def compress(runs: Ints) -> bytes:
    """Return COCO's compressed form of run lengths [r]: see `decompress`. Source: rleToString."""
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    characters = bytearray()
    for number in numbers.tolist():
        more = True
        while more:
            digit = number & 31
            number >>= _DIGIT_BITS
            more = number != (-1 if digit & 16 else 0)
            characters.append(ord("0") + digit + 32 * more)
    return bytes(characters)
