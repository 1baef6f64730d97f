"""What the bus says of a stream and of a consumer, as figures for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rekey_core.authority import Consumer
from rekey_core.contracts import ConsumerLag, StreamFill
from rekey_runtime.progress import Sample


def fill(stream: str, info: Mapping[str, Any]) -> StreamFill:
    """From ``STREAM.INFO``."""
    state, config = info.get("state", {}), info.get("config", {})
    return StreamFill(
        stream=stream,
        messages=int(state.get("messages", 0)),
        bytes=int(state.get("bytes", 0)),
        max_bytes=int(config.get("max_bytes", 0)),
    )


def lag(consumer: Consumer, info: Mapping[str, Any]) -> ConsumerLag:
    """From ``CONSUMER.INFO``."""
    sample = Sample.of(info)
    return ConsumerLag(
        consumer=consumer.name,
        stream=consumer.stream.value,
        pending=sample.pending,
        unacknowledged=sample.unacknowledged,
    )
