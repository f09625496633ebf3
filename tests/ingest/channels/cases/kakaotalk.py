"""KakaoTalk: skill requests of a chatbot."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

TOKEN = "9f2c1d7e-skill-token"
BOT = "5ae9b76d7409b11ec845b746"
USER = "226f81aef15e8f5890425bbeaa5978d54dfc98fadcaa076ed1f635eda11204ba30"
CALLBACK = f"https://bot-api.kakao.com/v1/bots/{BOT}/callback/-damddEwVMRHufi6uUr63Ir7veOUGTFai"


def sign(body: bytes, _: datetime) -> Request:
    return Request(body, {"content-type": "application/json;charset=UTF-8", "x-skill-token": TOKEN})


def asked(utterance: str = "", callback: str | None = CALLBACK + "1", action: Any = None, **more: Any) -> bytes:
    user = {"id": USER, "type": "botUserKey", "properties": {"botUserKey": USER, "plusfriendUserKey": "T8x9DhjAiBrv"}}
    block = {"id": "5ae9b7bce821274218915ad4", "name": "폴백 블록"}
    request = {
        "block": block,
        "user": user,
        "utterance": utterance,
        "params": {"surface": "Kakaotalk.plusfriend"},
        "lang": "ko",
        "timezone": "Asia/Seoul",
        **({"callbackUrl": callback} if callback else {}),
        **more,
    }
    called = {"id": "5ae9b7c7", "name": "desk", "params": action or {}, "detailParams": {}, "clientExtra": {}}
    document = {"bot": {"id": BOT, "name": "코랄"}, "intent": block, "action": called, "userRequest": request}
    return json.dumps({**document, "contexts": []}, ensure_ascii=False).encode()


MEDIA = {"surface": "Kakaotalk.plusfriend", "media": {"type": "image", "url": "https://talk.kakaocdn.net/dna/a.jpg"}}
SECURE = {
    "secureimage": '{"privacyAgreement":"Y","imageQuantity":"2",'
    '"secureUrls":"List(https://s.kakao.com/1, https://s.kakao.com/2)"}'
}

CASE = Case(
    name="kakaotalk",
    environ={"DESKBUS_SECRET_KAKAO_KR": TOKEN, "DESKBUS_TOKEN_KAKAO_KR": "kakao-rest-key"},
    sign=sign,
    signs_body=False,
    message=asked("주문 1182 언제 와요?"),
    message_id=CALLBACK + "1",
    text="주문 1182 언제 와요?",
    another=asked("아직 안 왔어요", CALLBACK + "2"),
    silent=(asked(""), asked(" \n")),
    several={
        asked("https://talk.kakaocdn.net/dna/a.jpg", CALLBACK + "3", params=MEDIA): (CALLBACK + "3",),
        asked("", CALLBACK + "4", action=SECURE): (CALLBACK + "4",),
    },
    reply_id=(
        200,
        b'{"taskId":"ccb9a7ce-f3f2-4c6b-8d3e","status":"SUCCESS","message":"accepted","timestamp":1795253500000}',
        "ccb9a7ce-f3f2-4c6b-8d3e",
    ),
)
