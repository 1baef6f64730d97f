"""A process that holds one token, as each service does: ``python -m tests.hsm_worker``, JSON in, JSON out."""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11.constants import Attribute

from rekey_core.errors import RekeyError
from rekey_core.names import Algorithm
from rekey_core.secret import Secret
from rekey_hsm import DistributorHsm, GeneratorHsm, TokenSettings
from rekey_hsm.officer import enrol_transport_key
from rekey_hsm.profile import load_module
from rekey_hsm.token import require_token
from tests.hsm_tokens import EC_KEK, MAC_KEY, RECIPIENT, SECRET_KEK

Fields = dict[str, Any]


def settings_of(job: Fields) -> TokenSettings:
    return TokenSettings(Path(job["module"]), job["label"], job["serial"], Secret(job["pin"].encode()))


async def generate(job: Fields) -> Fields:
    hsm = await GeneratorHsm.open(settings_of(job))
    secret = await hsm.make_secret(SECRET_KEK, Algorithm.AES_256_GCM, b"commitment")
    pair = await hsm.make_key_pair(EC_KEK, Algorithm.EC_P256)
    mac = await hsm.record_mac(MAC_KEY, secret.blob)
    await hsm.close()
    made = {
        "blob": secret.blob,
        "commitment": secret.commitment,
        "pair": pair.blob,
        "spki": pair.spki,
        "mac": mac,
    }
    return {name: value.hex() for name, value in made.items()}


async def distribute(job: Fields) -> Fields:
    hsm = await DistributorHsm.open(settings_of(job))
    blob, pair = bytes.fromhex(job["blob"]), bytes.fromhex(job["pair"])
    await hsm.verify_record_mac(MAC_KEY, blob, bytes.fromhex(job["mac"]))
    released = await hsm.release_secret(
        SECRET_KEK,
        blob,
        recipient=RECIPIENT,
        recipient_spki_sha256=job["spki_sha256"],
        mac_inputs=[b"commitment"],
    )
    signature = await hsm.sign(EC_KEK, pair, Algorithm.EC_P256, b"message")
    await hsm.close()
    return {"wrapped": released.wrapped.hex(), "mac": released.macs[0].hex(), "signature": signature.hex()}


async def enrol(job: Fields) -> Fields:
    enrolled = enrol_transport_key(
        module=Path(job["module"]),
        token_label=job["label"],
        serial=job["serial"],
        so_pin=Secret(job["pin"].encode()),
        dependent=RECIPIENT,
        spki_der=bytes.fromhex(job["spki"]),
    )
    return {"changed": enrolled.changed, "spki_sha256": enrolled.spki_sha256}


async def destroy(job: Fields) -> Fields:
    """What an accident or an attacker with the user's PIN does: every object of that label is gone."""
    library, _ = load_module(job["module"])
    session = require_token(library, job["label"], job["serial"]).open(rw=True, user_pin=job["pin"])
    for found in list(session.get_objects({Attribute.LABEL: job["object"]})):
        found.destroy()
    session.close()
    return {}


async def initialise_again(job: Fields) -> Fields:
    """What somebody with the officer's PIN can do to a token in use."""
    library, _ = load_module(job["module"])
    slot = require_token(library, job["label"], job["serial"]).slot
    pin = job["pin"].encode()
    code = ctypes.CDLL(job["module"]).C_InitToken(
        ctypes.c_ulong(slot.slot_id), pin, ctypes.c_ulong(len(pin)), job["label"].encode().ljust(32)
    )
    (token,) = [t for t in (s.get_token() for s in library.get_slots()) if t.label == job["label"]]
    session = token.open(rw=True, so_pin=job["pin"])
    session.init_pin(job["user_pin"])
    session.close()
    return {"code": code, "serial": token.serial.decode()}


JOBS = {job.__name__: job for job in (generate, distribute, enrol, destroy, initialise_again)}


def main() -> None:
    job = json.load(sys.stdin)
    try:
        answer = asyncio.run(JOBS[job["do"]](job))
    except (RekeyError, pkcs11.PKCS11Error) as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
