"""Names that people take for the same: of equal look, or with other capitals, blanks and hyphens."""

import unicodedata

# The code points of Cyrillic and Greek letters that look like a Latin one, as small or capital letters.
_TWINS = {
    "a": (0x430, 0x3B1),
    "b": (0x432, 0x3B2),
    "c": (0x441,),
    "d": (0x501,),
    "e": (0x435, 0x3B5),
    "h": (0x43D, 0x4BB, 0x3B7),
    "i": (0x456, 0x3B9),
    "j": (0x458,),
    "k": (0x43A, 0x3BA),
    "m": (0x43C, 0x3BC),
    "o": (0x43E, 0x3BF),
    "p": (0x440, 0x3C1),
    "q": (0x51B,),
    "s": (0x455,),
    "t": (0x442, 0x3C4),
    "v": (0x3BD,),
    "w": (0x51D,),
    "x": (0x445, 0x3C7),
    "y": (0x443, 0x3C5),
    "z": (0x3B6,),
}
_LATIN = {chr(code): latin for latin, codes in _TWINS.items() for code in codes}
_TO_LATIN = str.maketrans(_LATIN | {twin.upper(): latin.upper() for twin, latin in _LATIN.items()})


def look(name: str) -> str:
    """Return what is seen of a name: in letters that look like its own, without what has no look."""
    text = unicodedata.normalize("NFKC", name).translate(_TO_LATIN)
    return "".join(character for character in text if not _is_invisible(character)).strip()


def plain(name: str) -> str:
    """Return the letters and numbers of a name, small and as they look; all that is seen of one without any."""
    seen = look(name).casefold()
    return "".join(character for character in seen if unicodedata.category(character)[0] in "LMN") or seen


def _is_invisible(character: str) -> bool:
    """Say whether a character has no look of its own: of a format, such as of no width, or a variation selector."""
    return unicodedata.category(character) in ("Cc", "Cf") or "\ufe00" <= character <= "\ufe0f"
