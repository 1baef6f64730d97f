"""A running stack is searched for its own keys and PINs: every file, every stream, every argument and environment.

Keys may be in the memory of dependents only; PINs in their own files, and in the memory of who owns them. What is searched
for is what was really used: the versions that an instance holds, and the PINs that the tokens were founded with.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import rekey
from rekey.keystate import aead_version
from rekey_core.authority import STREAMS
from rekey_core.names import Service
from rekey_local.cast import OWNER, RESPONDER
from rekey_local.settings import instance_settings
from rekey_local.stack import DATABASE
from tests.attacks.intruder import Intruder, intruder, poll
from tests.system.bus import ANSWER_S
from tests.system.files import files_under, what_is_in
from tests.system.stack import INSTANCES, NATS, RunningStack, running_stack

KEY: Final = "orders-db"
SERVICES: Final = tuple(service.value for service in Service)
ENCODED: Final = re.compile(rb"[A-Za-z0-9_+/-]{40,}")  # what messages carry inside
HALF: Final = 32  # bytes: an application's key is the first half of a version, the MAC's the whole


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Everything has happened once: a rotation, a stop, a service that was killed and one that was refused."""
    with running_stack(tmp_path_factory.mktemp("scan"), copied=False) as running:
        assert running.rotate(KEY).code == 0
        stopped = running.rekey(
            RESPONDER, "suspend", f"{KEY}@1", "--reason", "a test", "--yes", "--wait", "30"
        )
        assert stopped.code == 0, stopped.err
        assert (
            running.rekey(OWNER, "suspend", f"{KEY}@2", "--reason", "not mine", "--yes", "--wait", "30").code
            != 0
        )
        running.kill("distributor")
        running.ready("distributor")
        assert running.rotate(KEY).code == 0
        yield running


def spellings(secret: bytes) -> tuple[bytes, ...]:
    """As it is, and as somebody may have written it down; without what depends on the place (base64's padding)."""
    shifted = [base64.b64encode(b"\0" * n + secret)[4:-4] for n in range(3)]
    urlsafe = [text.translate(bytes.maketrans(b"+/", b"-_")) for text in shifted]
    escaped = repr(secret)[2:-1].encode()
    return (secret, secret.hex().encode(), secret.hex().upper().encode(), escaped, *shifted, *urlsafe)


def unfolded(data: bytes) -> bytes:
    """The data, and everything that is encoded inside it, and inside that."""
    inside = b""
    for text in ENCODED.findall(data):
        padded = text.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(text) % 4)
        try:
            inside += b"\n" + unfolded(base64.b64decode(padded))
        except binascii.Error:
            continue
    return data + inside


