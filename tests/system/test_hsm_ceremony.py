"""The ceremony and the two tokens as they are deployed: two directories, two processes, nothing shared."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rekey_ceremony import CeremonyPlan, CeremonyReport, TokenPlan, TokenReport, perform
from rekey_ceremony.pipe import SideProcess
from rekey_ceremony.softhsm import prepare
from rekey_core.errors import HsmError
from rekey_core.names import Algorithm
from rekey_hsm import DistributorHsm, GeneratorHsm
from rekey_hsm.labels import probe_label
from tests.hsm_tokens import (
    ENV,
    KEKS,
    MAC_KEY,
    MODULE,
    SECRET_KEK,
    Tokens,
    ceremony_plan,
    found,
    spki_of,
    token_plan,
    token_settings,
)

Fields = dict[str, Any]


def work(do: str, plan: TokenPlan, report: TokenReport, *, officer: bool = False, **fields: object) -> Fields:
    """Do one job in a process of its own, with that token's own configuration."""
    pin = (plan.so_pin if officer else plan.user_pin).reveal().decode()
    token = {"module": str(MODULE), "label": plan.label, "serial": report.serial, "pin": pin}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hsm_worker"],
        input=json.dumps({"do": do, **token, **fields}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "SOFTHSM2_CONF": str(report.softhsm_conf)},
    )
    answer: Fields = json.loads(done.stdout)
    return answer


def apart(tmp_path: Path) -> CeremonyPlan:
    generator, distributor = (
        token_plan(tmp_path / side, f"{side}-token") for side in ("generator", "distributor")
    )
    return CeremonyPlan(ENV, 1, MODULE, generator, distributor)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[CeremonyPlan, CeremonyReport]:
    """Two tokens in two directories, founded once."""
    plan = apart(tmp_path_factory.mktemp("founded"))
    return plan, perform(plan)


@pytest.fixture
def copied(
    founded: tuple[CeremonyPlan, CeremonyReport], tmp_path: Path
) -> tuple[CeremonyPlan, CeremonyReport]:
    """A copy of them that the test may spoil: SoftHSM's tokens are files."""
    plan, report = founded
    shutil.copytree(plan.generator.directory.parent, tmp_path, dirs_exist_ok=True)
    tokens = {
        side: dataclasses.replace(getattr(report, side), softhsm_conf=prepare(tmp_path / side))
        for side in ("generator", "distributor")
    }
    return apart(tmp_path), dataclasses.replace(report, **tokens)


def release(plan: CeremonyPlan, report: CeremonyReport, spki_sha256: str) -> tuple[Fields, Fields]:
    made = work("generate", plan.generator, report.generator)
    return made, work("distribute", plan.distributor, report.distributor, spki_sha256=spki_sha256, **made)


def test_two_processes_with_two_directories_share_only_blobs(tmp_path: Path, tokens: Tokens) -> None:
    plan = apart(tmp_path)
    report = perform(plan)
    assert report.changed
    assert [key.label for key in report.keys] == [*KEKS, MAC_KEY]
    spki, digest = tokens.spki, tokens.spki_sha256
    enrolled = work("enrol", plan.distributor, report.distributor, officer=True, spki=spki.hex())
    assert enrolled == {"changed": True, "spki_sha256": digest}
    made, given = release(plan, report, digest)
    key = tokens.open_released(bytes.fromhex(given["wrapped"]))
    assert len(key) == 64
    assert hmac.digest(key, b"commitment", "sha256").hex() == made["commitment"] == given["mac"]
    signature, public = bytes.fromhex(given["signature"]), load_der_public_key(bytes.fromhex(made["spki"]))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    public.verify(utils.encode_dss_signature(r, s), b"message", ec.ECDSA(SHA256()))
    again = perform(plan)
    assert not again.changed
    assert [key.check_value for key in again.keys] == [key.check_value for key in report.keys]


def test_neither_token_opens_what_is_the_others(copied: tuple[CeremonyPlan, CeremonyReport]) -> None:
    plan, report = copied
    wrong = work("distribute", plan.generator, report.generator, spki_sha256="", blob="", pair="", mac="")
    assert "not as its template says" in wrong["error"]
    absent = work("generate", plan.generator, report.distributor)
    assert "no token is labelled generator-token" in absent["error"]


def test_two_environments_cannot_open_each_others_blobs(
    tmp_path: Path, founded: tuple[CeremonyPlan, CeremonyReport]
) -> None:
    (one, first), other = founded, apart(tmp_path)
    second = perform(other)
    made = work("generate", one.generator, first.generator)
    refused = work("distribute", other.distributor, second.distributor, spki_sha256="", **made)
    assert refused["error"].startswith("RecordError")


