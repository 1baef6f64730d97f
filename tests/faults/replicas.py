"""A second process of a service, with the same identity and token, beside the one that the stack keeps."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rekey_core.names import Service
from rekey_local.layout import private_directory, write_private
from rekey_local.settings import service_settings
from rekey_local.toml import to_toml
from tests.system.ports import free_port
from tests.system.stack import RunningStack


@contextmanager
def replica(stack: RunningStack, service: Service) -> Iterator[str]:
    """Its name, ``generator-2``, for the time of the block; it has a state directory and a port of its own."""
    name, file = f"{service}-2", service_settings(stack.layout, service)
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    values |= {"state_dir": str(private_directory(file.parent / "state-2")), "http_port": free_port()}
    own = file.with_name("settings-2.toml")
    write_private(own, to_toml(values))
    first = stack.keeper(service).plan
    command = tuple(str(own) if part == str(file) else part for part in first.command)
    log = first.log.with_name(f"{name}.log")
    stack.start(replace(first, name=name, command=command, log=log))
    try:
        stack.ready(name)
        yield name
    finally:
        stack.hold(name)
