"""What rekey needs from an HSM, declared per module; ``rekey_hsm.selftest`` proves it by doing at start-up.

Flags of ``C_GetMechanismInfo`` are not asked: SoftHSM leaves some of them uninitialised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import pkcs11
from pkcs11 import _pkcs11
from pkcs11.mechanisms import MGF, Mechanism

from rekey_core.errors import HsmError
from rekey_core.names import Algorithm

Library: TypeAlias = _pkcs11.lib


@dataclass(frozen=True)
class HsmProfile:
    """Mechanisms by the number that this module knows them by."""

    name: str
    manufacturer: str
    library_version: tuple[int, int]
    key_wrap: Mechanism  # RFC 5649 (KWP); 0x210A is KWP here and PKCS#7 padding in other modules
    oaep_mechanism: Mechanism
    oaep: tuple[Mechanism, MGF, None]  # hash, mask, no label
    mac: Mechanism
    cmac: Mechanism
    gcm: Mechanism  # nonce and associated data given, tag of 16 bytes at the end
    ecdsa: Mechanism  # over a digest made outside
    pss: Mechanism  # hashes inside
    pss_parameters: tuple[Mechanism, MGF, int]  # hash, mask, bytes of salt (RFC 7518 §3.5)
    agreement: Mechanism
    derivation: Mechanism
    cannot_wrap: frozenset[Algorithm]  # no class of keys may be of these; rekey_core.policy says the same
    is_software: bool = False  # no hardware: it protects keys from nobody who can read its files


SOFTHSM_2_6: Final = HsmProfile(
    name="softhsm-2.6",
    manufacturer="SoftHSM",
    library_version=(2, 6),
    key_wrap=Mechanism.AES_KEY_WRAP_PAD,
    oaep_mechanism=Mechanism.RSA_PKCS_OAEP,
    oaep=(Mechanism.SHA_1, MGF.SHA1, None),
    mac=Mechanism.SHA256_HMAC,
    cmac=Mechanism.AES_CMAC,
    gcm=Mechanism.AES_GCM,
    pss=Mechanism.SHA256_RSA_PKCS_PSS,
    pss_parameters=(Mechanism.SHA256, MGF.SHA256, 32),
    ecdsa=Mechanism.ECDSA,
    agreement=Mechanism.ECDH1_DERIVE,
    derivation=Mechanism.AES_CBC_ENCRYPT_DATA,
    cannot_wrap=frozenset({Algorithm.ED25519}),  # answers KeyNotWrappable; 2.7.0 can
    is_software=True,
)
PROFILES: Final = (SOFTHSM_2_6,)


def require_profile(manufacturer: str, library_version: tuple[int, int]) -> HsmProfile:
    """The profile of a module.

    Raises:
        HsmError: nobody has proved rekey on this module or version.
    """
    for profile in PROFILES:
        if (profile.manufacturer, profile.library_version) == (manufacturer, library_version):
            return profile
    known = ", ".join(profile.name for profile in PROFILES)
    found = f"{manufacturer} {library_version[0]}.{library_version[1]}"
    message = f"no profile for the HSM module: expected one of {known}, found {found}"
    raise HsmError(message, hint="run the module's profile through tests/system and declare it")


def load_module(path: str) -> tuple[Library, HsmProfile]:
    """Load the PKCS#11 module and find its profile.

    Raises:
        HsmError: the module cannot be loaded or is unknown.
    """
    try:
        library = pkcs11.lib(path)
    except pkcs11.PKCS11Error as error:
        message = "the HSM module cannot be loaded"
        raise HsmError(message, hint="check the module's path and its configuration") from error
    return library, require_profile(library.manufacturer_id, library.library_version)