def test_a_new_epoch_joins_the_old_one(hsm_directory: Path) -> None:
    first = perform(ceremony_plan(hsm_directory, "epochs"))
    second = perform(ceremony_plan(hsm_directory, "epochs", epoch=2))
    assert first.generator.serial == second.generator.serial
    assert [key.label[-2:] for key in second.keys] == ["-2"] * (len(KEKS) + 1)
    assert all(key.made for key in second.keys)
    assert not perform(ceremony_plan(hsm_directory, "epochs")).changed


STEPS = (
    ("both", "open"),
    ("both", "agree"),
    ("generator", "leave_half"),
    ("distributor", "leave_half"),
    ("distributor", "keep_probe"),
    ("generator", "mark"),
)


def go_as_far_as(plan: CeremonyPlan, last: int, label: str = SECRET_KEK) -> None:
    """Do the ceremony's first steps for one key, then let both sides die."""
    confs = prepare(plan.generator.directory), prepare(plan.distributor.directory)
    with SideProcess("generator", confs[0]) as generator, SideProcess("distributor", confs[1]) as distributor:
        sides = {"generator": generator, "distributor": distributor}
        for name, side in sides.items():
            token: TokenPlan = getattr(plan, name)
            pins = {"user_pin": token.user_pin.reveal().decode(), "so_pin": token.so_pin.reveal().decode()}
            side.ask("open", role=name, module=str(MODULE), label=token.label, **pins)
        points = {f"{name}_point": side.ask("begin")["point"] for name, side in sides.items()}
        check_value = ""
        for name, do in STEPS[1 : last + 1]:
            if do == "agree":
                for side in sides.values():
                    side.ask("agree", **points)
            elif do == "leave_half":
                check_value = sides[name].ask(do, label=label)["check_value"]
            elif do == "keep_probe":
                distributor.ask(do, label=label, **generator.ask("make_probe", label=label))
            else:
                generator.ask(do, label=label, check_value=check_value)


@pytest.mark.parametrize(
    "last", [pytest.param(n, id=f"dies after {'.'.join(s)}") for n, s in enumerate(STEPS)]
)
async def test_a_ceremony_that_died_is_run_again(hsm_directory: Path, last: int) -> None:
    plan = ceremony_plan(hsm_directory, f"cut-{last}")
    go_as_far_as(plan, last)
    report = found(plan)
    proved = STEPS[last][1] in {"keep_probe", "mark"}
    assert [key.made for key in report.keys] == [not proved, *(True for _ in KEKS)]
    generator = await GeneratorHsm.open(token_settings(plan.generator, report.generator.serial))
    distributor = await DistributorHsm.open(token_settings(plan.distributor, report.distributor.serial))
    secret = await generator.make_secret(SECRET_KEK, Algorithm.AES_256_GCM, b"c")
    mac = await generator.record_mac(MAC_KEY, secret.blob)
    await distributor.verify_record_mac(MAC_KEY, secret.blob, mac)
    await generator.close()
    await distributor.close()


@pytest.mark.parametrize(
    ("side", "lost"),
    [
        pytest.param("generator", SECRET_KEK, id="the generator's half"),
        pytest.param("distributor", SECRET_KEK, id="the distributor's half"),
        pytest.param("distributor", probe_label(SECRET_KEK), id="the probe"),
        pytest.param("generator", MAC_KEY, id="the half that makes record MACs"),
    ],
)
def test_what_was_founded_and_is_lost_is_never_made_again(
    copied: tuple[CeremonyPlan, CeremonyReport], side: str, lost: str
) -> None:
    plan, report = copied
    work("destroy", getattr(plan, side), getattr(report, side), object=lost)
    with pytest.raises(HsmError, match="was founded and is not whole"):
        perform(plan)


def test_a_token_initialised_again_is_found_out_by_the_ceremony(
    copied: tuple[CeremonyPlan, CeremonyReport],
) -> None:
    plan, report = copied
    user_pin = plan.distributor.user_pin.reveal().decode()
    work("initialise_again", plan.distributor, report.distributor, officer=True, user_pin=user_pin)
    with pytest.raises(HsmError, match="was founded and is not whole"):
        perform(plan)


@pytest.mark.parametrize("pin", ["user_pin", "so_pin"])
def test_a_wrong_pin_ends_the_ceremony(copied: tuple[CeremonyPlan, CeremonyReport], pin: str) -> None:
    plan, _ = copied
    wrong: Callable[..., TokenPlan] = dataclasses.replace
    other = token_plan(plan.generator.directory, "another")
    with pytest.raises(HsmError, match="distributor: token distributor-token refuses a PIN"):
        perform(dataclasses.replace(plan, distributor=wrong(plan.distributor, **{pin: getattr(other, pin)})))


