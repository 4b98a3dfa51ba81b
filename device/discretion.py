"""What a node says when its app fails: that it failed and the error's class, never the error's text.

Under stock Flower (a SuperNode, Flower's simulation) the text of an exception inside a ``ClientApp`` is sent to the
server, unsealed, as the reason of an error reply. A text may quote a path, a label, a value. The reply made here has a
fixed text; the exception's own, with its traceback, goes to this machine's log.
"""

import logging
from collections.abc import Callable

from flwr.app import Context, Error, Message

__all__ = ["discreetly"]

_LOG = logging.getLogger(__name__)
_APP_FAILED = 2  # Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION, which its public face does not name


def discreetly(message: Message, context: Context, answer: Callable[[Message, Context], Message]) -> Message:
    """A Flower mod: the answer, or an error reply that tells nothing but the class of what went wrong.

    What stops the process (``SystemExit``, ``KeyboardInterrupt``) passes: Flower sends nothing of it.
    """
    try:
        return answer(message, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text stays here
        _LOG.exception("the device's app failed")
        return Message(Error(_APP_FAILED, f"the device's app failed ({type(error).__name__})"), reply_to=message)
