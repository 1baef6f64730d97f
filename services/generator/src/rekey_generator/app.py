"""Composition of the generator: its token, its consumer, its clock, its readiness."""

from __future__ import annotations

from functools import partial
from typing import Final

from rekey_core.secret import Secret
from rekey_generator.destructions import Destructions
from rekey_generator.handlers import Generator
from rekey_generator.restorations import Restorations
from rekey_generator.settings import GeneratorSettings
from rekey_hsm import GeneratorHsm, TokenSettings
from rekey_runtime.health import Check, Remark
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service

AT_ONCE: Final = (
    64  # requests in hand: what they store goes in one batch, and two replicas share the durable's 128
)


async def compose(service: Service, settings: GeneratorSettings) -> None:
    """Open the token, then bind the consumer. Raises HsmError when the token is not the one that was founded."""
    pin = Secret(settings.pin_file.read_bytes().strip())
    token = TokenSettings(settings.hsm_module, settings.token_label, settings.token_serial, pin)
    hsm = await GeneratorHsm.open(token)
    keylog = KeyLog(service.bus)
    generator = Generator(service.bus, keylog, hsm, settings.backup_epoch)
    destructions = Destructions(service.bus, keylog)
    service.consume("generator", generator.on_rotation_requested, concurrency=AT_ONCE)
    restorations = Restorations(service.bus, keylog, partial(hsm.is_closed, settings.env))
    service.answer(f"rst.{settings.env}.*.*", restorations.on_offer)
    service.every(settings.tick_s, destructions.tick)
    service.every(settings.guard_s, destructions.guard)
    service.ready_when(Check.HSM, hsm.prove)
    if hsm.is_software:
        service.health.remarks.add(Remark.SOFTWARE_KEYS)
    service.on_stop(hsm.close)
