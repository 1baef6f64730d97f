"""One process with more keys than one receipt has room for: all become ready at once, stay leased, and rotate."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import rekey
from rekey_core.contracts import Rotate
from rekey_core.fold import KeyState
from rekey_local.settings import instance_settings
from tests.attacks.intruder import a_key, intruder
from tests.system.instances import AAD
from tests.system.stack import RunningStack

REGISTERED_AT_ONCE: Final = 20
LIMIT_S: Final = 600.0


async def many_keys(stack: RunningStack, count: int, key_class: str) -> None:
    """Register so many, have one process join all of them, and rotate them all at once."""
    settings = rekey.Settings.load(instance_settings(stack.layout, "orders", 2))
    async with intruder(stack) as people:
        names = [a_key("orders-many") for _ in range(count)]
        for at in range(0, count, REGISTERED_AT_ONCE):
            some = names[at : at + REGISTERED_AT_ONCE]
            await asyncio.gather(*(people.registered(name, key_class, ("orders",)) for name in some))
        async with rekey.connect(settings.model_copy(update={"total_s": LIMIT_S})) as keys:
            began = time.monotonic()
            await asyncio.gather(*(_works(keys, name, key_class) for name in names))
            ready_s = time.monotonic() - began
            assert len(keys.instances) > 1
            await asyncio.gather(*(people.give(people.command(Rotate, "alice", name)) for name in names))
            for name in names:
                state = await people.until(name, _is_over, within_s=LIMIT_S)
                assert state.versions[2].activated is not None
                [said] = state.versions[2].activated.model.proved
                assert said.instances, "it was live, and waited for"
                assert set(said.instances) <= set(keys.instances)
            rotated_s = time.monotonic() - began - ready_s
            assert {one.current for one in keys.status().values()} == {2}
            await asyncio.gather(*(_works(keys, name, key_class) for name in names))
            sys.stdout.write(f"{count} keys, {len(keys.instances)} instances: ready in {ready_s:.1f} s, ")
            sys.stdout.write(f"all rotated in {rotated_s:.1f} s\n")


async def _works(keys: rekey.Keys, name: str, key_class: str) -> None:
    if key_class == "token-signing":
        signer = await keys.signer(name)
        signer.verify_jwt(await signer.sign_jwt({"sub": "orders"}))
    else:
        box = await keys.keyring(name)
        assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"


def _is_over(state: KeyState) -> bool:
    return state.current == 2 and state.versions[1].deactivated is not None
