"""Challenges that need no memory: a nonce says when it was made, for whom, and that we made it.

Anybody may ask for challenges, so none is stored: ``time (8) ‖ random (16) ‖ tag (16)``, the tag an HMAC over the first
two and the invite. What makes an enrolment count once is the invite and the keys, not the nonce.
"""

import hmac
import secrets

__all__ = ["Challenges"]

_TAG = 16


class Challenges:
    """Makes and checks nonces.

    Args:
        secret: 32 bytes, of this desk alone; a restart with another one makes outstanding challenges void.
        life: ms for which a nonce may be answered.
    """

    def __init__(self, secret: bytes, life: int) -> None:
        self._secret = secret
        self._life = life

    def make(self, invite: bytes, now: int) -> bytes:
        """A nonce (40 bytes) for an invite."""
        head = now.to_bytes(8, "big") + secrets.token_bytes(16)
        return head + self._tag(head, invite)

    def fresh(self, nonce: bytes, invite: bytes, now: int) -> bool:
        """Whether we made this nonce for this invite, and not too long ago."""
        head, tag = nonce[:-_TAG], nonce[-_TAG:]
        made = int.from_bytes(head[:8], "big")
        return hmac.compare_digest(tag, self._tag(head, invite)) and made <= now < made + self._life

    def _tag(self, head: bytes, invite: bytes) -> bytes:
        return hmac.digest(self._secret, head + invite, "sha256")[:_TAG]
