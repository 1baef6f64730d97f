"""``KEY`` and ``KEY[@VERSION]`` as people type them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rekey.cli.errors import UsageError
from rekey_core.names import is_token

MAX_VERSION: Final = 2**31 - 1  # contracts.base.Version
EVERY_VERSION: Final = 0


@dataclass(frozen=True)
class Target:
    """A key, or one version of it; version 0 is every version."""

    key: str
    version: int = EVERY_VERSION

    def __str__(self) -> str:
        return f"{self.key}@{self.version}" if self.version else self.key


def parse_name(text: str, *, what: str = "KEY") -> str:
    """One name.

    Raises:
        UsageError: it is none; says what was expected and found.
    """
    if not is_token(text):
        message = f"{what}: expected one name of lower-case letters, digits and hyphens, found {text!r}"
        raise UsageError(message, hint="rekey key ls shows the names of your keys")
    return text


def parse_target(text: str) -> Target:
    """``KEY`` or ``KEY@VERSION``.

    Raises:
        UsageError: neither; wildcards are not taken either, a stop names what it stops.
    """
    key, at, number = text.partition("@")
    if not at:
        return Target(parse_name(key, what="KEY[@VERSION]"))
    name = parse_name(key, what="KEY[@VERSION]")
    if not (number.isascii() and number.isdigit() and len(number) <= len(str(MAX_VERSION))):
        message = f"KEY[@VERSION]: expected a version from 1 to {MAX_VERSION} after {name}@, found {number!r}"
        raise UsageError(
            message, hint=f"rekey key show {name} lists its versions; without @VERSION it is all of them"
        )
    if not 1 <= int(number) <= MAX_VERSION:
        message = f"KEY[@VERSION]: expected a version from 1 to {MAX_VERSION} after {name}@, found {number}"
        raise UsageError(
            message, hint=f"rekey key show {name} lists its versions; without @VERSION it is all of them"
        )
    return Target(name, int(number))


def parse_version(text: str) -> Target:
    """``KEY@VERSION``.

    Raises:
        UsageError: it is none; a key alone is not enough.
    """
    target = parse_target(text)
    if target.version == EVERY_VERSION:
        message = f"KEY@VERSION: expected a version after {target.key}, found none"
        raise UsageError(message, hint=f"rekey key show {target.key} lists its versions")
    return target
