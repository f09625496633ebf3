"""Split a reply into the messages that a channel needs: one, or the text and each file separately."""

from __future__ import annotations

from dataclasses import replace

from kit.base.ids import stable_id
from services.ingest.core.state import Pending


def split_reply(reply: Pending, *, one_file_per_message: bool) -> tuple[Pending, ...]:
    """Split a reply with files if the channel allows only a text or one file per message (WhatsApp).

    Each part is sent and reported separately, so that `message.sent` names exactly what was sent. The status that the
    reply sets takes effect with the last part.
    """
    message = reply.message
    if not (one_file_per_message and message.attachments):
        return (reply,)
    text = replace(reply, message=message.model_copy(update={"attachments": ()}), status=None)
    files = [
        replace(
            reply,
            message=message.model_copy(
                update={"id": stable_id("file of", message.id, str(n)), "text": "", "attachments": (file,)}
            ),
            html=None,
            status=None,
        )
        for n, file in enumerate(message.attachments)
    ]
    files[-1] = replace(files[-1], status=reply.status)
    return text, *files
