"""While one signing key takes over from another, what is sealed for either is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.errors import SignatureError
from rekey_core.names import Service
from rekey_core.sealing import SealingKey, seal
from rekey_core.signing import SigningKey
from rekey_distributor.sealing_keys import SealingKeys
from tests.fakes.scene import Scene

OLD, NEW, OTHER = (SigningKey.generate() for _ in range(3))
INFO = b"this request"


@pytest.mark.parametrize(
    ("signers", "sealed_to", "opens"),
    [
        pytest.param((OLD,), OLD, True, id="one key"),
        pytest.param((OLD, NEW), OLD, True, id="before the change, to the one that signs"),
        pytest.param((OLD, NEW), NEW, True, id="before the change here, to the one that another replica signs with"),
        pytest.param((NEW, OLD), NEW, True, id="after the change, to the one that signs"),
        pytest.param((NEW, OLD), OLD, True, id="after the change, by who has not asked again"),
        pytest.param((NEW,), OLD, False, id="after the old one is gone"),
        pytest.param((NEW, OLD), OTHER, False, id="to a stranger's"),
    ],
)  # fmt: skip
async def test_what_is_opened(
    tmp_path: Path, signers: tuple[SigningKey, ...], sealed_to: SigningKey, *, opens: bool
) -> None:
    bus = await Scene(home=tmp_path, transport="0" * 64).bus(Service.DISTRIBUTOR)
    bus.signers = signers
    keys = SealingKeys(bus)
    assert keys.public_bytes() == SealingKey.of_service(signers[0]).public_bytes()
    sealed = seal(SealingKey.of_service(sealed_to).public_bytes(), b"a plaintext", INFO)
    if opens:
        assert keys.open(sealed, INFO) == b"a plaintext"
        with pytest.raises(SignatureError):
            keys.open(sealed, b"another request")
    else:
        with pytest.raises(SignatureError):
            keys.open(sealed, INFO)


async def test_a_key_that_is_gone_is_forgotten_while_the_distributor_runs(tmp_path: Path) -> None:
    bus = await Scene(home=tmp_path, transport="0" * 64).bus(Service.DISTRIBUTOR)
    bus.signers = (OLD,)
    keys = SealingKeys(bus)
    sealed = seal(keys.public_bytes(), b"a plaintext", INFO)
    bus.signers = (NEW,)
    with pytest.raises(SignatureError):
        keys.open(sealed, INFO)
