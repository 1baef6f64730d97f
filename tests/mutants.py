"""Breaks the code on purpose, one named mistake at a time, and wants a red test for each.

``tests/run --mutants [WORD ...]``: all, or those with one of the words in their name. How they are judged: ``mutating``.
Exit 0: every mutant was killed. 1: one survived. 2: a mutant does not fit the code.
"""

from __future__ import annotations

import sys
from typing import Final

from tests import mutants_backups, mutants_core, mutants_keks, mutants_of_leases
from tests.mutants_of_guards import GUARDS
from tests.mutants_of_identity import IDENTITY
from tests.mutating import Mutant, main

CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"

MUTANTS: Final = (
    *mutants_core.MUTANTS,
    *mutants_backups.MUTANTS,
    *mutants_keks.MUTANTS,
    *mutants_of_leases.MUTANTS,
    Mutant(
        "images: audit's has a PKCS#11 library",
        "deploy/Dockerfile",
        "FROM plain AS audit",
        "FROM hsm AS audit",
        ("tests/contract/test_images.py",),
    ),
    Mutant(
        "distributor: the public keys of what a responder stopped are served until a fact says so",
        "services/distributor/src/rekey_distributor/jwks.py",
        "state.public_keys(self._emergencies.denied(state))",
        "state.public_keys()",
        ("tests/unit/rekey_distributor/test_jwks.py",),
    ),
    Mutant(
        "runtime: leases are read behind the leader",
        "shared/runtime/src/rekey_runtime/leases.py",
        "if last is not None and last.sequence > read:",
        "if last is not None and last.sequence < 0:",
        ("tests/unit/rekey_runtime/test_leases.py",),
    ),
    Mutant(
        "hsm: a refused PIN is like any other error, and tried again",
        "shared/runtime/src/rekey_runtime/service.py",
        "return EXIT_PIN if isinstance(error, PinError) else EXIT_FATAL",
        "return EXIT_FATAL",
        ("tests/unit/rekey_runtime/test_endings.py",),
    ),
    Mutant(
        "local: anybody may own a newcomer",
        "deploy/local/src/rekey_local/newcomer.py",
        "if person is None or person.role is not Role.OWNER:",
        "if person is None:",
        ("tests/unit/rekey_local/test_newcomer.py",),
    ),
    Mutant(
        "published contract: a reader is told of rights that it does not have",
        "deploy/provision/src/rekey_provision/asyncapi.py",
        "if read.stream is not channel.stream:",
        "if read.stream is channel.stream is None:",
        ("tests/contract/test_asyncapi.py",),
    ),
    Mutant(
        "use inside the HSM: a deactivated version protects",
        "services/distributor/src/rekey_distributor/granting.py",
        "_PROTECTS = frozenset({VersionState.ACTIVE})",
        "_PROTECTS = frozenset({VersionState.ACTIVE, VersionState.DEACTIVATED})",
        ("tests/unit/rekey_distributor/test_granting.py",),
    ),
    Mutant(
        "unwrap template: an AES key that never leaves may be taken out",
        "shared/hsm/src/rekey_hsm/templates.py",
        "KeyType.AES,\n    Attribute.TOKEN: False,\n    **_SEALED,",
        "KeyType.AES,\n    Attribute.TOKEN: False,\n    **_SEALED,\n    Attribute.EXTRACTABLE: True,",
        ("tests/attacks/test_hsm_templates.py",),
    ),
    Mutant(
        "tokens: the algorithm is the token's own",
        "shared/client/src/rekey/signer.py",
        'jwt.check_algorithm(found, version.jwk["alg"])',
        "jwt.check_algorithm(found, found.algorithm)",
        ("tests/unit/rekey/test_jwt.py",),
    ),
    Mutant(
        "envelopes: a data key of a stopped version goes on",
        "shared/client/src/rekey/envelope.py",
        "version = self._found(found.key_id)",
        "version = next((k.version for k in self._kept.values()), None) or self._found(found.key_id)",
        ("tests/unit/rekey/test_remote.py",),
    ),
    Mutant(
        "unwrap template: an opened secret may be wrapped to any key",
        "shared/hsm/src/rekey_hsm/templates.py",
        "    Attribute.WRAP_WITH_TRUSTED: True,\n    **_NO_USE,\n    Attribute.SIGN",
        "    Attribute.WRAP_WITH_TRUSTED: False,\n    **_NO_USE,\n    Attribute.SIGN",
        ("tests/attacks/test_hsm_templates.py",),
    ),
    Mutant(
        "transport keys: an AES transport key may be wrapped to any key",
        "shared/hsm/src/rekey_hsm/templates.py",
        "    Attribute.WRAP_WITH_TRUSTED: True,\n    **_NO_USE,\n    Attribute.WRAP:",
        "    Attribute.WRAP_WITH_TRUSTED: False,\n    **_NO_USE,\n    Attribute.WRAP:",
        ("tests/attacks/test_transport_keys.py",),
    ),
    Mutant(
        "transport keys: one serves for ever",
        "shared/hsm/src/rekey_hsm/transport.py",
        "return not timedelta() <= at - self.made_at < TRANSPORT_KEY_LIFETIME",
        "return not timedelta() <= at - self.made_at",
        ("tests/unit/rekey_hsm/test_transport.py",),
    ),
    Mutant(
        "transport keys: a trusted recipient's version is taken under an AES key",
        "shared/client/src/rekey/versions.py",
        "if (released.transport is not None) is not (fact.release is Release.TRANSPORT_KEY):",
        "if released.transport is None and fact.release is Release.TRANSPORT_KEY:",
        ("tests/unit/rekey/test_versions.py",),
    ),
    Mutant(
        "destruction: the generator does not wait",
        "services/generator/src/rekey_generator/destroying.py",
        "version.destruction.is_due(bus_time - timedelta(seconds=CLOCK_MARGIN_S))",
        "version.destruction.is_due(version.destruction.not_before)",
        ("tests/unit/rekey_generator/test_destroying.py",),
    ),
    Mutant(
        "destruction: any tombstone is taken for ours",
        "services/generator/src/rekey_generator/destroying.py",
        "return isinstance(found, Tombstone) and found.cause == str(destruction.scheduled.model.id)",
        "return isinstance(found, Tombstone)",
        ("tests/unit/rekey_generator/test_destroying.py",),
    ),
    Mutant(
        "budget: two replicas give the same messages",
        "services/distributor/src/rekey_distributor/quotas.py",
        "self.bus.replace(Stream.QUOTAS, subject, self.bus.pack(ledger), previous)",
        "self.bus.publish(Stream.QUOTAS, subject, self.bus.pack(ledger)), previous",
        ("tests/system/test_leases.py::test_replicas_that_race_and_start_again_give_a_budget_once",),
    ),
    Mutant(
        "budget: a ledger that does not verify counts as empty",
        "services/distributor/src/rekey_distributor/quotas.py",
        "            return BUDGET",
        "            return 0",
        ("tests/system/test_leases.py::test_a_ledger_that_does_not_verify_gives_nothing",),
    ),
    Mutant(
        "connection: what comes after the end of a subscription was confirmed is dropped",
        "shared/runtime/src/rekey_runtime/link.py",
        "    await asyncio.sleep(LATE_S)\n",
        "",
        ("tests/system/test_renewal.py",),
    ),
    Mutant(
        "quota: encrypt takes no permit",
        "shared/client/src/rekey/keyring.py",
        "held.quota.take()",
        "held.quota",
        ("tests/unit/rekey/test_renewing.py",),
    ),
    Mutant(
        "quota: encrypt takes a permit from each block alone",
        "shared/client/src/rekey/keyring.py",
        "                permit()\n",
        "",
        ("tests/unit/rekey/test_renewing.py", "tests/unit/rekey/test_keyring.py"),
    ),
    Mutant(
        "encrypt: a call that something overtook protects with what it found before",
        "shared/client/src/rekey/keyring.py",
        "if key.view is view and not key.closed:",
        "if not key.closed:",
        ("tests/unit/rekey/test_keyring.py",),
    ),
    Mutant(
        "encrypt: a call that the closing overtook is let in",
        "shared/client/src/rekey/keyring.py",
        "if key.view is view and not key.closed:",
        "if key.view is view:",
        ("tests/unit/rekey/test_keyring.py",),
    ),
    Mutant(
        "quota: a total that comes again is added again",
        "shared/client/src/rekey/quota.py",
        "more = max(0, total - self.total)",
        "more = total",
        ("tests/unit/rekey/test_quota.py",),
    ),
    Mutant(
        "lease: counted from when the answer came",
        "shared/client/src/rekey/renewing.py",
        "_take(keys[name], leased, sent)",
        "_take(keys[name], leased, boottime())",
        ("tests/unit/rekey/test_renewing.py",),
    ),
    Mutant(
        "lease: data is decrypted after its end",
        "shared/client/src/rekey/keyring.py",
        "if lease.now() >= lease.until:\n            lease.check(self._key.name)",
        "if lease.until is None:\n            lease.check(self._key.name)",
        ("tests/unit/rekey/test_keyring.py",),
    ),
    Mutant(
        "lease: data is encrypted after its end",
        "shared/client/src/rekey/keyring.py",
        "if lease.now() >= lease.until:\n            lease.check(key.name)",
        "if lease.until is None:\n            lease.check(key.name)",
        ("tests/unit/rekey/test_keyring.py",),
    ),
    Mutant(
        "lease: on a clock that stands still while the machine sleeps",
        "shared/client/src/rekey/lease.py",
        'getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)',
        "time.CLOCK_MONOTONIC",
        ("tests/unit/rekey/test_lease.py",),
    ),
    Mutant(
        "spans: whatever somebody calls an attribute is one",
        "shared/runtime/src/rekey_runtime/telemetry.py",
        "{Attribute(key).value: value",
        "{str(key): value",
        ("tests/unit/rekey_runtime/test_telemetry.py",),
    ),
    Mutant(
        "metrics: a label has the value that somebody made up",
        "shared/runtime/src/rekey_runtime/metrics.py",
        "return value if value in LABELS[label] else OTHER",
        "return value",
        ("tests/unit/rekey_runtime/test_metrics.py",),
    ),
    Mutant(
        "audit: alarms about keys of others are shown",
        "services/audit/src/rekey_audit/questions.py",
        "if _may_see_alert(ledger, trust, person, alert.model.subject)",
        "if alert",
        ("tests/unit/rekey_audit/test_questions.py",),
    ),
    *GUARDS,
    *IDENTITY,
    Mutant(
        "rows: they decide where audit begins to judge",
        "services/audit/src/rekey_audit/recalling.py",
        "self.ledger.recall(min(applied.sequence, acknowledged), summaries)",
        "self.ledger.recall(applied.sequence, summaries)",
        ("tests/system/test_database.py",),
    ),
    Mutant(
        "rows: they decide whether the scheduler looks at a key",
        "services/rotation-scheduler/src/rekey_rotation_scheduler/rows.py",
        "return due + [key for key in self.until if key not in due][:LOOKS]",
        "return due",
        ("tests/unit/rekey_rotation_scheduler/test_rows.py",),
    ),
    Mutant(
        "database: everybody may connect and make temporary tables",
        "deploy/provision/src/rekey_provision/database.py",
        'await inside.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")',
        "pass",
        ("tests/attacks/test_database_roles.py",),
    ),
)


if __name__ == "__main__":
    sys.exit(main(MUTANTS))
