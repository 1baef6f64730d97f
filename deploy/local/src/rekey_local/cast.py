"""Who plays in the story, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rekey_local.commands import People
from rekey_local.screen import Screen
from rekey_local.stack import Stack

OWNER: Final = "alice"
RESPONDER: Final = "rita"
AUDITOR: Final = "adam"


@dataclass(frozen=True)
class StoryKey:
    """A key of the story. ``calls``: what the instances do with its current version alone."""

    name: str
    key_class: str
    purpose: str
    calls: tuple[str, ...]


DATA: Final = StoryKey("orders-db", "application-data", "rows of the orders database", ("encrypt",))
MACS: Final = StoryKey(
    "webhook-mac", "message-auth", "what webhooks carry to prove who sent them", ("mac", "check")
)
TOKENS: Final = StoryKey(
    "token-signer", "token-signing", "access tokens between services", ("sign", "verify")
)
ENVELOPE: Final = StoryKey(
    "envelope-root", "data-key-wrapping", "data keys of documents and attachments", ("seal", "open")
)
KEYS: Final = (DATA, MACS, TOKENS, ENVELOPE)


@dataclass(frozen=True)
class Cast:
    """The stack, the people at their command lines, and the screen."""

    stack: Stack
    people: People
    screen: Screen
