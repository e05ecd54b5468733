"""Key signatures of ABC notation."""

import re

_SHARPS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}  # of a major key
_MODES = {"mix": -1, "dor": -2, "min": -3, "aeo": -3, "m": -3, "phr": -4, "loc": -5, "lyd": 1}
_KEY = re.compile(r"([A-GH])([#bs]?)\s*([A-Za-z]*)")
_OWN = re.compile(r"(\^{1,2}|_{1,2}|=)([A-Ga-g])")
SEMITONES = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}


def key_signature(text: str) -> dict[str, int]:
    """What a K: field makes of the letters: "D mix" -> {"F": 1}; what it leaves out is natural.

    Modes by their first three letters, accidentals of its own after them. H and Es are German for B
    and E flat; the bagpipes' Hp and HP have F and C sharp.
    """
    text = text.split("%")[0].strip()
    found = _KEY.match(text)
    sharps = 0
    if text[:2].upper() == "HP":
        sharps = 2
    elif found:
        tonic, sign, mode = found.groups()
        mode = "m" if mode == "m" else mode[:3].lower() if len(mode) > 1 else ""
        sharps = _SHARPS["B" if tonic == "H" else tonic] + _MODES.get(mode, 0)
        sharps += {"#": 7, "b": -7, "s": -7}.get(sign, 0)
    key = dict.fromkeys("FCGDAEB"[: max(0, sharps)], 1)
    key |= dict.fromkeys("BEADGCF"[: max(0, -sharps)], -1)
    return key | {letter.upper(): SEMITONES[mark] for mark, letter in _OWN.findall(text)}
