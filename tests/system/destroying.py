"""A version is rotated away and destroyed, by people, in a running stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import rekey
from rekey_core.authority import Stream
from rekey_core.commands import command_id
from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    Cosignature,
    Destroy,
    Receipt,
    Rotate,
    SignedCommand,
    Tombstone,
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import BusMessage
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.readers import open_material
from rekey_core.sshsig import sign as ssh_sign
from rekey_local.settings import instance_settings
from tests.attacks.intruder import Intruder, poll
from tests.system.stack import RunningStack


@asynccontextmanager
async def an_application(stack: RunningStack) -> AsyncIterator[rekey.Keys]:
    """A dependent that goes on."""
    async with rekey.connect(rekey.Settings.load(instance_settings(stack.layout, "orders", 1))) as keys:
        yield keys


async def rotated(watcher: Intruder, key: str) -> KeyState:
    """Version 2 is current, 1 deactivated."""
    await watcher.give(watcher.command(Rotate, "alice", key))
    return await watcher.until(key, lambda s: state_of(s) is VersionState.DEACTIVATED)


def state_of(state: KeyState, version: int = 1) -> VersionState | None:
    return state.versions[version].state if version in state.versions else None


def by_two(watcher: Intruder, key: str, **said: Any) -> SignedCommand:
    """Alice's word that version 1 shall go, and rita's."""
    signed = watcher.signed(watcher.command(Destroy, "alice", key, version=1, **said))
    rita = (watcher.stack.layout.person("rita") / "id_ed25519").read_bytes()
    sshsig = ssh_sign(rita, b64u_decode(signed.payload), COMMAND_NAMESPACE)
    return signed.model_copy(update={"cosignatures": (Cosignature(person="rita", sshsig=sshsig),)})


async def give(watcher: Intruder, key: str, signed: SignedCommand) -> None:
    """Store the command where the command line would."""
    subject = watcher.subjects.command(Destroy.VERB, key, command_id(signed))
    await watcher.store(subject, signed.model_dump_json().encode())


async def record_of(watcher: Intruder, key: str) -> BusMessage:
    """What stands in MATERIAL for version 1."""
    found = await watcher.last(Stream.MATERIAL, watcher.subjects.material(key, 1))
    assert found is not None
    return found


def is_tombstone(watcher: Intruder, found: BusMessage) -> bool:
    return isinstance(open_material(found, watcher.trust).model, Tombstone)


def ordered_by_two(stack: RunningStack, key: str, directory: Path, *more: str) -> None:
    """As people do it: alice writes, rita signs, alice sends."""
    body = str(directory / "body")
    steps = (
        ("alice", "key", "destroy", f"{key}@1", "--reason", "its data is gone", "--out", body, *more),
        ("rita", "sign", body, "--yes"),
        ("alice", "key", "destroy", f"{key}@1", "--body", body, "--cosign", f"{body}.sig", "--wait", "60"),
    )
    for person, *words in steps:
        outcome = stack.rekey(person, *words)
        assert outcome.code == 0, outcome.err


async def signed_away(watcher: Intruder, key: str) -> Any:
    """The newest receipt that speaks of the key."""
    found = await watcher.last(Stream.RECEIPTS, f"rcpt.{watcher.env}.orders.*")
    assert found is not None
    return Receipt.model_validate_json(found.data).keys[key]


async def until_refused(signer: rekey.Signer, jwt: str) -> None:
    """The instance has heard."""

    async def refused() -> bool | None:
        try:
            signer.verify_jwt(jwt)
        except rekey.VersionDestroyedError:
            return True
        return None

    assert await poll(refused)
