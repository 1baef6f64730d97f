"""Makes one key pair in a process of its own (``python -m rekey_hsm.maker``): for pairs that take seconds.

The token's one thread would answer nobody else meanwhile. The maker logs in to the same token, so it has the generator's
rights and no other; the PIN comes to it on stdin, and what goes back is what would go to the bus anyway.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from rekey_core.errors import HsmError, PinError, RekeyError, UnavailableError, code_of
from rekey_core.names import Algorithm
from rekey_core.secret import Secret
from rekey_hsm import keys
from rekey_hsm.halves import generator_half
from rekey_hsm.thread import call_on_hsm_thread
from rekey_hsm.token import Token
from rekey_hsm.values import TokenSettings, WrappedKeyPair


def make_pair(token: Token, kek: str, algorithm: Algorithm) -> WrappedKeyPair:
    """Make a pair with this token and wrap it. On the HSM thread."""
    half = token.key(kek)
    public, private = keys.new_pair(token.session, algorithm)
    with keys.destroyed_after(public, private):
        return WrappedKeyPair(keys.wrap(half, private, token.profile), keys.spki_of(public, algorithm))


async def make_in_own_process(settings: TokenSettings, kek: str, algorithm: Algorithm) -> WrappedKeyPair:
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
        out, _ = await process.communicate(_asked(settings, kek, algorithm))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _made(out, kek)


def _asked(settings: TokenSettings, kek: str, algorithm: Algorithm) -> bytes:
    request = {
        "module": str(settings.module),
        "label": settings.label,
        "serial": settings.serial,
        "pin": settings.pin.reveal().decode(),
        "kek": kek,
        "algorithm": algorithm.value,
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
    return WrappedKeyPair(bytes.fromhex(answer["blob"]), bytes.fromhex(answer["spki"]))


def _make(request: dict[str, str]) -> WrappedKeyPair:
    pin = Secret(request["pin"].encode())
    kek, algorithm = request["kek"], Algorithm(request["algorithm"])
    token = Token.open(TokenSettings(Path(request["module"]), request["label"], request["serial"], pin))
    with token.closed_on_error():
        token.guard("reading a kek back", lambda: keys.read_back(token.key(kek), generator_half(kek), kek))
        pair = token.guard("making a key pair", lambda: make_pair(token, kek, algorithm))
    token.close()
    return pair


def main() -> int:
    """One request on stdin, one answer on stdout, both JSON; 0 also when the answer is an error."""
    request: dict[str, str] = json.load(sys.stdin)
    try:
        pair = call_on_hsm_thread(lambda: _make(request))
    except RekeyError as error:
        json.dump({"code": error.code, "message": str(error), "hint": error.hint}, sys.stdout)
        return 0
    json.dump({"blob": pair.blob.hex(), "spki": pair.spki.hex()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
