"""Messages that say something else than their author wrote, rightly signed."""

from __future__ import annotations

from rekey_core.encoding import b64u_encode
from rekey_core.envelope import KEY_ID_HEADER, SIGNATURE_HEADER, TYPE_HEADER, Packed
from rekey_core.signing import SigningKey


def resigned(packed: Packed, data: bytes, kind: str, signer: SigningKey) -> dict[str, str]:
    """The headers of other bytes or another type under a right signature."""
    signature = b64u_encode(signer.sign(kind, data))
    return {
        **packed.headers,
        TYPE_HEADER: kind,
        KEY_ID_HEADER: signer.key_id,
        SIGNATURE_HEADER: signature,
    }
