"""The bounded cache of opened keys."""

from __future__ import annotations

import hashlib

from rekey_core.names import Algorithm
from rekey_hsm import GeneratorHsm, TokenSettings
from rekey_hsm.distributor import DistributorHsm
from rekey_hsm.handles import HandleCache
from rekey_hsm.keys import unwrap
from rekey_hsm.kinds import require_kek
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token
from tests.hsm_tokens import EC_KEK, Tokens

BOUND = 4


async def make_blobs(settings: TokenSettings, count: int) -> list[bytes]:
    hsm = await GeneratorHsm.open(settings)
    pairs = [await hsm.make_key_pair(EC_KEK, Algorithm.EC_P256) for _ in range(count)]
    await hsm.close()
    return [pair.blob for pair in pairs]


async def test_the_cache_is_bounded_and_destroys_what_falls_out(tokens: Tokens) -> None:
    blobs = await make_blobs(tokens.generator, 3 * BOUND)

    def fill() -> tuple[int, int, int]:
        token = Token.open(tokens.distributor)
        cache = HandleCache(BOUND)
        kind = require_kek(EC_KEK, Algorithm.EC_P256)

        def live() -> int:
            return len([key for key in token.session.get_objects({}) if "PrivateKey" in type(key).__name__])

        def get(blob: bytes) -> None:
            cache.get(EC_KEK, blob, lambda: unwrap(token.key(EC_KEK), blob, kind, token.profile))

        try:
            for blob in blobs:
                get(blob)
            filled = live()
            for blob in blobs[-BOUND:]:
                get(blob)
            kept = live()
            cache.forget([hashlib.sha256(blob).digest() for blob in blobs])
            assert len(cache) == 0
            return filled, kept, live()
        finally:
            token.close()

    assert await on_hsm_thread(fill) == (BOUND, BOUND, 0)


async def test_signing_with_more_keys_than_the_bound_goes_on(tokens: Tokens) -> None:
    blobs = await make_blobs(tokens.generator, 2 * BOUND)
    hsm = await DistributorHsm.open(tokens.distributor, max_handles=BOUND)
    for _ in range(2):
        for blob in blobs:
            assert len(await hsm.sign(EC_KEK, blob, Algorithm.EC_P256, hashlib.sha256(blob).digest())) == 64
    for _ in range(2):
        await hsm.forget([hashlib.sha256(blobs[-1]).hexdigest()])
    assert len(await hsm.sign(EC_KEK, blobs[-1], Algorithm.EC_P256, b"again")) == 64
    await hsm.close()
