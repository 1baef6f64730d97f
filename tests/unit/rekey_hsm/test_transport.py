"""Versions that leave under an AES transport key: made by the process, released to the trusted key, ended by the clock."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from pkcs11.constants import Attribute

from rekey_core.errors import NotEnrolledError, RecordError
from rekey_core.names import Algorithm
from rekey_hsm import DistributorHsm, GeneratorHsm, Released, WrappedSecret
from rekey_hsm.keys import new_transport_key
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token
from rekey_hsm.transport import TRANSPORT_KEY_LIFETIME, TransportKeys
from tests.hsm_tokens import BULK_KEK, RECIPIENT, SECRET_KEK, Tokens

AES, HMAC = Algorithm.AES_256_GCM, Algorithm.HMAC_SHA_256
AT = datetime(2026, 11, 27, tzinfo=UTC)
TICK = timedelta(microseconds=1)
BOUND = 4


async def release(
    hsm: DistributorHsm, tokens: Tokens, blob: bytes, *inputs: bytes, at: datetime = AT, kek: str = BULK_KEK
) -> Released:
    return await hsm.release_under_transport_key(
        kek,
        blob,
        recipient=RECIPIENT,
        recipient_spki_sha256=tokens.spki_sha256,
        mac_inputs=inputs,
        algorithm=AES,
        at=at,
    )


def opened(tokens: Tokens, released: Released) -> bytes:
    """What the dependent does with what it was given."""
    assert released.transport is not None
    key = tokens.open_released(released.transport)
    assert len(key) == 32
    return aes_key_unwrap_with_padding(key, released.wrapped)


@pytest.fixture
async def secret(generator_hsm: GeneratorHsm) -> WrappedSecret:
    return await generator_hsm.make_secret(BULK_KEK, AES, b"commitment input")


@pytest.mark.parametrize("algorithm", [AES, HMAC])
async def test_a_released_secret_is_64_bytes_and_matches_commitment_and_macs(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm, tokens: Tokens, algorithm: Algorithm
) -> None:
    made = await generator_hsm.make_secret(BULK_KEK, algorithm, b"commitment input")
    for _ in range(2):  # opened, and by the kept handle
        released = await release(distributor_hsm, tokens, made.blob, b"commitment input", b"installed")
        key = opened(tokens, released)
        assert (len(key), released.macs[0]) == (64, made.commitment)
        assert released.macs[1] == hmac.digest(key, b"installed", "sha256")


@pytest.mark.parametrize(
    ("later", "same"),
    [
        pytest.param(timedelta(), True, id="at once"),
        pytest.param(TRANSPORT_KEY_LIFETIME - TICK, True, id="just before its time is over"),
        pytest.param(TRANSPORT_KEY_LIFETIME, False, id="when its time is over"),
        pytest.param(TRANSPORT_KEY_LIFETIME * 40, False, id="long after"),
        pytest.param(-TICK, False, id="before it was made: the clock went back"),
    ],
)
async def test_a_transport_key_serves_for_thirty_days_and_another_follows_by_itself(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret, later: timedelta, same: object
) -> None:
    first = await release(distributor_hsm, tokens, secret.blob)
    second = await release(distributor_hsm, tokens, secret.blob, at=AT + later)
    assert (first.transport == second.transport) is same
    assert (first.wrapped == second.wrapped) is same
    assert opened(tokens, first) == opened(tokens, second)


def test_thirty_days_are_thirty_days() -> None:
    assert timedelta(days=30) == TRANSPORT_KEY_LIFETIME


async def test_a_process_that_starts_again_has_another_transport_key(
    tokens: Tokens, secret: WrappedSecret
) -> None:
    """As another replica has: nobody has to agree with anybody, for each key comes with what it wraps."""
    given = []
    for _ in range(2):
        hsm = await DistributorHsm.open(tokens.distributor)
        given.append(await release(hsm, tokens, secret.blob))
        await hsm.close()
    assert given[0].transport != given[1].transport
    assert opened(tokens, given[0]) == opened(tokens, given[1])


async def test_a_transport_key_goes_to_the_trusted_key_of_that_hash_only(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret
) -> None:
    await release(distributor_hsm, tokens, secret.blob)
    other = hashlib.sha256(b"another key").hexdigest()
    for recipient, digest in ((RECIPIENT, other), ("nobody", tokens.spki_sha256)):
        with pytest.raises(NotEnrolledError, match=digest):
            await distributor_hsm.release_under_transport_key(
                BULK_KEK,
                secret.blob,
                recipient=recipient,
                recipient_spki_sha256=digest,
                mac_inputs=(),
                algorithm=AES,
                at=AT,
            )


async def test_a_spoiled_blob_and_one_of_another_release_are_record_errors(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret
) -> None:
    other = await generator_hsm.make_secret(SECRET_KEK, AES, b"")
    for blob in (bytes(72), secret.blob[:-8], b"", other.blob):
        with pytest.raises(RecordError, match=BULK_KEK):
            await release(distributor_hsm, tokens, blob)
    assert (await release(distributor_hsm, tokens, secret.blob)).macs == ()


async def test_no_release_takes_the_way_of_the_other(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret
) -> None:
    with pytest.raises(ValueError, match=f"{SECRET_KEK} is not a kek for"):
        await release(distributor_hsm, tokens, secret.blob, kek=SECRET_KEK)
    with pytest.raises(ValueError, match=f"{BULK_KEK} is not a kek for"):
        await distributor_hsm.release_secret(
            BULK_KEK,
            secret.blob,
            recipient=RECIPIENT,
            recipient_spki_sha256=tokens.spki_sha256,
            mac_inputs=(),
        )


async def test_keys_that_are_over_or_too_many_are_destroyed(tokens: Tokens) -> None:
    def count() -> list[int]:
        token = Token.open(tokens.distributor)
        kept = TransportKeys(BOUND)

        def live() -> int:
            wanted = {Attribute.WRAP_WITH_TRUSTED: True, Attribute.WRAP: True}
            return len(list(token.session.get_objects(wanted)))

        def fill(days: int) -> int:
            at = AT + timedelta(days=days)
            kept.of((f"dependent-{days}", "hash"), at, lambda: (new_transport_key(token.session), b""))
            return live()

        try:
            filled = [fill(day) for day in range(BOUND + 2)]
            return [
                *filled,
                fill(34),
                fill(100),
                fill(0),
                len(kept),
            ]  # by then all but day 5's are over; all; all
        finally:
            token.close()

    assert await on_hsm_thread(count) == [1, 2, 3, 4, 4, 4, 2, 1, 1, 1]
