"""Decode bytes to text, also if the charset label is wrong, unknown or missing. Never fails.

Labels are resolved by the table of the WHATWG Encoding Standard (`webencodings`), which says what senders mean by
them. Labels that it does not contain, or replaces for the safety of browsers, are resolved by Python.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import re
import unicodedata
import warnings
from collections.abc import Iterator

import webencodings
from charset_normalizer import from_bytes

#: Number of bytes from which a charset is guessed.
SAMPLE = 4096
#: Maximum bytes of ISO-2022-JP decoded byte by byte where Python's codec fails; more than any stored text.
MAX_JAPANESE = 512 * 1024
#: Python codecs that are not charsets of mail; some take quadratic time.
_EXCLUDED_CODECS = {"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
_EXTRA_LABELS = {
    "utf8mb4": "utf-8", "cp50220": "iso2022_jp", "cp50221": "iso2022_jp", "iso-2022-jp-ms": "iso2022_jp",
    "ansi": "cp1252", "windows-936": "gb18030", "windows-950": "cp950", "windows-932": "cp932",
}  # fmt: skip
_WIDER = {"gbk": "gb18030", "gb2312": "gb18030"}
#: In these nearly every byte is valid, so UTF-8 is tried first: text that decodes as UTF-8 is almost certainly UTF-8.
_SINGLE_BYTE = re.compile(r"cp125\d|cp874|cp866|iso8859[-_]\d+|koi8[-_][rut]|mac[-_]\w+|ascii|tis[-_]620")
_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")

#: Charsets to guess for text without a label. With each, a narrower charset and the first lead byte beyond its common
#: characters: real text rarely contains characters beyond that, wrongly decoded text does.
_CANDIDATES: dict[str, tuple[str, int] | None] = {
    "gb18030": ("gb2312", 0xD8), "cp949": ("euc_kr", 0xC9), "cp932": ("shift_jis", 0x98), "big5": ("big5", 0xC9),
    "cp874": None, "cp1250": None, "cp1252": None, "cp1251": None, "koi8_r": None,
}  # fmt: skip
_HANGUL = re.compile("[\uac00-\ud7a3]")
_HAN = re.compile("[\u3400-\u9fff]")
_ODD = re.compile("[\uff61-\uff9f\ue000-\uf8ff\x80-\x9f]")
"""Half-width kana, private use, control characters."""
_BROKEN_THAI = re.compile("(?:^|[^\u0e01-\u0e5b])[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]|[\u0e34-\u0e3a]{2}|[\u0e4d\u0e4e]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


def decode(raw: bytes, charset: str | None, hint: str | None = None) -> str:
    """Return the text. What is certainly right takes precedence over the declared charset.

    `hint` is a charset that other parts of the mail declare. It is tried before others if this one declares none.
    """
    codec = resolve(charset)
    if codec is None:
        return _undeclared(raw, resolve(hint))
    guesses = ("utf-8", codec) if _SINGLE_BYTE.fullmatch(codec) else (codec, "utf-8")
    # ISO-2022-JP consists of ASCII bytes, so it would always decode as UTF-8.
    for guess in ("iso2022_jp",) if codec == "iso2022_jp" else guesses:
        if guess == "cp1252" and _damaged_utf8(raw):
            break  # almost any bytes decode in it, and it is the label of mailers that do not know better
        if (text := _decode_strictly(raw, guess)) is not None:
            return text
    if codec == "iso2022_jp":
        return "".join(_decode_iso2022_jp(raw))
    if _damaged_utf8(raw):
        codec = "utf-8"
    # For a few bad bytes in a long text, the declared charset is still the best guess.
    try:
        return raw.decode(codec, "replace")
    except (UnicodeError, LookupError, ValueError):
        return raw.decode("utf-8", "replace")


@functools.lru_cache(1024)
def resolve(label: str | None) -> str | None:
    """Return the name of Python's codec for a label; None if there is none."""
    name = (label or "").strip(" '\"").lower()[:60]
    if not name.isascii() or not name or name in {"unknown", "x-unknown"}:
        return None
    python = _python_codec(name)
    if name in _EXTRA_LABELS:
        return _EXTRA_LABELS[name]
    if python is not None and python.startswith(("utf_16", "utf-16", "utf_32", "utf-32")):
        return python  # these codecs use the byte order mark
    for each in (name, name.removeprefix("x-"), name.replace("_", "-"), (python or "").replace("_", "-")):
        found = webencodings.lookup(each)
        if found is not None and found.name not in {"replacement", "x-user-defined"}:
            codec = str(found.codec_info.name)
            return _WIDER.get(codec, codec)
    if name.startswith("x-") and python is None:
        return resolve(name.removeprefix("x-"))
    return None if python is None else _WIDER.get(python, python)


