"""The keys to which instances seal their requests: one from each signing key, so that both open while one takes over."""

from __future__ import annotations

from rekey_core.errors import SignatureError
from rekey_core.sealing import SealingKey
from rekey_core.signing import SigningKey
from rekey_runtime.bus import Bus


class SealingKeys:
    """Those of the distributor, as its signing keys are now."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._derived: dict[str, SealingKey] = {}

    def public_bytes(self) -> bytes:
        """To which instances are to seal."""
        return self._of(self._bus.signer).public_bytes()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext. Replicas change keys one after the other, so whichever key of ours it is sealed to counts.

        Raises:
            SignatureError: sealed to none of them, for another request, or altered.
        """
        for signer in self._bus.signers[1:]:
            try:
                return self._of(signer).open(sealed, info)
            except SignatureError:
                continue
        return self._of(self._bus.signer).open(sealed, info)

    def _of(self, signer: SigningKey) -> SealingKey:
        held = {key.key_id for key in self._bus.signers}
        self._derived = {name: key for name, key in self._derived.items() if name in held}
        if signer.key_id not in self._derived:
            self._derived[signer.key_id] = SealingKey.of_service(signer)
        return self._derived[signer.key_id]
