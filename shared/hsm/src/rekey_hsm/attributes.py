"""Two attributes that python-pkcs11 cannot pack: the unwrap template and the list of allowed mechanisms."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from pkcs11.attributes import AttributeMapper
from pkcs11.constants import Attribute

_ULONG: Final = struct.calcsize("L")


class _CkAttribute(ctypes.Structure):
    """CK_ATTRIBUTE (PKCS#11 v2.40 §3.3)."""

    _fields_ = (("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong))


class TemplateMapper(AttributeMapper):
    """Attribute mapper that packs nested templates; it owns the memory that they point to."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[object] = []
        self.register_handler(Attribute.UNWRAP_TEMPLATE, self._pack_template, bytes)
        self.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)

    def _pack_template(self, template: Mapping[Attribute, object]) -> bytes:
        array = (_CkAttribute * len(template))()
        for index, (attribute, value) in enumerate(template.items()):
            packed = self.pack_attribute(attribute, value)
            buffer = ctypes.create_string_buffer(packed, len(packed))
            self._kept.append(buffer)  # the module reads it in a later call
            array[index] = _CkAttribute(attribute, ctypes.addressof(buffer), len(packed))
        return bytes(array)


def _pack_mechanisms(mechanisms: Sequence[int]) -> bytes:
    return struct.pack(f"{len(mechanisms)}L", *mechanisms)


def _unpack_mechanisms(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"{len(packed) // _ULONG}L", packed)
