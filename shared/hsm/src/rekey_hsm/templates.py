"""Every attribute of every object that rekey makes: the rules that the HSM itself holds us to (DESIGN §5).

Each template says *every* usage, so that no default of the library or the module decides. ``COPYABLE`` and
``MODIFIABLE`` come last: SoftHSM applies attributes in order and refuses what follows ``MODIFIABLE=False``.
The attacks that each line stops are in tests/attacks/test_hsm_templates.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from pkcs11.constants import DEFAULT, Attribute, ObjectClass
from pkcs11.mechanisms import KeyType

from rekey_hsm.profile import SOFTHSM_2_6

Template: TypeAlias = Mapping[Attribute, object]

SECRET_BYTES: Final = 64  # generic secrets; the HSM's MAC uses all, applications bytes 0-31 (DESIGN §5)
AES_BITS: Final = 256
WRAPPED_SECRET_BYTES: Final = 72  # RFC 5649 §4.1: 64 bytes and one block of 8
WRAPPED_AES_BYTES: Final = 40
P256_PARAMS: Final = bytes.fromhex("06082a8648ce3d030107")  # OID 1.2.840.10045.3.1.7 (RFC 5480 §2.1.1.1)
P384_PARAMS: Final = bytes.fromhex("06052b81040022")  # OID 1.3.132.0.34
RSA_EXPONENT: Final = bytes.fromhex("010001")  # FIPS 186-5 §5.1

_SEALED: Final = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_LOCKED: Final = {Attribute.COPYABLE: False, Attribute.MODIFIABLE: False}
_SECRET_KEY: Final = {Attribute.CLASS: ObjectClass.SECRET_KEY}
_NO_USE: Final = {
    Attribute.ENCRYPT: False,
    Attribute.DECRYPT: False,
    Attribute.SIGN: False,
    Attribute.VERIFY: False,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}
_NO_PRIVATE_USE: Final = {
    Attribute.DECRYPT: False,
    Attribute.SIGN: False,
    Attribute.SIGN_RECOVER: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}
_NO_PUBLIC_USE: Final = {
    Attribute.ENCRYPT: False,
    Attribute.VERIFY: False,
    Attribute.VERIFY_RECOVER: False,
    Attribute.WRAP: False,
    Attribute.DERIVE: False,
}
# python-pkcs11 puts these three into every unwrap; a private key has no such attributes
NOT_OF_A_PRIVATE_KEY: Final = {Attribute.ENCRYPT: DEFAULT, Attribute.VERIFY: DEFAULT, Attribute.WRAP: DEFAULT}

# What comes out of a blob in the distributor's token. The KEK carries it as UNWRAP_TEMPLATE, so the HSM
# refuses any other; the caller must repeat it exactly.
UNWRAP_SECRET: Final[Template] = {
    **_SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,  # but only to a key that the security officer has marked as trusted
    Attribute.WRAP_WITH_TRUSTED: True,
    **_NO_USE,
    Attribute.SIGN: True,  # commitment and confirmation values
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.mac,),
    **_LOCKED,
}
# Of classes of release transport-key: an AES key can be no trusted one (an officer makes PRIVATE=False objects alone), so
# nothing here holds the secret back from a key that somebody brought. Everything else is as above.
UNWRAP_HIGH_VOLUME: Final[Template] = {
    **_SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,
    Attribute.WRAP_WITH_TRUSTED: False,
    **_NO_USE,
    Attribute.SIGN: True,
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.mac,),
    **_LOCKED,
}
UNWRAP_AES: Final[Template] = {
    **_SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.AES,
    Attribute.TOKEN: False,
    **_SEALED,
    **_NO_USE,
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.SIGN: True,  # commitment and confirmation values by CMAC; nothing of a dependent is ever CMACed
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.gcm, SOFTHSM_2_6.cmac),
    **_LOCKED,
}
UNWRAP_HMAC: Final[Template] = {
    **_SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: False,
    **_SEALED,
    **_NO_USE,
    Attribute.SIGN: True,
    Attribute.VERIFY: True,
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.mac,),
    **_LOCKED,
}
UNWRAP_RSA: Final[Template] = {
    Attribute.CLASS: ObjectClass.PRIVATE_KEY,
    Attribute.KEY_TYPE: KeyType.RSA,
    Attribute.TOKEN: False,
    **_SEALED,
    **_NO_PRIVATE_USE,
    Attribute.SIGN: True,
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.pss,),
    **_LOCKED,
}
UNWRAP_EC: Final[Template] = {
    Attribute.CLASS: ObjectClass.PRIVATE_KEY,
    Attribute.KEY_TYPE: KeyType.EC,
    Attribute.TOKEN: False,
    **_SEALED,
    **_NO_PRIVATE_USE,
    Attribute.SIGN: True,
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.ecdsa,),
    **_LOCKED,
}


def unwrap_of_backup(unwrap: Template) -> Template:
    """What comes out of a blob in the backup token: it proves itself, and goes on under another KEK; no more use.

    It is extractable, since a restore wraps it inside the token: whoever has the offline token and its PIN can take
    every version that is backed up (SoftHSM lets nobody mark an AES key as trusted; deploy/THREAT_MODEL.md).
    """
    use: Template = {Attribute.ENCRYPT: False, Attribute.DECRYPT: False, Attribute.VERIFY: False}
    kept: dict[Attribute, object] = {
        a: use.get(a, value) for a, value in unwrap.items() if a is not Attribute.WRAP_WITH_TRUSTED
    }
    if unwrap[Attribute.KEY_TYPE] is KeyType.AES:
        kept[Attribute.ALLOWED_MECHANISMS] = (SOFTHSM_2_6.cmac,)
    return {**kept, Attribute.EXTRACTABLE: True}


# What the generator makes: session objects that can be wrapped and, for the commitment, MAC.
NEW_SECRET: Final[Template] = {
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,
    **_NO_USE,
    Attribute.SIGN: True,
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.mac,),
    **_LOCKED,
}
NEW_AES: Final[Template] = {
    Attribute.KEY_TYPE: KeyType.AES,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,
    **_NO_USE,
    Attribute.SIGN: True,
    Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.cmac,),
    **_LOCKED,
}
NEW_PRIVATE: Final[Template] = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,
    **_NO_PRIVATE_USE,
    **_LOCKED,
}
NEW_PUBLIC: Final[Template] = {Attribute.TOKEN: False, **_NO_PUBLIC_USE, **_LOCKED}

# The halves that the ceremony leaves on the tokens.
_HALF: Final = {**_SECRET_KEY, Attribute.TOKEN: True, **_SEALED, **_NO_USE}
_KEK: Final = {Attribute.KEY_TYPE: KeyType.AES}
_MAC: Final = {Attribute.KEY_TYPE: KeyType.GENERIC_SECRET}
_ONLY_KEY_WRAP: Final = {Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.key_wrap,)}
_ONLY_MAC: Final = {Attribute.ALLOWED_MECHANISMS: (SOFTHSM_2_6.mac,)}

GENERATOR_KEK: Final[Template] = {**_HALF, **_KEK, Attribute.WRAP: True, **_ONLY_KEY_WRAP, **_LOCKED}
GENERATOR_MAC: Final[Template] = {**_HALF, **_MAC, Attribute.SIGN: True, **_ONLY_MAC, **_LOCKED}
DISTRIBUTOR_MAC: Final[Template] = {**_HALF, **_MAC, Attribute.VERIFY: True, **_ONLY_MAC, **_LOCKED}


def distributor_kek(unwrap: Template) -> Template:
    """The distributor's half of a KEK: it opens blobs, and only as the unwrap template says."""
    return {
        **_HALF,
        **_KEK,
        Attribute.UNWRAP: True,
        Attribute.UNWRAP_TEMPLATE: unwrap,
        **_ONLY_KEY_WRAP,
        **_LOCKED,
    }


