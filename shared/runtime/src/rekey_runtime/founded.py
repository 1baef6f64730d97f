"""What the provisioner made against what the authority table says: a service refuses to run on a difference."""

from __future__ import annotations

from collections.abc import Sequence

from rekey_core.authority import READS, STREAMS, Consumer, Form, Identity
from rekey_core.errors import ConfigurationError
from rekey_core.jetstream import consumer_config, differences, stream_config
from rekey_runtime.bus import Bus
from rekey_runtime.progress import Sample


class Founded:
    """The streams and consumers that one service uses."""

    def __init__(self, bus: Bus, consumers: Sequence[Consumer]) -> None:
        self._bus = bus
        self._consumers = consumers

    async def verify(self) -> None:
        """Compare effective and expected configuration.

        Raises:
            ConfigurationError: a stream or consumer is missing or differs; names field, expected and found.
            UnavailableError: the bus does not answer.
        """
        identity = Identity(self._bus.settings.service.value)
        used = {c.stream for c in self._consumers} | {
            r.stream for r in READS if r.reader is identity and r.form is not Form.SUBJECT
        }
        for stream in (s for s in STREAMS if s.name in used):
            info = await self._bus.info(f"STREAM.INFO.{stream.name}")
            self._same(f"stream {stream.name}", stream_config(stream, self._bus.settings.env), info)
        await self.watch()

    async def watch(self) -> dict[str, Sample]:
        """The consumers are there, as founded; how each does, by name. Raises as ``verify``."""
        samples = {}
        for consumer in self._consumers:
            info = await self._bus.info(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
            self._same(f"consumer {consumer.name}", consumer_config(consumer, self._bus.settings.env), info)
            samples[consumer.name] = Sample.of(info)
        return samples

    @staticmethod
    def _same(what: str, expected: dict[str, object], info: dict[str, object]) -> None:
        found = differences(expected, info.get("config"))
        if found:
            raise ConfigurationError(
                f"{what}: {'; '.join(found)}", hint="run the bus provisioner with --plan"
            )
