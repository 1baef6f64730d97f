"""Every benchmark of the issue, with its target."""

from __future__ import annotations

from typing import Final

from tests.bench import catching, creating, footprint, growth, instances, noticing, sdk, telling, waves
from tests.bench.figures import Subject, Target

SUBJECTS: Final = (
    Subject(
        "sdk-encrypt",
        14,
        "SDK encrypts 1 KiB",
        "AES-256-GCM of the library, fresh nonce",
        Target("≥ 60 % of raw", at_least=0.60),
        sdk.encrypt,
    ),
    Subject(
        "sdk-decrypt",
        14,
        "SDK decrypts 1 KiB",
        "AES-256-GCM of the library",
        Target("≥ 60 % of raw", at_least=0.60),
        sdk.decrypt,
    ),
    Subject(
        "create",
        14,
        "one version made and in the log, p50",
        "HSM generate+wrap+MAC, store, append, p50",
        Target("≤ 2 x raw", at_most=2.0),
        creating.create,
    ),
    Subject(
        "create-rate",
        14,
        "versions per second of two generator processes",
        "a single-threaded peer that does 120/s",
        Target("≥ 5 x the peer", at_least=5.0),
        creating.create_rate,
    ),
    Subject(
        "mass-rekey",
        14,
        "versions per second of two generator processes",
        "HSM generate+wrap in two processes",
        Target("≥ 80 % of raw", at_least=0.80),
        creating.mass_rekey,
    ),
    Subject(
        "waves",
        14,
        "facts per second, signed and appended in waves",
        "atomic batches of ready messages",
        Target("≥ 70 % of raw", at_least=0.70),
        waves.append,
    ),
    Subject(
        "growth-facts",
        8,
        "a decision in a stream full of other keys' facts",
        "the same in an empty system",
        Target("the same (≤ 1.25 x)", at_most=1.25),
        growth.many_facts,
    ),
    Subject(
        "growth-versions",
        8,
        "a decision on a key with thousands of versions",
        "the same on a key with one",
        Target("the same (≤ 1.25 x)", at_most=1.25),
        growth.many_versions,
    ),
    Subject(
        "catch-up",
        14,
        "an instance follows a changed notice of each of its keys",
        "bare pipelined reads of the same subjects",
        Target("≤ 2 x raw", at_most=2.0),
        catching.catch_up,
    ),
    Subject(
        "release-50",
        14,
        "one version released to 50 dependents that ask at once",
        "the HSM's wrapping and MACs, one message",
        Target("told"),
        telling.release,
    ),
    Subject(
        "notices",
        8,
        "notices per second, 50 dependents of each key",
        "pipelined writes of ready bytes",
        Target("told"),
        telling.notices,
    ),
    Subject(
        "growth-notices",
        8,
        "50 dependents told of a rotation, 50,000 notices around",
        "the same in an empty system",
        Target("the same (≤ 1.25 x)", at_most=1.25),
        noticing.many_notices,
    ),
    Subject(
        "idle-memory",
        14,
        "resident memory of each service",
        "a process that imports the same libraries",
        Target("≤ 1.6 x raw", at_most=1.6),
        footprint.memory,
    ),
    Subject(
        "start",
        14,
        "each service until it is ready",
        "a process that imports the same libraries",
        Target("≤ 2 x raw", at_most=2.0),
        footprint.start,
    ),
    Subject(
        "growth-instances",
        8,
        "who has proved what of a version, 500 instances around",
        "the same in a system with these alone",
        Target("the same (≤ 1.25 x)", at_most=1.25),
        instances.many_instances,
    ),
)
