"""Unwrapped keys that never leave, or leave often, kept by handle, so that a use does not begin with an unwrap; bounded."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from pkcs11.types import Object

MAX_HANDLES: Final = 256  # session objects that one distributor keeps; each is one version that is being used


class HandleCache:
    """Least recently used handles by KEK and SHA-256 of the blob; what falls out is destroyed."""

    def __init__(self, bound: int = MAX_HANDLES) -> None:
        self._bound = bound
        self._handles: OrderedDict[tuple[bytes, str], Object] = OrderedDict()

    def __len__(self) -> int:
        return len(self._handles)

    def get(self, kek: str, blob: bytes, unwrap: Callable[[], Object]) -> Object:
        """The handle of that blob, unwrapped now if it is not kept."""
        name = (hashlib.sha256(blob).digest(), kek)
        if name not in self._handles:
            self._handles[name] = unwrap()
        self._handles.move_to_end(name)
        while len(self._handles) > self._bound:
            _, oldest = self._handles.popitem(last=False)
            oldest.destroy()
        return self._handles[name]

    def forget(self, digests: Collection[bytes]) -> None:
        """Destroy every handle of blobs with these SHA-256 digests."""
        for name in [name for name in self._handles if name[0] in digests]:
            self._handles.pop(name).destroy()

    def clear(self) -> None:
        """Drop the handles of a session that is gone; there is nothing left to destroy."""
        self._handles.clear()
