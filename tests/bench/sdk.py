"""Encrypt and decrypt as an application calls them, against AES-GCM of the library that the SDK calls itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rekey.keyring import Keyring
from rekey.keystate import KeyState
from rekey.lease import boottime
from rekey.versions import AeadVersion
from tests.bench.figures import Outcome, Pair, Scale
from tests.unit.rekey.world import KEY, World

MESSAGE_BYTES: Final = 1024
AAD: Final = b"row 7"
NONCE_BYTES: Final = 12
LEASE_S: Final = 3600.0
TURNS: Final = 20


def encrypt(_: Path, scale: Scale) -> Outcome:
    """Messages per second; the raw half makes a random nonce for each message too, as every caller must."""
    box, version = _box(scale)
    data, aead = os.urandom(MESSAGE_BYTES), version.aead
    return _measured(
        scale,
        lambda: box.encrypt(data, AAD),
        lambda: aead.encrypt(os.urandom(NONCE_BYTES), data, AAD),
    )


def decrypt(_: Path, scale: Scale) -> Outcome:
    """Messages per second; the raw half is told the nonce."""
    box, version = _box(scale)
    data, aead, nonce = os.urandom(MESSAGE_BYTES), version.aead, os.urandom(NONCE_BYTES)
    ours, raw = box.encrypt(data, AAD), aead.encrypt(nonce, data, AAD)
    return _measured(scale, lambda: box.decrypt(ours, AAD), lambda: aead.decrypt(nonce, raw, AAD))


def _box(scale: Scale) -> tuple[Keyring, AeadVersion]:
    """A key as the SDK holds it when it is installed, current, leased and has a quota."""
    key = KeyState(KEY)
    version = World().secret_version(1)
    version.quota.extend(scale.calls * (scale.pairs + 2))
    key.install(version)
    key.switch(1)
    key.lease.extend(boottime(), LEASE_S)
    return Keyring(key, key.lease), version


def _measured(scale: Scale, ours: Callable[[], object], raw: Callable[[], object]) -> Outcome:
    return Outcome(
        tuple(_pair(scale.calls, ours, raw) for _ in range(scale.pairs)),
        "1/s",
        f"{scale.calls} messages of {MESSAGE_BYTES} bytes, by processor time",
    )


def _pair(calls: int, ours: Callable[[], object], raw: Callable[[], object]) -> Pair:
    """Both in turns, some calls at a time: what else the machine does then hits both alike."""
    seconds = {ours: 0.0, raw: 0.0}
    each = max(1, calls // TURNS)
    for _ in range(TURNS):
        for call in (ours, raw):
            seconds[call] += _seconds(call, each)
    return Pair(TURNS * each / seconds[ours], TURNS * each / seconds[raw])


def _seconds(call: Callable[[], object], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        call()
    return time.process_time() - began
