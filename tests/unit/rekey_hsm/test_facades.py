"""What generator and distributor do with their tokens, on a real SoftHSM."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rekey_core.errors import HsmError, NotEnrolledError, PinError, RecordError, UnavailableError
from rekey_core.names import Algorithm
from rekey_core.secret import Secret
from rekey_hsm import DistributorHsm, GeneratorHsm, Released, WrappedKeyPair, WrappedSecret
from tests.hsm_tokens import AES_KEK, EC_KEK, HMAC_KEK, MAC_KEY, RECIPIENT, RSA_KEK, SECRET_KEK, Tokens


async def release(
    hsm: DistributorHsm, tokens: Tokens, blob: bytes, *inputs: bytes, kek: str = SECRET_KEK
) -> Released:
    return await hsm.release_secret(
        kek, blob, recipient=RECIPIENT, recipient_spki_sha256=tokens.spki_sha256, mac_inputs=inputs
    )


def flipped(data: bytes, index: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


@pytest.fixture
async def secret(generator_hsm: GeneratorHsm) -> WrappedSecret:
    return await generator_hsm.make_secret(SECRET_KEK, Algorithm.AES_256_GCM, b"commitment input")


@pytest.fixture
async def pair(generator_hsm: GeneratorHsm) -> WrappedKeyPair:
    return await generator_hsm.make_key_pair(EC_KEK, Algorithm.EC_P256)


async def test_a_released_secret_is_64_bytes_and_matches_commitment_and_macs(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret
) -> None:
    released = await release(
        distributor_hsm, tokens, secret.blob, b"commitment input", b"installed", b"switched"
    )
    key = tokens.open_released(released.wrapped)
    assert len(key) == 64
    assert released.macs[0] == secret.commitment
    assert released.macs == tuple(
        hmac.digest(key, data, "sha256") for data in (b"commitment input", b"installed", b"switched")
    )


async def test_a_signature_made_inside_verifies_with_the_published_key(
    distributor_hsm: DistributorHsm, pair: WrappedKeyPair
) -> None:
    public = load_der_public_key(pair.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    for message in (b"", b"a token", bytes(16384)):
        signature = await distributor_hsm.sign(EC_KEK, pair.blob, Algorithm.EC_P256, message)
        assert len(signature) == 64
        der = utils.encode_dss_signature(
            int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        )
        public.verify(der, message, ec.ECDSA(SHA256()))


async def test_a_record_mac_verifies_for_its_data_alone(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> None:
    mac = await generator_hsm.record_mac(MAC_KEY, b"record")
    await distributor_hsm.verify_record_mac(MAC_KEY, b"record", mac)
    for data, wrong in (
        (b"recorD", mac),
        (b"record", flipped(mac, 0)),
        (b"record", mac[:-1]),
        (b"record", b""),
    ):
        with pytest.raises(RecordError, match="does not verify"):
            await distributor_hsm.verify_record_mac(MAC_KEY, data, wrong)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda blob: flipped(blob, 0), id="a changed first byte"),
        pytest.param(lambda blob: flipped(blob, 71), id="a changed last byte"),
        pytest.param(lambda blob: blob[:-8], id="a truncated blob"),
        pytest.param(lambda blob: blob + bytes(8), id="a longer blob"),
        pytest.param(lambda _: bytes(72), id="zeros"),
        pytest.param(lambda _: b"", id="nothing"),
    ],
)
async def test_a_spoiled_secret_is_a_record_error_however_often_it_comes(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret, spoil: object
) -> None:
    assert callable(spoil)
    for _ in range(4):
        with pytest.raises(RecordError, match=SECRET_KEK):
            await release(distributor_hsm, tokens, spoil(secret.blob))
    assert (await release(distributor_hsm, tokens, secret.blob)).macs == ()


async def test_blobs_of_one_kek_do_not_open_under_the_other(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret, pair: WrappedKeyPair
) -> None:
    with pytest.raises(RecordError):
        await release(distributor_hsm, tokens, pair.blob)
    with pytest.raises(RecordError):
        await release(distributor_hsm, tokens, pair.blob[:72])
    with pytest.raises(RecordError):
        await distributor_hsm.sign(EC_KEK, secret.blob, Algorithm.EC_P256, b"message")


async def test_a_kek_for_other_keys_is_our_own_mistake(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm, tokens: Tokens
) -> None:
    for attempt in (
        generator_hsm.make_secret(EC_KEK, Algorithm.AES_256_GCM, b""),
        generator_hsm.make_key_pair(SECRET_KEK, Algorithm.EC_P256),
        release(distributor_hsm, tokens, bytes(72), kek=EC_KEK),
        distributor_hsm.sign(SECRET_KEK, bytes(80), Algorithm.EC_P256, b""),
    ):
        with pytest.raises(ValueError, match="is not a kek for"):
            await attempt


async def test_a_secret_goes_to_the_trusted_key_of_that_hash_only(
    distributor_hsm: DistributorHsm, tokens: Tokens, secret: WrappedSecret
) -> None:
    other = hashlib.sha256(b"another key").hexdigest()
    for recipient, digest in ((RECIPIENT, other), ("nobody", tokens.spki_sha256)):
        with pytest.raises(NotEnrolledError, match=digest):
            await distributor_hsm.release_secret(
                SECRET_KEK, secret.blob, recipient=recipient, recipient_spki_sha256=digest, mac_inputs=()
            )


async def test_200_keys_leave_nothing_on_the_token(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm, tokens: Tokens
) -> None:
    secrets = [await generator_hsm.make_secret(SECRET_KEK, Algorithm.AES_256_GCM, b"c") for _ in range(100)]
    pairs = [await generator_hsm.make_key_pair(EC_KEK, Algorithm.EC_P256) for _ in range(100)]
    assert len({s.blob for s in secrets} | {p.blob for p in pairs}) == 200
    assert len({s.commitment for s in secrets}) == 100
    for secret in secrets[:10]:
        released = await release(distributor_hsm, tokens, secret.blob, b"c")
        assert released.macs == (secret.commitment,)


async def test_an_epoch_that_the_token_does_not_have_is_worth_waiting_for(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> None:
    with pytest.raises(UnavailableError, match="kek-test-never-ec-2"):
        await generator_hsm.make_key_pair("kek-test-never-ec-2", Algorithm.EC_P256)
    with pytest.raises(UnavailableError, match="rec-mac-test-2"):
        await distributor_hsm.verify_record_mac("rec-mac-test-2", b"", b"")


async def test_an_operation_of_the_other_kind_is_our_own_mistake(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> None:
    for attempt in (
        generator_hsm.make_key_pair(EC_KEK, Algorithm.AES_256_GCM),
        generator_hsm.make_key_pair(AES_KEK, Algorithm.AES_256_GCM),
        generator_hsm.make_secret(RSA_KEK, Algorithm.RSA_3072, b""),
        distributor_hsm.sign(AES_KEK, bytes(40), Algorithm.AES_256_GCM, b""),
        distributor_hsm.macs(EC_KEK, bytes(40), Algorithm.EC_P256, (b"",)),
        distributor_hsm.macs(SECRET_KEK, bytes(72), Algorithm.HMAC_SHA_256, (b"",)),
        distributor_hsm.verify_mac(SECRET_KEK, bytes(72), b"", b""),
        distributor_hsm.encrypt(SECRET_KEK, bytes(72), bytes(12), b"", b""),
        distributor_hsm.decrypt(HMAC_KEK, bytes(72), bytes(12), b"", b""),
    ):
        with pytest.raises(ValueError, match=r"is not a(n algorithm of|n? kek for)|are made in pairs"):
            await attempt


async def test_both_tokens_prove_themselves(
    generator_hsm: GeneratorHsm, distributor_hsm: DistributorHsm
) -> None:
    await generator_hsm.prove()
    await distributor_hsm.prove()


async def test_a_wrong_pin_is_refused_and_not_in_the_message(tokens: Tokens) -> None:
    wrong = replace(tokens.generator, pin=Secret(b"not the pin"))
    with pytest.raises(PinError, match="refuses the PIN") as caught:
        await GeneratorHsm.open(wrong)
    assert "not the pin" not in str(caught.value)
    hsm = await GeneratorHsm.open(tokens.generator)
    await hsm.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"serial": "0123456789abcdef"}, "expected 0123456789abcdef", id="another serial"),
        pytest.param({"label": "elsewhere"}, "no token is labelled elsewhere", id="another label"),
    ],
)
async def test_another_token_than_the_founded_one_is_refused(
    tokens: Tokens, change: dict[str, str], says: str
) -> None:
    with pytest.raises(HsmError, match=says):
        await DistributorHsm.open(replace(tokens.distributor, **change))  # type: ignore[arg-type]  # strings only


async def test_a_token_opens_once_per_process(generator_hsm: GeneratorHsm, tokens: Tokens) -> None:
    await generator_hsm.prove()
    with pytest.raises(HsmError, match="open in this process already"):
        await GeneratorHsm.open(tokens.generator)
    await generator_hsm.prove()


async def test_each_side_refuses_the_other_ones_token(tokens: Tokens) -> None:
    with pytest.raises(HsmError, match="not as its template says"):
        await GeneratorHsm.open(tokens.distributor)
    with pytest.raises(HsmError, match="not as its template says"):
        await DistributorHsm.open(tokens.generator)