def _python_codec(name: str) -> str | None:
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    plain = found.name.replace("-", "_")
    return None if plain in _EXCLUDED_CODECS or not getattr(found, "_is_text_encoding", True) else found.name


def _decode_strictly(raw: bytes, codec: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return raw.decode(codec)
    except (UnicodeError, LookupError, ValueError):
        return None


def _damaged_utf8(raw: bytes) -> bool:
    """Whether this is UTF-8 with a few missing or wrong bytes, for example because it was truncated."""
    high = len(_HIGH.findall(raw[: 2 * SAMPLE]))
    good = sum(map(len, _CHARACTER.findall(raw[: 2 * SAMPLE])))
    return good > 0 and 0 < high - good <= max(1, good // 4)


def _undeclared(raw: bytes, hint: str | None) -> str:
    if (text := _decode_strictly(raw, "utf-8")) is not None:
        return text
    if _damaged_utf8(raw):
        return raw.decode("utf-8", "replace")
    if hint is not None and hint not in {"utf-8", "cp1252"} and (text := _decode_strictly(raw, hint)) is not None:
        return text
    return raw.decode(_guess(raw[:SAMPLE]), "replace")


def _guess(sample: bytes) -> str:
    """Return the likeliest charset of bytes that are not UTF-8 and have no label."""
    if len(_HIGH.findall(sample)) < 2:
        return "cp1252"
    try:
        matches = from_bytes(sample, cp_isolation=list(_CANDIDATES), threshold=0.3, preemptive_behaviour=False)
    except (ValueError, LookupError, UnicodeError):
        return "cp1252"
    plausible = [match.encoding for match in matches if _plausible(str(match), match.encoding)]
    return (plausible or [match.encoding for match in matches] or ["cp1252"])[0]


def _plausible(text: str, codec: str) -> bool:
    """Whether the text is plausible: one script, its common characters, in an order that the script allows."""
    if _ODD.search(text) or (_HANGUL.search(text) and _HAN.search(text)):
        return False
    if codec == "cp874":
        return not _BROKEN_THAI.search(text)
    if (common := _CANDIDATES.get(codec)) is not None:
        narrow = [_strictly_encoded(c, common[0]) for c in text if c.isalpha() and not c.isascii()]
        return all(0 < len(each) <= 2 and each[0] < common[1] for each in narrow)  # EUC-KR uses 8 bytes for rare ones
    letters = [c for c in text if c.isalpha()]
    latin = [c for c in letters if _LATIN.match(c)]
    if any(a.islower() and b.isupper() for a, b in itertools.pairwise(text)):
        return False
    # Latin text contains ASCII letters too; Cyrillic wrongly decoded as Latin contains none.
    return len(latin) < len(letters) or 2 * sum(c.isascii() for c in latin) >= len(latin)


def _strictly_encoded(character: str, codec: str) -> bytes:
    try:
        return unicodedata.normalize("NFC", character).encode(codec)
    except UnicodeError:
        return b""


# --- ISO-2022-JP with Windows extensions (CP50220): circled digits, Roman numerals, half-width kana. ---

_ESCAPE = re.compile(rb"\x1b(\([BJI]|\$[@B]|\$\(D)")


def _decode_iso2022_jp(raw: bytes) -> Iterator[str]:
    """Yield the decoded text. JIS X 0208 is decoded as CP932, which also has NEC's and IBM's characters."""
    mode, at = b"(B", 0
    raw = raw[:MAX_JAPANESE]
    for escape in itertools.chain(_ESCAPE.finditer(raw), [None]):
        piece = raw[at : escape.start() if escape else len(raw)]
        if mode in {b"$@", b"$B"}:
            yield _to_shift_jis(piece).decode("cp932", "replace")
        elif mode == b"(I":
            yield bytes(byte | 0x80 if 0x20 < byte < 0x60 else byte for byte in piece).decode("cp932", "replace")
        elif mode == b"$(D":
            yield (b"\x1b$(D" + piece + b"\x1b(B").decode("iso2022_jp_2", "replace")
        else:
            yield piece.decode("cp932", "replace")
        if escape:
            mode, at = escape[1], escape.end()


def _to_shift_jis(pairs: bytes) -> bytes:
    """Return JIS X 0208 pairs in Shift_JIS. Control characters are kept; an invalid pair becomes a question mark."""
    out = bytearray()
    at = 0
    while at < len(pairs):
        row = pairs[at]
        if row < 0x21 or at + 1 >= len(pairs):
            out.append(row if row < 0x21 else 0x3F)
            at += 1
            continue
        cell = pairs[at + 1]
        at += 2
        if row > 0x7E or not 0x21 <= cell <= 0x7E:
            out.append(0x3F)
            continue
        out.append((row + 1) // 2 + (0x70 if row < 0x5F else 0xB0))
        out.append(cell + 0x1F + (cell > 0x5F) if row % 2 else cell + 0x7E)
    return bytes(out)
