"""Bytes that two sides must agree on to the bit: length prefixes, base64url, canonical and strict JSON."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from typing import Any, Final, NoReturn

from rekey_core.errors import OversizedError, SchemaError

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_LAST: Final = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}  # no bits that belong to no byte


def lp(*parts: bytes | str | int) -> bytes:
    """Each part with its length before it (4 bytes, big-endian), so that no two lists give the same bytes.

    Text is UTF-8, a number 8 bytes big-endian. One part is at the same time a string of SSH (RFC 4251 §5).

    Raises:
        ValueError: no part.
        OverflowError: a number below 0 or above 2^64-1.
    """
    if not parts:
        raise ValueError("expected at least one part, found none")
    return b"".join(len(raw).to_bytes(4, "big") + raw for raw in map(_raw, parts))


def _raw(part: bytes | str | int) -> bytes:
    if isinstance(part, int):
        return part.to_bytes(8, "big")
    return part.encode() if isinstance(part, str) else part


def b64u_encode(data: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def b64u_decode(text: str) -> bytes:
    """Strict inverse of ``b64u_encode``: one spelling of the same bytes.

    Raises:
        SchemaError: another alphabet, padding, or bits that do not belong to a byte.
    """
    if _BASE64URL.fullmatch(text) is None:
        raise SchemaError("expected base64url without padding")
    rest = len(text) % 4
    if rest == 1:
        raise SchemaError("expected base64url without padding")
    if rest and text[-1] not in _LAST[rest]:
        raise SchemaError("expected canonical base64url, found stray bits at the end")
    return binascii.a2b_base64(text.encode().translate(_FROM_URL) + b"=" * (-rest % 4))


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """JSON in one spelling: RFC 8785 without fractions, and with whole numbers exact beyond 2^53.

    Raises:
        TypeError: a value that is not text, whole number, truth value, null, list or dict.
        ValueError: text that UTF-8 cannot hold.
    """
    return json.dumps(_sorted(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value, key=_utf16)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    if value is not None and not isinstance(value, str | int):
        expected = "text, whole number, truth value, null, list or dict"
        raise TypeError(f"expected {expected}, found {type(value).__name__}")
    return value


def _utf16(name: object) -> bytes:
    """RFC 8785 §3.2.3 sorts names by UTF-16 code units."""
    if not isinstance(name, str):
        raise TypeError(f"expected text as a name, found {type(name).__name__}")
    return name.encode("utf-16-be")


def parse_json_strict(data: bytes, *, limit: int) -> dict[str, Any]:
    """A JSON object of at most ``limit`` bytes that ``canonical_json`` can write.

    Raises:
        OversizedError: longer than the limit.
        SchemaError: not UTF-8, not JSON, not an object; a name twice, a fraction, half a character.
    """
    if len(data) > limit:
        raise OversizedError(f"expected at most {limit} bytes, found {len(data)}")
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_float=_no_fraction, parse_constant=_no_fraction
        )
        _ = canonical_json(value) if b"\\u" in data else b""  # escapes can spell what UTF-8 cannot hold
    except (ValueError, RecursionError) as error:  # ValueError: also a number of more than 4,300 digits
        raise SchemaError("expected a JSON object in UTF-8") from error
    if not isinstance(value, dict):
        raise SchemaError(f"expected a JSON object, found {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise SchemaError("expected each name once in a JSON object, found one twice")
    return dict(pairs)


def _no_fraction(text: str) -> NoReturn:
    raise SchemaError(f"expected whole numbers only, found {text[:20]!r}")


def sha256_hex(data: bytes) -> str:
    """SHA-256 in 64 hex digits (FIPS 180-4)."""
    return hashlib.sha256(data).hexdigest()


def printable(text: str) -> str:
    """Text of somebody else for a terminal: what is no visible character or space stands there as an escape of Python.

    So it moves no cursor, begins no line and turns no direction (Unicode categories C and Z but for the space).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def what_and_next(what: str, hint: str | None) -> str:
    """What a program says when it goes wrong: that, and in a line of its own what to do next; both ``printable``."""
    return f"{printable(what)}\n" + (f"hint: {printable(hint)}\n" if hint else "")
