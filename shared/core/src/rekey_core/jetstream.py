"""The authority table as JetStream's own JSON: what the provisioner creates and every service compares (DESIGN §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rekey_core.authority import READS, Consumer, Form, StreamConfig

HEADER_BYTES: Final = (
    8 * 1024
)  # headers count against a stream's largest message: envelope, conditions, trace context
NANOSECONDS: Final = 1_000_000_000
DUPLICATE_WINDOW_S: Final = 1  # no message of ours has a Nats-Msg-Id: ids are predictable (DESIGN §3)


def stream_config(stream: StreamConfig, env: str, replicas: int | None = None) -> dict[str, object]:
    """The stream as ``STREAM.CREATE`` wants it; without ``replicas`` only what does not depend on the cluster."""
    config: dict[str, object] = {
        "name": stream.name.value,
        "subjects": [subject.format(env=env) for subject in stream.subjects],
        "retention": "limits",
        "storage": "file",
        "discard": "new" if stream.last_per_subject else "old",
        "discard_new_per_subject": stream.write_once,
        "max_msgs": -1,
        "max_msgs_per_subject": 1 if stream.last_per_subject else -1,
        "max_bytes": stream.max_bytes,
        "max_age": stream.max_age_s * NANOSECONDS,
        "max_msg_size": stream.max_message_bytes + HEADER_BYTES,
        "duplicate_window": DUPLICATE_WINDOW_S * NANOSECONDS,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
        "allow_msg_schedules": False,
        "allow_msg_counter": False,
        "allow_atomic": stream.atomic,
        "allow_direct": any(r.stream is stream.name and r.form is not Form.LEADER for r in READS),
        "mirror_direct": False,
        "sealed": False,
        "no_ack": False,
    }
    if stream.republish_to:
        config["republish"] = {"src": ">", "dest": f"{stream.republish_to}.>", "headers_only": True}
    return config if replicas is None else config | {"num_replicas": replicas}


def consumer_config(consumer: Consumer, env: str) -> dict[str, object]:
    """The durable pull consumer as ``CONSUMER.DURABLE.CREATE`` wants it."""
    filters = [subject.format(env=env) for subject in consumer.filters]
    config: dict[str, object] = {
        "name": consumer.name,
        "durable_name": consumer.name,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": consumer.ack_wait_s * NANOSECONDS,
        "max_ack_pending": consumer.max_ack_pending,
        "max_deliver": consumer.max_deliver,
    }
    if len(filters) == 1:
        config["filter_subject"] = filters[0]
    elif filters:
        config["filter_subjects"] = filters
    return config


def differences(expected: Mapping[str, object], found: object) -> list[str]:
    """Field, expected and found for each field that is not as expected; a field left out is false or nothing."""
    effective = found if isinstance(found, Mapping) else {}
    return [
        f"{name} expected {value!r}, found {effective.get(name)!r}"
        for name, value in expected.items()
        if not _equal(value, effective.get(name))
    ]


def _equal(expected: object, found: object) -> bool:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return not differences(expected, found)
    if expected in (False, 0) and found is None:
        return True
    return expected == found
