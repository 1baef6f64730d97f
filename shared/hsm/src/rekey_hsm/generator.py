"""What the generator may do with its token: make versions, wrap them, sign their records. It cannot open one."""

from __future__ import annotations

from rekey_core.names import Algorithm
from rekey_hsm.values import TokenSettings, WrappedKeyPair, WrappedSecret


class GeneratorHsm:
    """The generator's token."""

    @classmethod
    async def open(cls, settings: TokenSettings) -> GeneratorHsm:
        """Log in and prove the token."""
        raise NotImplementedError

    async def make_secret(self, kek: str, commitment_input: bytes) -> WrappedSecret:
        """Make a 64-byte secret, commit to it, wrap it."""
        raise NotImplementedError

    async def make_key_pair(self, kek: str, algorithm: Algorithm) -> WrappedKeyPair:
        """Make a key pair and wrap its private half."""
        raise NotImplementedError

    async def record_mac(self, mac_key: str, data: bytes) -> bytes:
        """HMAC-SHA256 over the record."""
        raise NotImplementedError

    async def prove(self) -> None:
        """Use every KEK."""
        raise NotImplementedError

    async def close(self) -> None:
        """Log out."""
        raise NotImplementedError
