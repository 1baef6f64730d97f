"""Bytes and JSON that two sides must agree on to the bit: length prefixes, base64url, canonical and strict JSON."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any, Final

from rekey_core.errors import OversizedError, SchemaError

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


def lp(*parts: bytes | str | int) -> bytes:
    """Each part with its length before it (4 bytes, big-endian), so that no two lists give the same bytes.

    Text is UTF-8, a number 8 bytes big-endian. An empty list is a misuse (ValueError).
    """
    if not parts:
        message = "expected at least one part"
        raise ValueError(message)
    return b"".join(len(raw).to_bytes(4, "big") + raw for raw in map(_raw, parts))


def _raw(part: bytes | str | int) -> bytes:
    if isinstance(part, int):
        return part.to_bytes(8, "big")
    return part.encode() if isinstance(part, str) else part


def b64u_encode(data: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64u_decode(text: str) -> bytes:
    """Strict inverse of ``b64u_encode``.

    Raises:
        SchemaError: another alphabet, padding, or bits that do not belong to a byte.
    """
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        message = "expected base64url without padding"
        raise SchemaError(message)
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        message = "expected base64url without padding"
        raise SchemaError(message) from error
    if b64u_encode(data) != text:
        message = "expected canonical base64url, found stray bits at the end"
        raise SchemaError(message)
    return data


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """JSON with sorted keys, no spaces, UTF-8: the part of RFC 8785 without fractions.

    Raises:
        TypeError: a value that is not text, whole number, truth value, null, list or dict.
    """
    _only_json(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _only_json(value: object) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                message = f"expected text as name, found {type(key).__name__}"
                raise TypeError(message)
            _only_json(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _only_json(item)
    elif value is not None and not isinstance(value, str | int):
        message = f"expected text, whole number, truth value, null, list or dict, found {type(value).__name__}"
        raise TypeError(message)


def parse_json_strict(data: bytes, *, limit: int) -> dict[str, Any]:
    """A JSON object of at most ``limit`` bytes; a name that stands twice is refused.

    Raises:
        OversizedError: longer than the limit.
        SchemaError: not UTF-8, not JSON, not an object, or ambiguous.
    """
    if len(data) > limit:
        message = f"expected at most {limit} bytes, found {len(data)}"
        raise OversizedError(message)
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        message = "expected a JSON object in UTF-8"
        raise SchemaError(message) from error
    if not isinstance(value, dict):
        message = f"expected a JSON object, found {type(value).__name__}"
        raise SchemaError(message)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        message = "a name stands twice in one JSON object"
        raise SchemaError(message)
    return dict(pairs)


def sha256_hex(data: bytes) -> str:
    """SHA-256 in 64 hex digits (FIPS 180-4)."""
    return hashlib.sha256(data).hexdigest()
