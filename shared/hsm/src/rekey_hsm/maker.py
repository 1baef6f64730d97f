"""Makes one key pair in a process of its own (``python -m rekey_hsm.maker``): for pairs that take seconds.

The token's one thread would answer nobody else meanwhile. The maker logs in to the same token, so it has the generator's
rights and no other; the PIN comes to it on stdin, and what goes back is what would go to the bus anyway.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pkcs11.types import Object

from rekey_core.errors import HsmError, PinError, RekeyError, UnavailableError, code_of
from rekey_core.names import Algorithm
from rekey_core.secret import Secret
from rekey_hsm import keys
from rekey_hsm.halves import GENERATOR
from rekey_hsm.profile import HsmProfile
from rekey_hsm.thread import call_on_hsm_thread
from rekey_hsm.token import Token
from rekey_hsm.values import TokenSettings, WrappedKeyPair


@dataclass(frozen=True)
class Order:
    """What is made, and the labels of the KEK and of the backup KEK under which it is wrapped."""

    kek: str
    algorithm: Algorithm
    backup: str | None

    @property
    def keks(self) -> tuple[str, ...]:
        """Both labels, or the one."""
        return (self.kek,) if self.backup is None else (self.kek, self.backup)

    def halves(self, token: Token) -> tuple[Object, ...]:
        """This token's halves. Raises UnavailableError for one that no ceremony has made."""
        return tuple(token.key(label) for label in self.keks)


def wrap_under(halves: Sequence[Object], key: Object, profile: HsmProfile) -> tuple[bytes, bytes | None]:
    """The key under the KEK, and under the backup KEK if there is one."""
    blob, *second = (keys.wrap(half, key, profile) for half in halves)
    return blob, second[0] if second else None


def make_pair(token: Token, order: Order) -> WrappedKeyPair:
    """Make a pair with this token and wrap it. On the HSM thread."""
    halves = order.halves(token)
    public, private = keys.new_pair(token.session, order.algorithm)
    with keys.destroyed_after(public, private):
        blob, second = wrap_under(halves, private, token.profile)
        return WrappedKeyPair(blob, keys.spki_of(public, order.algorithm), second)


async def make_in_own_process(settings: TokenSettings, order: Order) -> WrappedKeyPair:
    """Have a pair made and wait for it; a caller that is cancelled ends the maker too.

    Raises:
        HsmError: the maker says that the token cannot be used.
        PinError: the token refuses the PIN.
        UnavailableError: it ended without a pair.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate(_asked(settings, order))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _made(out, order.kek)


def _asked(settings: TokenSettings, order: Order) -> bytes:
    request = {
        "module": str(settings.module),
        "label": settings.label,
        "serial": settings.serial,
        "pin": settings.pin.reveal().decode(),
        "kek": order.kek,
        "algorithm": order.algorithm.value,
        "backup": order.backup or "",
    }
    return json.dumps(request).encode()


def _made(out: bytes, kek: str) -> WrappedKeyPair:
    try:
        answer = json.loads(out)
    except ValueError as error:
        message = f"the maker of a key pair under {kek} ended without one"
        raise UnavailableError(message) from error
    if "blob" not in answer:
        leaf = next(
            (kind for kind in (HsmError, PinError) if code_of(kind) == answer["code"]), UnavailableError
        )
        raise leaf(answer["message"], hint=answer["hint"])
    blob, spki, second = (bytes.fromhex(answer[name]) for name in ("blob", "spki", "backup"))
    return WrappedKeyPair(blob, spki, second or None)


def _make(request: dict[str, str]) -> WrappedKeyPair:
    pin = Secret(request["pin"].encode())
    order = Order(request["kek"], Algorithm(request["algorithm"]), request["backup"] or None)
    token = Token.open(
        TokenSettings(Path(request["module"]), request["label"], request["serial"], pin), GENERATOR
    )
    with token.closed_on_error():
        token.guard("reading keks back", lambda: _read_back(token, order))
        pair = token.guard("making a key pair", lambda: make_pair(token, order))
    token.close()
    return pair


def _read_back(token: Token, order: Order) -> None:
    for label in order.keks:
        token.key(label)


def main() -> int:
    """One request on stdin, one answer on stdout, both JSON; 0 also when the answer is an error."""
    request: dict[str, str] = json.load(sys.stdin)
    try:
        pair = call_on_hsm_thread(lambda: _make(request))
    except RekeyError as error:
        json.dump({"code": error.code, "message": str(error), "hint": error.hint}, sys.stdout)
        return 0
    found = {"blob": pair.blob, "spki": pair.spki, "backup": pair.backup or b""}
    json.dump({name: value.hex() for name, value in found.items()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
