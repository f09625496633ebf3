"""Texts of simulated customers and agents, in Thai, Polish, Korean and English."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """Customers' names and questions, and an agent's answer, in one language."""

    names: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]
    """Subject and message of each."""
    answer: str


LANGUAGES = {
    "th": Language(
        ("สมชาย ใจดี", "สุดา ศรีสุข", "อนันต์ วงศ์ทอง", "มาลี แซ่ตั้ง"),
        (
            ("ยังไม่ได้รับสินค้า", "สั่งหูฟังไปเมื่อวันจันทร์ ตอนนี้พัสดุอยู่ที่ไหนแล้วคะ"),
            ("สินค้าชำรุด", "เปิดกล่องแล้วจอแตก ขอเปลี่ยนเครื่องใหม่ได้ไหมครับ"),
            ("ขอใบกำกับภาษี", "รบกวนออกใบกำกับภาษีในนามบริษัทด้วยค่ะ"),
        ),
        "สวัสดีค่ะ ตรวจสอบให้แล้ว พัสดุจะถึงพรุ่งนี้ค่ะ",
    ),
    "pl": Language(
        ("Zażółć Gęślą", "Małgorzata Wójcik", "Łukasz Kowalski", "Żaneta Nowak"),
        (
            ("Gdzie jest moja paczka?", "Dzień dobry, zamówienie miało dojść we wtorek. Proszę o numer przesyłki."),
            ("Reklamacja", "Ładowarka przestała działać po dwóch dniach. Jak złożyć reklamację?"),
            ("Faktura", "Proszę o fakturę VAT na firmę, NIP podałem w zamówieniu."),
        ),
        "Dzień dobry, już sprawdziłam: paczka będzie u Pana jutro.",
    ),
    "ko": Language(
        ("김민준", "이서연", "박지훈", "최수아"),
        (
            ("배송 문의", "주문한 원피스가 아직 안 왔어요. 언제쯤 도착하나요?"),
            ("사이즈 교환", "사이즈가 너무 작아요. 큰 사이즈로 교환하고 싶습니다."),
            ("환불 요청", "색상이 사진과 달라서 환불받고 싶어요."),
        ),
        "안녕하세요, 확인해 보니 내일 도착 예정입니다.",
    ),
    "en": Language(
        ("Olivia Smith", "Harry O'Brien", "Amelia Jones", "Zoë Müller"),
        (
            ("Where is my order?", "It was due on Tuesday and tracking has not moved since. Can you have a look?"),
            ("Wrong item", "I ordered the black one and got the white one 😕 What now?"),
            ("Invoice", "Could you send me an invoice made out to my company, please?"),
        ),
        "Hello, I have had a look: it will be with you tomorrow.",
    ),
}