# The ceremony's own keys, gone when it ends: whoever keeps one can derive a readable copy of every half.
CEREMONY_PRIVATE: Final[Template] = {
    Attribute.TOKEN: False,
    **_SEALED,
    **_NO_PRIVATE_USE,
    Attribute.DERIVE: True,
    **_LOCKED,
}
CEREMONY_PUBLIC: Final[Template] = {Attribute.TOKEN: False, **_NO_PUBLIC_USE, **_LOCKED}
CEREMONY_SHARED: Final[Template] = {
    Attribute.TOKEN: False,
    **_SEALED,
    **_NO_USE,
    Attribute.DERIVE: True,
    **_LOCKED,
}
CEREMONY_NOTE: Final[Template] = {
    Attribute.CLASS: ObjectClass.DATA,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    **_LOCKED,
}

# A dependent's AES transport key, made by the distributor's process for as long as it runs. It leaves, too, but only to a
# key that the security officer has marked as trusted.
NEW_TRANSPORT_KEY: Final[Template] = {
    Attribute.KEY_TYPE: KeyType.AES,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: True,
    Attribute.WRAP_WITH_TRUSTED: True,
    **_NO_USE,
    Attribute.WRAP: True,
    **_ONLY_KEY_WRAP,
    **_LOCKED,
}

# A dependent's transport key: made by the security officer, who alone can set TRUSTED. An officer sees and
# makes only PRIVATE=False objects, which is right for a public key.
TRANSPORT_KEY: Final[Template] = {
    Attribute.CLASS: ObjectClass.PUBLIC_KEY,
    Attribute.KEY_TYPE: KeyType.RSA,
    Attribute.TOKEN: True,
    Attribute.PRIVATE: False,
    Attribute.TRUSTED: True,
    **_NO_PUBLIC_USE,
    Attribute.WRAP: True,
    **_LOCKED,
}
