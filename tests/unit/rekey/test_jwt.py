from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from rekey import jwt
from rekey.beliefs import Stopped
from rekey.errors import LeaseExpiredError, TokenError, UnknownKeyIdError, VersionSuspendedError
from rekey.keystate import KeyState
from rekey.lease import LeaseClock
from rekey.signer import Signer
from rekey.versions import RemoteVersion
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.errors import SignatureError
from rekey_core.names import Algorithm
from rekey_core.signatures import verify_signature
from tests.unit.rekey.world import NOW, World

W = World()
NAME = "token-signer"


def token(header: object, claims: object = None, signature: bytes = bytes(64)) -> str:
    parts = [json.dumps(part).encode() for part in (header, {} if claims is None else claims)]
    return ".".join(b64u_encode(part) for part in (*parts, signature))


GOOD = {"alg": "ES256", "kid": "k", "typ": "JWT"}


def test_a_token_comes_apart_as_it_was_put_together() -> None:
    signed = jwt.signing_input("ES256", "k", {"sub": "alice", "exp": 5})
    found = jwt.parse(jwt.compact(signed, b"s" * 64))
    assert (found.algorithm, found.kid, found.claims) == ("ES256", "k", {"sub": "alice", "exp": 5})
    assert (found.signing_input, found.signature) == (signed, b"s" * 64)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("a.b", id="two parts"),
        pytest.param(token(GOOD) + ".x", id="four parts"),
        pytest.param(token({"kid": "k"}), id="no algorithm"),
        pytest.param(token({"alg": "ES256"}), id="no kid"),
        pytest.param(token({"alg": "ES256", "kid": 7}), id="a kid that is no text"),
        pytest.param(token({**GOOD, "crit": ["b64"]}), id="critical extensions"),
        pytest.param(token([GOOD]), id="a header that is no object"),
        pytest.param(token(GOOD, [1]), id="claims that are no object"),
        pytest.param("e30=.e30.AA", id="padding"),
        pytest.param("!!.e30.AA", id="another alphabet"),
        pytest.param(b64u_encode(b'{"alg":"ES256","alg":"none","kid":"k"}') + ".e30.AA", id="a name twice"),
        pytest.param(token(GOOD, {"x": "y" * 40_000}), id="too large"),
    ],
)
def test_what_is_no_token_of_ours_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        jwt.parse(text)


@pytest.mark.parametrize(
    ("claims", "valid"),
    [
        pytest.param({}, True, id="no times"),
        pytest.param({"exp": 101}, True, id="not expired"),
        pytest.param({"exp": 100}, False, id="expires now"),
        pytest.param({"exp": 99.5}, False, id="expired"),
        pytest.param({"exp": "never"}, False, id="a time that is none"),
        pytest.param({"exp": True}, False, id="a truth value"),
        pytest.param({"nbf": 100}, True, id="valid from now"),
        pytest.param({"nbf": 101}, False, id="not valid yet"),
    ],
)
def test_times(claims: dict[str, object], *, valid: bool) -> None:
    if valid:
        jwt.check_times(claims, 100.0)
        return
    with pytest.raises(TokenError):
        jwt.check_times(claims, 100.0)


@pytest.mark.parametrize("claims", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 20_000}])
def test_claims_that_are_not_json_or_too_large_are_refused(claims: dict[str, object]) -> None:
    with pytest.raises(TokenError):
        jwt.signing_input("ES256", "k", claims)


def test_rfc_7515_appendix_a_3() -> None:
    x = int.from_bytes(b64u_decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"), "big")
    y = int.from_bytes(b64u_decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"), "big")
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    signed = (
        b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    signature = b64u_decode(
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    verify_signature(Algorithm.EC_P256, key, signed, signature)
    with pytest.raises(SignatureError):
        verify_signature(Algorithm.EC_P256, key, signed + b"x", signature)


@pytest.fixture
def key() -> KeyState:
    state = KeyState(NAME)
    for number in (1, 2):
        state.install(W.remote_version(number))
    state.switch(1)
    return state


@pytest.fixture
def signer(key: KeyState) -> Signer:
    lease = LeaseClock(lambda: 0.0)
    lease.extend(0.0, 30)
    return Signer(key, lease, None, 1.0, lambda: None)  # type: ignore[arg-type]  # verifying asks nobody


def signed_by(
    key: KeyState,
    number: int,
    claims: dict[str, object],
    kid: str | None = None,
    algorithm: str = "ES256",
) -> str:
    version = key.held[number]
    assert isinstance(version, RemoteVersion)
    signed = jwt.signing_input(algorithm, kid or version.id, claims)
    return jwt.compact(signed, W.es256(number, signed))


def test_tokens_of_the_current_and_the_coming_version_are_verified(key: KeyState, signer: Signer) -> None:
    for number in (1, 2):
        assert signer.verify_jwt(signed_by(key, number, {"n": number})) == {"n": number}
    assert [jwk["kid"] for jwk in signer.jwks()["keys"]] == [key.held[1].id, key.held[2].id]


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "PS256", "es256", ""])
def test_a_token_of_another_algorithm_than_its_keys_is_refused(
    key: KeyState, signer: Signer, algorithm: str
) -> None:
    with pytest.raises(TokenError, match="expected algorithm ES256"):
        signer.verify_jwt(signed_by(key, 1, {}, algorithm=algorithm))


def test_a_token_under_the_kid_of_another_version_is_refused(key: KeyState, signer: Signer) -> None:
    with pytest.raises(TokenError, match="not signed by"):
        signer.verify_jwt(signed_by(key, 1, {}, kid=str(key.held[2].id)))
    with pytest.raises(UnknownKeyIdError):
        signer.verify_jwt(signed_by(key, 1, {}, kid="somebody"))


def test_tokens_of_a_stopped_version_are_refused_and_its_key_leaves_the_set(
    key: KeyState, signer: Signer
) -> None:
    text = signed_by(key, 1, {})
    kid = key.held[1].id
    key.stop({1: Stopped(NAME, 1, "suspended", "rita", "why", NOW)})
    with pytest.raises(VersionSuspendedError, match="rita"):
        signer.verify_jwt(text)
    assert kid not in [jwk["kid"] for jwk in signer.jwks()["keys"]]


def test_without_a_lease_nothing_is_verified(key: KeyState) -> None:
    signer = Signer(key, LeaseClock(lambda: 0.0), None, 1.0, lambda: None)  # type: ignore[arg-type]
    with pytest.raises(LeaseExpiredError):
        signer.verify_jwt(signed_by(key, 1, {}))
