"""What objects on a token are called. Both tokens use the same name for the two halves of one key.

A label says the environment and the epoch, so that a process of one environment never finds another's key. Labels of KEKs
are in ``rekey_hsm.kinds``.
"""

from __future__ import annotations

from typing import Final

MAC_PREFIX: Final = "rec-mac-"


def record_mac_label(env: str, epoch: int) -> str:
    """The record MAC key of an environment and epoch."""
    return f"{MAC_PREFIX}{env}-{epoch}"


def transport_label(dependent: str) -> str:
    """The transport key of a dependent, marked trusted by the security officer."""
    return f"transport-{dependent}"


def probe_label(label: str) -> str:
    """The wrapped throw-away key (or MAC) that proves the key of that label by use."""
    return f"probe-{label}"


def founded_label(label: str) -> str:
    """The mark on the generator's token that both halves of that label exist and were proved."""
    return f"founded-{label}"


def retired_label(label: str) -> str:
    """The mark that this token's half of that label was destroyed on purpose, and is never made again."""
    return f"retired-{label}"


def closed_label(label: str) -> str:
    """The word that was made on the generator's token once nothing more could be wrapped under the epoch of that label."""
    return f"closed-{label}"
