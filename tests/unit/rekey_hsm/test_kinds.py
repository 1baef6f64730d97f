"""Every kind of key that never leaves the HSM, made in one real token and used in the other."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rekey_core.errors import CiphertextError, MacError, PinError, RecordError, UnavailableError
from rekey_core.names import Algorithm
from rekey_core.secret import Secret
from rekey_core.signatures import public_key_of, verify_signature
from rekey_hsm import DistributorHsm, GeneratorHsm, WrappedSecret
from rekey_hsm.maker import Order, make_in_own_process
from tests.hsm_tokens import AES_KEK, EC_KEK, HMAC_KEK, RSA_KEK, SECRET_KEK, Tokens

NONCE = bytes(range(12))
AES, HMAC = Algorithm.AES_256_GCM, Algorithm.HMAC_SHA_256
PAIRS = [(EC_KEK, Algorithm.EC_P256), (EC_KEK, Algorithm.EC_P384), (RSA_KEK, Algorithm.RSA_3072)]


@pytest.fixture
async def aes(generator_hsm: GeneratorHsm) -> WrappedSecret:
    return await generator_hsm.make_secret(AES_KEK, AES, b"commitment input")


@pytest.fixture
async def hmac(generator_hsm: GeneratorHsm) -> WrappedSecret:
    return await generator_hsm.make_secret(HMAC_KEK, HMAC, b"commitment input")


@pytest.mark.parametrize(("kek", "algorithm"), PAIRS, ids=str)
async def test_a_signature_made_inside_verifies_with_the_published_key(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm, kek: str, algorithm: Algorithm
) -> None:
    pair = await generator_hsm.make_key_pair(kek, algorithm)
    public = public_key_of(algorithm, pair.spki)
    for message in (b"", b"a token", bytes(16384)):
        signature = await distributor_hsm.sign(kek, pair.blob, algorithm, message)
        verify_signature(algorithm, public, message, signature)


async def test_a_key_on_another_curve_does_not_sign(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> None:
    pair = await generator_hsm.make_key_pair(EC_KEK, Algorithm.EC_P384)
    with pytest.raises(RecordError, match="not of EC-P256"):
        await distributor_hsm.sign(EC_KEK, pair.blob, Algorithm.EC_P256, b"message")
    assert len(await distributor_hsm.sign(EC_KEK, pair.blob, Algorithm.EC_P384, b"message")) == 96


async def test_other_keys_are_made_while_an_rsa_pair_is(generator_hsm: GeneratorHsm) -> None:
    making = asyncio.create_task(generator_hsm.make_key_pair(RSA_KEK, Algorithm.RSA_3072))
    for _ in range(3):  # an RSA pair takes a process and some hundred milliseconds; these take one each
        await generator_hsm.make_secret(SECRET_KEK, AES, b"c")
        await generator_hsm.prove()
    assert not making.done()
    assert (await making).blob


async def test_what_is_encrypted_inside_is_decrypted_inside(
    distributor_hsm: DistributorHsm, aes: WrappedSecret
) -> None:
    for plaintext, aad in ((b"", b""), (b"data", b"row 7"), (bytes(16384), b"x" * 4096)):
        sealed = await distributor_hsm.encrypt(AES_KEK, aes.blob, NONCE, plaintext, aad)
        assert len(sealed) == len(plaintext) + 16
        assert await distributor_hsm.decrypt(AES_KEK, aes.blob, NONCE, sealed, aad) == plaintext


async def test_a_spoiled_ciphertext_is_refused_however_often_it_comes(
    distributor_hsm: DistributorHsm, aes: WrappedSecret
) -> None:
    sealed = await distributor_hsm.encrypt(AES_KEK, aes.blob, NONCE, b"data", b"row 7")
    spoiled = [
        (NONCE, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"row 7"),
        (NONCE, bytes([sealed[0] ^ 1]) + sealed[1:], b"row 7"),
        (NONCE, sealed, b"row 8"),
        (bytes(12), sealed, b"row 7"),
        (NONCE, sealed[:-1], b"row 7"),
        (NONCE, sealed[:3], b"row 7"),
        (NONCE, b"", b"row 7"),
        (NONCE, AESGCM(bytes(32)).encrypt(NONCE, b"data", b"row 7"), b"row 7"),
    ]
    for nonce, wrong, aad in spoiled:
        with pytest.raises(CiphertextError, match="altered"):
            await distributor_hsm.decrypt(AES_KEK, aes.blob, nonce, wrong, aad)
    assert await distributor_hsm.decrypt(AES_KEK, aes.blob, NONCE, sealed, b"row 7") == b"data"


async def test_a_mac_made_inside_verifies_inside_and_for_its_data_alone(
    distributor_hsm: DistributorHsm, hmac: WrappedSecret
) -> None:
    (mac,) = await distributor_hsm.macs(HMAC_KEK, hmac.blob, HMAC, (b"data",))
    await distributor_hsm.verify_mac(HMAC_KEK, hmac.blob, b"data", mac)
    for data, wrong in ((b"datA", mac), (b"data", mac[:-1]), (b"data", b""), (b"data", mac + b"\0")):
        with pytest.raises(MacError):
            await distributor_hsm.verify_mac(HMAC_KEK, hmac.blob, data, wrong)


async def test_both_tokens_compute_the_same_commitment(
    distributor_hsm: DistributorHsm, aes: WrappedSecret, hmac: WrappedSecret
) -> None:
    assert (len(aes.commitment), len(hmac.commitment)) == (16, 32), "a CMAC and an HMAC"
    inputs = (b"commitment input", b"another input")
    for kek, algorithm, secret in ((AES_KEK, AES, aes), (HMAC_KEK, HMAC, hmac)):
        same, other = await distributor_hsm.macs(kek, secret.blob, algorithm, inputs)
        assert same == secret.commitment != other


async def test_a_blob_of_one_kek_does_not_open_under_another(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm, aes: WrappedSecret, hmac: WrappedSecret
) -> None:
    exportable = await generator_hsm.make_secret(SECRET_KEK, HMAC, b"c")
    with pytest.raises(RecordError):
        await distributor_hsm.macs(HMAC_KEK, exportable.blob, HMAC, (b"",))
    with pytest.raises(RecordError, match="has 72 bytes, expected 40"):
        await distributor_hsm.encrypt(AES_KEK, hmac.blob, NONCE, b"", b"")
    with pytest.raises(RecordError):
        await distributor_hsm.encrypt(AES_KEK, aes.blob[:-1] + bytes([aes.blob[-1] ^ 1]), NONCE, b"", b"")


RSA_ORDER: Final = Order(RSA_KEK, Algorithm.RSA_3072, None)


def makers() -> set[int]:
    """Makers that this process has started and that still run."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return {pid for pid, command in commands.items() if b"rekey_hsm.maker" in command}


async def until_one_runs() -> None:
    async with asyncio.timeout(30):
        while not makers():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0)


async def test_a_maker_that_may_not_log_in_says_so_without_the_pin(tokens: Tokens) -> None:
    wrong = replace(tokens.generator, pin=Secret(b"not the pin"))
    with pytest.raises(PinError, match="refuses the PIN") as caught:
        await make_in_own_process(wrong, RSA_ORDER)
    assert "not the pin" not in str(caught.value)


async def test_a_maker_that_ends_without_a_pair_is_worth_another_try(tokens: Tokens) -> None:
    making = asyncio.create_task(make_in_own_process(tokens.generator, RSA_ORDER))
    await until_one_runs()
    for pid in makers():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(UnavailableError, match="ended without one"):
        await making


async def test_who_does_not_wait_any_more_ends_the_maker(tokens: Tokens) -> None:
    making = asyncio.create_task(make_in_own_process(tokens.generator, RSA_ORDER))
    await until_one_runs()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert makers() == set()
