"""Composition of the generator: its token, its consumer, its readiness."""

from __future__ import annotations

from rekey_core.secret import Secret
from rekey_generator.handlers import Generator
from rekey_generator.settings import GeneratorSettings
from rekey_hsm import GeneratorHsm, TokenSettings
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service


async def compose(service: Service, settings: GeneratorSettings) -> None:
    """Open the token, then bind the consumer. Raises HsmError when the token is not the one that was founded."""
    pin = Secret(settings.pin_file.read_bytes().strip())
    token = TokenSettings(settings.hsm_module, settings.token_label, settings.token_serial, pin)
    hsm = await GeneratorHsm.open(token)
    generator = Generator(service.bus, KeyLog(service.bus), hsm, settings.epoch)
    service.consume("generator", generator.on_rotation_requested)
    service.ready_when(hsm.prove)
    service.on_stop(hsm.close)
