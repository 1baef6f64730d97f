"""What the generator may do with its token: make versions, wrap them, sign records. It can open none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pkcs11.constants import ObjectClass

from rekey_core.names import Algorithm
from rekey_hsm import keys
from rekey_hsm.halves import GENERATOR
from rekey_hsm.kinds import BACKUP_PREFIX, KEK_PREFIX, Kind, kind_of, require_backup, require_kek
from rekey_hsm.labels import MAC_PREFIX, closed_label, record_mac_label
from rekey_hsm.maker import Order, make_in_own_process, make_pair, wrap_under
from rekey_hsm.selftest import prove_half, prove_locks, prove_wrap
from rekey_hsm.thread import on_hsm_thread
from rekey_hsm.token import Token
from rekey_hsm.values import TokenSettings, WrappedKeyPair, WrappedSecret

T = TypeVar("T")


class GeneratorHsm:
    """The generator's token. Each call is one hop to the HSM thread; nothing is left on the token afterwards.

    All methods raise ``HsmError`` when the token cannot be used as founded (leave the process) and
    ``UnavailableError`` when a key is not there yet or the token has no room (try again).
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._one_maker = asyncio.Lock()  # each is busy with one processor for all of its life
        self._epochs: dict[str, int] = {}
        token.on_new_handles(self._epochs.clear)

    @classmethod
    async def open(cls, settings: TokenSettings) -> GeneratorHsm:
        """Log in once, read every key back against its template and prove the profile by doing.

        Raises:
            HsmError: not the token, module or templates that were founded, or a wrong PIN.
        """
        return await on_hsm_thread(lambda: cls(_open(settings)))

    async def newest_epoch(self, env: str) -> int:
        """The newest KEK epoch whose ceremony is finished: each of its halves is on both tokens, and was proved.

        The mark on the record MAC key is the last that a ceremony leaves. Looked up again with each proof of readiness, and
        when a key has become worthless.
        """
        known = self._epochs.get(env)  # in one step: the HSM's thread may empty it
        if known is not None:
            return known
        return await self._do("looking for the newest epoch", lambda: self._newest_epoch(env))

    def _newest_epoch(self, env: str) -> int:
        if env not in self._epochs:
            self._epochs[env] = self._token.newest_epoch(f"{MAC_PREFIX}{env}-")
        return self._epochs[env]

    async def is_closed(self, env: str, epoch: int) -> bool:
        """Whether the end of a KEK epoch has begun: nothing may come under it any more, by a restore neither."""
        label = closed_label(record_mac_label(env, epoch))
        found = await self._do(
            "looking for the end of an epoch", lambda: self._token.find(ObjectClass.DATA, label)
        )
        return found is not None

    async def make_secret(
        self, kek: str, algorithm: Algorithm, commitment_input: bytes, *, backup: str | None = None
    ) -> WrappedSecret:
        """Make a secret of the KEK's kind inside the token, commit to it by a MAC under all of it, wrap it.

        ``backup``: the backup KEK under which it is wrapped a second time; it cannot be opened here, so only now.

        Raises:
            ValueError: the KEK is not for secrets of this algorithm, or the backup KEK not for what the KEK is for.
        """
        kind, order = _order(kek, algorithm, backup)

        def make() -> WrappedSecret:
            halves = order.halves(self._token)
            secret = keys.new_key(self._token.session, kind)
            with keys.destroyed_after(secret):
                commitment = keys.prove(secret, kind, commitment_input, self._token.profile)
                blob, second = wrap_under(halves, secret, self._token.profile)
                return WrappedSecret(blob, commitment, second)

        return await self._do("making a secret", make)

    async def make_key_pair(
        self, kek: str, algorithm: Algorithm, *, backup: str | None = None
    ) -> WrappedKeyPair:
        """Make a key pair inside the token, wrap its private half (PKCS#8), read its public half.

        An RSA pair takes seconds, in which the token answers nobody else in the same process: a process of its own
        makes it, so that other keys and the proof of readiness do not wait.

        Raises:
            ValueError: the KEK is not for key pairs of this algorithm, or as ``make_secret``.
        """
        kind, order = _order(kek, algorithm, backup)
        if not kind.is_private:
            message = f"{algorithm.value} is not an algorithm of key pairs"
            raise ValueError(message)
        if kind.key_type == "rsa":
            async with self._one_maker:
                return await make_in_own_process(self._token.settings, order)
        return await self._do("making a key pair", lambda: make_pair(self._token, order))

    async def record_mac(self, mac_key: str, data: bytes) -> bytes:
        """HMAC-SHA256 over a record; this token can make it, only the distributor's can check it."""
        return await self._do(
            "signing a record", lambda: keys.mac(self._token.key(mac_key), data, self._token.profile)
        )

    @property
    def is_software(self) -> bool:
        """Whether the keys lie in files that whoever can read them can use: a stand-in for an HSM."""
        return self._token.profile.is_software

    async def prove(self) -> None:
        """Readiness: the token is the founded one and every key of it works."""
        self._epochs.clear()
        await self._do("proving the token", lambda: _prove(self._token))

    async def close(self) -> None:
        """Log the process out of the token."""
        await on_hsm_thread(self._token.close)

    async def _do(self, doing: str, operation: Callable[[], T]) -> T:
        return await on_hsm_thread(lambda: self._token.guard(doing, operation))


def _order(kek: str, algorithm: Algorithm, backup: str | None) -> tuple[Kind, Order]:
    kind = require_kek(kek, algorithm)
    if backup is not None:
        require_backup(backup, kind)
    return kind, Order(kek, algorithm, backup)


def _open(settings: TokenSettings) -> Token:
    token = Token.open(settings, GENERATOR)
    with token.closed_on_error():
        token.guard("reading its keys back", lambda: _read_back(token))
        token.guard("proving the profile", lambda: _prove_profile(token))
        token.guard("proving the token", lambda: _prove(token))
    return token


def _read_back(token: Token) -> None:
    for label in token.halves():
        token.key(label)


def _prove_profile(token: Token) -> None:
    prove_locks(token.session)
    for label in token.founded():
        if label.startswith((KEK_PREFIX, BACKUP_PREFIX)):
            prove_wrap(token.session, token.key(label), label, token.profile)


def _prove(token: Token) -> None:
    """Every half does what it may: a KEK wraps (what, does not matter to it), a MAC key makes MACs."""
    token.require_same()
    for label in token.founded():
        if kind_of(label) is None:
            keys.mac(token.key(label), label.encode(), token.profile)
        else:
            prove_half(token.session, token.key(label), label, token.profile)