def test_no_pin_is_an_argument_or_in_the_environment(tmp_path: Path) -> None:
    plan = apart(tmp_path)
    pins = {"user_pin": plan.generator.user_pin.reveal(), "so_pin": plan.generator.so_pin.reveal()}
    with SideProcess("generator", prepare(plan.generator.directory)) as side:
        texts = {name: pin.decode() for name, pin in pins.items()}
        side.ask("open", role="generator", module=str(MODULE), label=plan.generator.label, **texts)
        seen = b"".join(Path(f"/proc/{side.pid}/{what}").read_bytes() for what in ("cmdline", "environ"))
    assert seen
    assert not [name for name, pin in pins.items() if pin in seen]


def test_the_command_reads_its_settings_and_reports_without_a_secret(tmp_path: Path) -> None:
    for name in ("generator-user", "generator-officer", "distributor-user", "distributor-officer"):
        (tmp_path / name).write_text(f"pin-of-{name}\n")
    sides = {
        side: {
            "directory": f"hsm/{side}",
            "label": side,
            "user_pin_file": f"{side}-user",
            "so_pin_file": f"{side}-officer",
        }
        for side in ("generator", "distributor")
    }
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"env": ENV, "module": str(MODULE), **sides}))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rekey_ceremony", "found", "--settings", str(settings), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    before = json.loads(run("--epoch", "1", "--plan").stdout)
    assert [(key["label"], key["made"]) for key in before["keys"]] == [(k, True) for k in (*KEKS, MAC_KEY)]
    assert before["generator"]["made"]
    assert not (tmp_path / "hsm").exists(), "a plan changes nothing"
    done = run("--epoch", "1")
    report = json.loads(done.stdout)
    assert [key["label"] for key in report["keys"]] == [*KEKS, MAC_KEY]
    assert report["distributor"]["softhsm_conf"] == str(tmp_path / "hsm/distributor/softhsm2.conf")
    assert "pin-of" not in done.stdout + done.stderr
    assert [
        any(key["made"] for key in json.loads(run("--epoch", n, "--plan").stdout)["keys"]) for n in "12"
    ] == [
        False,
        True,
    ]
    assert run("--epoch", "0").returncode == 2
    settings.write_text("{}")
    failed = run("--epoch", "1")
    assert failed.returncode == 1
    assert "settings.json cannot be read" in failed.stderr


def test_a_token_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    conf = prepare(tmp_path / "token")
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o700
    text = conf.read_text()
    assert prepare(tmp_path / "token").read_text() == text


async def test_a_token_initialised_again_under_a_running_service_stops_it(hsm_directory: Path) -> None:
    plan = ceremony_plan(hsm_directory, "again")
    report = found(plan)
    hsm = await DistributorHsm.open(token_settings(plan.distributor, report.distributor.serial))
    await hsm.prove()
    user_pin = plan.distributor.user_pin.reveal().decode()
    again = work("initialise_again", plan.distributor, report.distributor, officer=True, user_pin=user_pin)
    assert again["code"] == 0
    assert again["serial"] == report.distributor.serial  # SoftHSM 2.6.1 keeps it: the serial proves nothing
    with pytest.raises(HsmError, match="has 0 keks and 0 record mac keys"):
        await hsm.prove()
    with pytest.raises(HsmError, match=f"has lost its key {MAC_KEY}"):
        await hsm.verify_record_mac(MAC_KEY, b"", bytes(32))
    await hsm.close()


async def test_a_transport_key_made_again_is_looked_up_again(hsm_directory: Path, tokens: Tokens) -> None:
    plan = ceremony_plan(hsm_directory, "stale")
    report = found(plan)
    token, transport = (plan.distributor, report.distributor), rsa.generate_private_key(65537, 3072)
    spki = spki_of(transport)
    work("enrol", *token, officer=True, spki=spki.hex())
    made = work("generate", plan.generator, report.generator)
    hsm = await DistributorHsm.open(token_settings(plan.distributor, report.distributor.serial))

    async def give(digest: str) -> bytes:
        released = await hsm.release_secret(
            SECRET_KEK,
            bytes.fromhex(made["blob"]),
            recipient="orders",
            recipient_spki_sha256=digest,
            mac_inputs=(),
        )
        return released.wrapped

    digest = hashlib.sha256(spki).hexdigest()
    assert len(await give(digest)) == 384
    work("destroy", *token, object="transport-orders")
    work("enrol", *token, officer=True, spki=spki.hex())
    assert len(await give(digest)) == 384
    work("destroy", *token, object="transport-orders")
    work("enrol", *token, officer=True, spki=tokens.spki.hex())
    assert len(tokens.open_released(await give(tokens.spki_sha256))) == 64
    await hsm.close()
