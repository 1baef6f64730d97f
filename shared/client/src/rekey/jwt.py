"""JSON Web Tokens (RFC 7519) as JWS compact serialisation (RFC 7515 §7.1). Pure.

The algorithm is the key's (ES256, ES384 or PS256: RFC 7518 §3.4, §3.5); a token that names another one is none of ours, and
nothing is ever chosen by what a token says (RFC 8725 §3.1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rekey.errors import TokenError
from rekey_core.encoding import b64u_decode, b64u_encode, parse_json_strict
from rekey_core.errors import MalformedError

MAX_TOKEN_BYTES: Final = 16 * 1024
CLOCK_SKEW_S: Final = 0  # RFC 7519 §4.1.4 allows some; the caller's policy, so none here
_PARTS: Final = 3


@dataclass(frozen=True)
class Token:
    """A token taken apart; nothing vouches for it before its signature is verified."""

    algorithm: str
    kid: str
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def signing_input(algorithm: str, kid: str, claims: Mapping[str, Any]) -> bytes:
    """What is signed: header and claims.

    Raises:
        TokenError: the claims are not JSON, or too large.
    """
    header = {"alg": algorithm, "kid": kid, "typ": "JWT"}
    try:
        parts = [
            json.dumps(part, separators=(",", ":"), allow_nan=False).encode()
            for part in (header, dict(claims))
        ]
    except (TypeError, ValueError) as error:
        raise TokenError("expected claims that are JSON") from error
    joined = b".".join(b64u_encode(part).encode() for part in parts)
    if len(joined) > MAX_TOKEN_BYTES:
        raise TokenError(
            f"expected at most {MAX_TOKEN_BYTES} bytes of header and claims, found {len(joined)}"
        )
    return joined


def compact(signed: bytes, signature: bytes) -> str:
    """The token."""
    return f"{signed.decode()}.{b64u_encode(signature)}"


def parse(token: str) -> Token:
    """Take a token apart.

    Raises:
        TokenError: not three parts of base64url JSON, critical extensions, or no ``alg`` or ``kid``.
    """
    parts = token.split(".")
    if len(parts) != _PARTS or len(token) > 2 * MAX_TOKEN_BYTES:
        raise TokenError(f"expected a token of {_PARTS} parts, found {len(parts)} in {len(token)} characters")
    try:
        header, claims = (parse_json_strict(b64u_decode(part), limit=MAX_TOKEN_BYTES) for part in parts[:2])
        signature = b64u_decode(parts[2])
    except MalformedError as error:
        raise TokenError(f"the token cannot be read: {error}") from error
    if "crit" in header:  # RFC 7515 §4.1.11: what is critical must be understood
        raise TokenError("the token has critical extensions, which are not known here")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(kid, str):
        raise TokenError("the token names no algorithm (alg) or no key (kid)")
    return Token(algorithm, kid, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def check_algorithm(token: Token, expected: str) -> None:
    """Return if the token names the algorithm of its key.

    Raises:
        TokenError: it names another one.
    """
    if token.algorithm != expected:
        raise TokenError(f"expected algorithm {expected}, found {token.algorithm[:20]!r}")


def check_times(claims: Mapping[str, Any], now: float) -> None:
    """Return if ``exp`` and ``nbf`` (RFC 7519 §4.1.4, §4.1.5), where present, allow ``now`` (Unix seconds).

    Raises:
        TokenError: expired, not valid yet, or a time that is none.
    """
    for name in ("exp", "nbf"):
        value = claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TokenError(f"expected {name} to be a number of seconds")
    if "exp" in claims and claims["exp"] is not None and now >= claims["exp"] + CLOCK_SKEW_S:
        raise TokenError(f"the token expired {now - claims['exp']:.0f} s ago")
    if "nbf" in claims and claims["nbf"] is not None and now < claims["nbf"] - CLOCK_SKEW_S:
        raise TokenError(f"the token is valid only in {claims['nbf'] - now:.0f} s")
