"""What was signed and may yet be stored, by the key that signed it.

The log judges a signature by the trust document in force when it stored the message. So what waited is signed again when it
is sent, and a key is not said to be left while something that it signed may still arrive (decision 0024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rekey_core.envelope import KEY_ID_HEADER, signed_again
from rekey_core.errors import RekeyError, UnknownOutcomeError
from rekey_core.signing import SigningKey
from rekey_runtime.clock import boottime

LATE_S: Final = 10.0  # how long after nobody answered a message may come: of a batch, nats-server waits so long for the rest


class UnderWay:
    """By key id. ``clock``: seconds that only go on."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._ours: set[str] = set()
        self._sent: Counter[str] = Counter()
        self._late: dict[str, float] = {}  # until when something may come

    def sign(self, key: SigningKey) -> SigningKey:
        """The key, which is one of ours: what it signs may be signed again."""
        self._ours.add(key.key_id)
        return key

    def of_now(self, headers: Mapping[str, str], data: bytes, key: SigningKey) -> Mapping[str, str]:
        """The headers of a message that is sent now, under the key that signs now; another's signature stays as it is."""
        if headers.get(KEY_ID_HEADER) in self._ours - {key.key_id}:
            return signed_again(headers, data, key)
        return headers

    @contextmanager
    def sending(self, key: SigningKey) -> Iterator[None]:
        """Inside, and for a while after an end that does not say what came of it, something by this key is under way."""
        name = key.key_id
        self._sent[name] += 1
        try:
            yield
        except BaseException as error:
            if not isinstance(error, RekeyError) or isinstance(error, UnknownOutcomeError):
                self._late[name] = self._clock() + LATE_S
            raise
        finally:
            self._sent[name] -= 1

    def is_over(self, key: SigningKey) -> bool:
        """Nothing that the key signed is on its way."""
        return self._sent[key.key_id] == 0 and self._late.get(key.key_id, 0.0) <= self._clock()
