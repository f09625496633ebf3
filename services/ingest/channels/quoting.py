"""Find the new text of a mail: remove quotes and the signature at its end, in the customers' languages.

Rule: in doubt, keep text. If the author wrote between or below quoted lines, the quotes are kept.
"""

from __future__ import annotations

import re

_WROTE = re.compile(
    r"^(?:"
    r"(?:On|Am|Le|El|W dniu|Dnia|Op)\s.{4,240}(?:wrote|schrieb|écrit|escribió|napisał|napisała|pisze|schreef)"
    r".{0,120}:"
    r"|.{4,240}(?:napisał\(a\)|napisał|napisała)\s?:"
    r"|.{4,240}(?:님이 작성|님이 씀|작성)\s?:"
    r"|(?:เมื่อ|ในวันที่|วันที่|ใน)\s?.{4,240}(?:เขียนว่า|เขียน|ได้เขียนว่า)\s?:?"
    r")$"
)
_ORIGINAL = re.compile(
    r"^[-_*\s]{3,}\s?(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Weitergeleitete Nachricht"
    r"|Wiadomość oryginalna|Oryginalna wiadomość|Wiadomość przekazana|원본 메시지|원본 메일|전달된 메시지"
    r"|ข้อความต้นฉบับ|ข้อความที่ส่งต่อ)\s?[-_*\s]{3,}$",
    re.IGNORECASE,
)
_FROM = re.compile(r"^\*?(?:From|Von|Od|보낸 사람|보낸사람|จาก)\s?:\*?\s?\S")
_SENT = re.compile(
    r"^\*?(?:Sent|Date|To|Gesendet|Datum|An|Wysłano|Data|Do|보낸 날짜|받는 사람|날짜|ส่ง|วันที่|ถึง)\s?:\*?\s?\S"
)
_DEVICE = re.compile(
    r"^(?:Sent from my |Get Outlook for |Von meinem .{1,40} gesendet|Gesendet von |Wysłan[oe] z "
    r"|나의 .{1,40}에서 보냄|내 .{1,40}에서 보냄|ส่งจาก)"
)
_SIGNATURE = {"--", "-- "}
_MAX_LINE = 400
_MAX_LINES = 20_000


def newest(text: str) -> str:
    """Return the text without quotes and signature at its end; the whole text if nothing else remains."""
    rows = text.split("\n")
    if len(rows) > _MAX_LINES:
        return text
    end = _end_of_new(rows)
    end = _end_without_signature(rows, end)
    kept = "\n".join(rows[:end]).strip()
    return kept or text.strip()


def _end_of_new(rows: list[str]) -> int:
    for n, row in enumerate(rows):
        if (
            len(row) <= _MAX_LINE
            and row.strip()
            and (width := _marker(rows, n))
            and not _answers_inside(rows, n + width)
        ):
            return n
    end = len(rows)
    while end and (not rows[end - 1].strip() or rows[end - 1].lstrip().startswith(">")):
        end -= 1
    return end


def _marker(rows: list[str], n: int) -> int:
    """Return the number of lines at `n` that introduce a quote ("On … wrote:"); 0 if none does."""
    row = rows[n].strip()
    if _ORIGINAL.match(row):
        return 1
    if _FROM.match(row) and any(len(r) <= _MAX_LINE and _SENT.match(r.strip()) for r in rows[n + 1 : n + 4]):
        return 1
    for width in (1, 2, 3):  # mail programs fold the line
        window = rows[n : n + width]
        joined = " ".join(part.strip() for part in window)
        if len(joined) > _MAX_LINE or not all(part.strip() for part in window) or row.startswith(">"):
            break
        if _WROTE.match(joined):
            return width
    return 0


def _answers_inside(rows: list[str], start: int) -> bool:
    """Whether the author wrote between or below lines quoted with `>`."""
    quoted = False
    for n in range(start, len(rows)):
        row = rows[n]
        if row.lstrip().startswith(">"):
            quoted = True
        elif row.strip():
            if quoted:
                return row.rstrip("\r") not in _SIGNATURE
            if n - start > 2:  # a quote without ">" marks extends to the end
                return False
    return False


def _end_without_signature(rows: list[str], end: int) -> int:
    for n in range(max(0, end - 25), end):
        row = rows[n]
        if row in _SIGNATURE or (len(row) <= 120 and _DEVICE.match(row.strip())):
            return n
    return end
