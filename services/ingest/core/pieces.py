"""A reply as the messages that carry it: one, or on some channels the text and each file for itself."""

from __future__ import annotations

from dataclasses import replace

from kit.base.ids import stable_id
from services.ingest.core.state import Pending


def pieces(whole: Pending, *, files_apart: bool) -> tuple[Pending, ...]:
    """Take a reply apart where its channel carries one file per message and no text beside it (WhatsApp).

    Each piece is tried, settled and told by itself, so that `message.sent` names what left and nothing else. The status
    that the reply asks for comes with the last one.
    """
    message = whole.message
    if not (files_apart and message.attachments):
        return (whole,)
    text = replace(whole, message=message.model_copy(update={"attachments": ()}), status=None)
    files = [
        replace(
            whole,
            message=message.model_copy(
                update={"id": stable_id("file of", message.id, str(n)), "text": "", "attachments": (file,)}
            ),
            html=None,
            status=None,
        )
        for n, file in enumerate(message.attachments)
    ]
    files[-1] = replace(files[-1], status=whole.status)
    return text, *files