def found_in(data: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    return [name for name, secret in secrets.items() if any(one in data for one in spellings(secret))]


def pin_files(stack: RunningStack) -> list[Path]:
    return [path for path in files_under(stack.layout.root) if "pin" in path.name]


def streams_key_files(stack: RunningStack) -> list[Path]:
    """The key under which the bus encrypts its streams, and the file that the bus reads it from."""
    return [stack.layout.bus / name for name in ("store.key", "store-key.conf")]


def password_files(stack: RunningStack) -> list[Path]:
    return [path for path in files_under(stack.layout.root) if path.name == "database.password"]


async def keys_of(stack: RunningStack) -> dict[str, bytes]:
    """What an instance of ``orders`` holds, by name."""
    settings = rekey.Settings.load(instance_settings(stack.layout, "orders", 1))
    async with rekey.connect(settings) as keys:
        box = await keys.keyring(KEY)

        async def holds_the_one_before() -> bool | None:
            return len(box._key.held) > 1 or None  # noqa: SLF001 - as below

        await poll(holds_the_one_before)
        held = {number: aead_version(version) for number, version in box._key.held.items()}  # noqa: SLF001 - the search needs the very bytes
    return {f"{KEY}@{number}": version.secret.reveal() for number, version in held.items()}


async def secrets_of(stack: RunningStack) -> dict[str, bytes]:
    """Everything that must not be found; of keys the halves, so that one of them is enough."""
    keys = await keys_of(stack)
    assert len(keys) >= 2
    pins = {f"PIN in {path.parent.name}": path.read_bytes().strip() for path in pin_files(stack)}
    assert len(pins) >= 2
    passwords = {f"password in {path.parent.name}": path.read_bytes() for path in password_files(stack)}
    assert len(passwords) == 3
    halves = {f"{name}, first half": secret[:HALF] for name, secret in keys.items()}
    halves |= {f"{name}, second half": secret[HALF:] for name, secret in keys.items()}
    return (
        halves | pins | passwords | {"key of the streams": streams_key_files(stack)[0].read_bytes().strip()}
    )


@pytest.mark.parametrize("number", range(10))
def test_the_search_finds_what_is_there(number: int) -> None:
    secret = bytes(range(200, 200 + HALF))
    wrapped = base64.urlsafe_b64encode(b'{"key":"' + secret.hex().encode() + b'"}').rstrip(b"=")
    assert found_in(unfolded(b'{"payload":"' + wrapped + b'"}'), {"it": secret}) == ["it"]
    text = b'{"message":"unwrapped ' + spellings(secret)[number] + b'"}'
    assert found_in(text, {"it": secret}) == ["it"]
    assert found_in(b'{"message":"unwrapped"}', {"it": secret}) == []


async def messages(attacker: Intruder) -> AsyncIterator[tuple[str, bytes]]:
    """Every message of every stream with its headers, as whoever owns the bus reads it."""
    for stream in STREAMS:
        info = await attacker.client.request(f"$JS.API.STREAM.INFO.{stream.name}", b"", timeout=ANSWER_S)
        for sequence in range(1, json.loads(info.data)["state"]["last_seq"] + 1):
            question = json.dumps({"seq": sequence}).encode()
            answer = await attacker.client.request(
                f"$JS.API.STREAM.MSG.GET.{stream.name}", question, timeout=ANSWER_S
            )
            message = json.loads(answer.data).get("message", {})  # replaced by a newer one: gone
            parts = (base64.b64decode(message.get(part, "")) for part in ("hdrs", "data"))
            yield f"{stream.name} {sequence}", b"\n".join(parts)


async def test_no_stream_holds_a_key_or_a_pin(stack: RunningStack) -> None:
    secrets = await secrets_of(stack)
    async with intruder(stack) as attacker:
        read = {place: unfolded(data) async for place, data in messages(attacker)}
    for stream in ("LIFECYCLE", "MATERIAL", "NOTICES", "RECEIPTS", "LEASES", "COMMANDS", "REPORTS"):
        assert any(place.startswith(stream) and len(data) > 1 for place, data in read.items()), stream
    assert any(b'"kind":"confirmation"' in data for data in read.values())
    assert {place: names for place, data in read.items() if (names := found_in(data, secrets))} == {}


async def test_no_file_holds_a_key_or_a_pin(stack: RunningStack) -> None:
    secrets = await secrets_of(stack)
    own = {*pin_files(stack), *streams_key_files(stack), *password_files(stack)}
    own |= {stack.layout.service(name) / "database.url" for name in SERVICES}
    files = [path for path in files_under(stack.layout.root) if path not in own]
    assert any(path.parent == stack.layout.logs for path in files)
    found = {str(path.relative_to(stack.layout.root)): found_in(what_is_in(path), secrets) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


async def test_no_argument_and_no_environment_holds_a_key_or_a_pin(stack: RunningStack) -> None:
    secrets = await secrets_of(stack)
    for name in (NATS, DATABASE, *SERVICES, *INSTANCES):
        process = Path("/proc") / str(stack.pid(name))
        for what in ("cmdline", "environ"):
            assert found_in((process / what).read_bytes(), secrets) == [], f"{what} of {name}"


async def test_no_answer_to_a_person_holds_a_key_or_a_pin(stack: RunningStack) -> None:
    secrets = await secrets_of(stack)
    for verb in ("show", "history"):
        outcome = stack.rekey(OWNER, "key", verb, KEY, "--output", "json")
        assert outcome.code == 0
        assert found_in((outcome.out + outcome.err).encode(), secrets) == []
    assert found_in(stack.screen.getvalue().encode(), secrets) == []
