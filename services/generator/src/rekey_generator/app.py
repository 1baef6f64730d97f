"""Composition of the generator: its token, its consumer, its readiness."""

from __future__ import annotations

from pathlib import Path

from rekey_core.secret import Secret
from rekey_hsm import GeneratorHsm, TokenSettings
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service
from rekey_runtime.settings import load_settings

from rekey_generator.handlers import Generator
from rekey_generator.settings import GeneratorSettings


def make_service(path: Path) -> Service:
    """The process from its settings file. Raises ConfigurationError."""
    settings = load_settings(path, GeneratorSettings)
    service = Service(settings)

    async def start() -> None:
        pin = Secret(settings.pin_file.read_bytes().strip())
        token = TokenSettings(settings.hsm_module, settings.token_label, settings.token_serial, pin)
        hsm = await GeneratorHsm.open(token)
        generator = Generator(service.bus, KeyLog(service.bus), hsm, settings.epoch)
        service.consume("generator", generator.on_rotation_requested)
        service.check("hsm", hsm.prove)
        service.on_stop(hsm.close)

    service.on_start(start)
    return service
