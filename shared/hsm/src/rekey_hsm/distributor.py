"""What the distributor may do with its token: open versions inside it, wrap them to trusted recipients, use them."""

from __future__ import annotations

from collections.abc import Sequence

from rekey_core.names import Algorithm
from rekey_hsm.values import Released, TokenSettings


class DistributorHsm:
    """The distributor's token."""

    @classmethod
    async def open(cls, settings: TokenSettings) -> DistributorHsm:
        """Log in and prove the token."""
        raise NotImplementedError

    async def verify_record_mac(self, mac_key: str, data: bytes, mac: bytes) -> None:
        """Raise RecordError unless the MAC is the generator's."""
        raise NotImplementedError

    async def release_secret(
        self, kek: str, blob: bytes, *, recipient: str, recipient_spki_sha256: str, mac_inputs: Sequence[bytes]
    ) -> Released:
        """Open inside the HSM, wrap to the recipient, compute the MACs."""
        raise NotImplementedError

    async def sign(self, kek: str, blob: bytes, algorithm: Algorithm, message: bytes) -> bytes:
        """ES256 inside the HSM: 64 bytes r || s."""
        raise NotImplementedError

    async def forget(self, blob: bytes) -> None:
        """Destroy the cached handle of that blob."""
        raise NotImplementedError

    async def prove(self) -> None:
        """Use every KEK."""
        raise NotImplementedError

    async def close(self) -> None:
        """Log out."""
        raise NotImplementedError
