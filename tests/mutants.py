"""Breaks the code on purpose, one named mistake at a time, and wants a red test for each.

``tests/run --mutants [WORD ...]``: all, or those with one of the words in their name. How they are judged: ``mutating``.
Exit 0: every mutant was killed. 1: one survived. 2: a mutant does not fit the code.
"""

from __future__ import annotations

import sys
from typing import Final

from tests.mutating import Mutant, main

CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"

MUTANTS: Final = (
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
        "domain separation: a dependent's message is MACed without a label in front",
        f"{CORE}/confirmation.py",
        "return MAC_PREFIX + message",
        "return message",
        (f"{UNIT}/test_confirmation.py",),
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
        "lifecycle: a compromised version resumes",
        f"{CORE}/lifecycle.py",
        "(_S.COMPROMISED, _T.RESUME): None,",
        "(_S.COMPROMISED, _T.RESUME): _S.ACTIVE,",
        (f"{UNIT}/test_lifecycle.py",),
    ),
    Mutant(
        "lifecycle: deactivation lifts a suspension",
        f"{CORE}/lifecycle.py",
        "(_S.SUSPENDED, _T.DEACTIVATE): None,",
        "(_S.SUSPENDED, _T.DEACTIVATE): _S.DEACTIVATED,",
        (f"{UNIT}/test_lifecycle.py", f"{UNIT}/test_fold_void.py"),
    ),
    Mutant(
        "authority table: the distributor writes material",
        f"{CORE}/authority.py",
        'Appends(Identity.GENERATOR, "mat.{env}.*.*", Stream.MATERIAL),',
        'Appends(Identity.DISTRIBUTOR, "mat.{env}.*.*", Stream.MATERIAL),',
        (f"{UNIT}/test_authority.py",),
    ),
    Mutant(
        "authority table: an application reads all notices",
        f"{CORE}/authority.py",
        'Reads(Identity.APPLICATION, Stream.NOTICES, Form.SUBJECT, "ntc.{env}.{self}.*"),',
        "Reads(Identity.APPLICATION, Stream.NOTICES, Form.BODY),",
        (f"{UNIT}/test_authority.py",),
    ),
    Mutant(
        "signature check: a message's signature is not looked at",
        f"{CORE}/signing.py",
        "Ed25519PublicKey.from_public_bytes(public_raw).verify(signature, pae(payload_type, payload))",
        "Ed25519PublicKey.from_public_bytes(public_raw)",
        (f"{UNIT}/test_signing.py",),
    ),
    Mutant(
        "signature check: the type is not under the signature",
        f"{CORE}/signing.py",
        "verify(signature, pae(payload_type, payload))",
        'verify(signature, pae("", payload))',
        (f"{UNIT}/test_signing.py",),
    ),
    Mutant(
        "signature check: a person's command is not verified",
        f"{CORE}/commands.py",
        "    verify_person(person, signed.sshsig, payload, namespace=COMMAND_NAMESPACE, name=command.author)",
        "    _ = payload",
        (f"{UNIT}/test_commands.py",),
    ),
    Mutant(
        "two people: one is enough",
        f"{CORE}/commands.py",
        "if len(people) < rule.people:",
        "if not people:",
        (f"{UNIT}/test_two_people.py",),
    ),
    Mutant(
        "two people: the second signature is not verified",
        f"{CORE}/commands.py",
        "        verify_person(person, cosignature.sshsig, payload, namespace=COMMAND_NAMESPACE, name=name)",
        "        _ = person",
        (f"{UNIT}/test_two_people.py",),
    ),
    Mutant(
        "two people: the second may be anybody",
        f"{CORE}/commands.py",
        "        _check_may(command, name, rule.cosigners, trust)\n",
        "",
        (f"{UNIT}/test_two_people.py",),
    ),
    Mutant(
        "check subject: of a version instead of the key",
        f"{CORE}/authority.py",
        'return f"evt.{self.env}.{_token(key)}.>"',
        'return f"evt.{self.env}.{_token(key)}.0.>"',
        (f"{UNIT}/test_authority.py",),
    ),
    Mutant(
        "check sequence: a fact need not have seen the fact before",
        f"{CORE}/fold.py",
        "if fact.checked != state.last_sequence or item.sequence <= state.last_sequence:",
        "if item.sequence <= state.last_sequence:",
        (f"{UNIT}/test_fold_void.py",),
    ),
    Mutant(
        "unwrap template: an opened secret may be wrapped to any key",
        "shared/hsm/src/rekey_hsm/templates.py",
        "    Attribute.WRAP_WITH_TRUSTED: True,\n    **_NO_USE,",
        "    Attribute.WRAP_WITH_TRUSTED: False,\n    **_NO_USE,",
        ("tests/attacks/test_hsm_templates.py",),
    ),
    Mutant(
        "activation rule: some instead of all live instances",
        f"{CORE}/adoption.py",
        "return all(proof.installed for proofs",
        "return any(proof.installed for proofs",
        (f"{UNIT}/test_adoption.py",),
    ),
    Mutant(
        "activation rule: a receipt without the right value counts",
        f"{CORE}/adoption.py",
        "    except SignatureError:\n        return False",
        "    except SignatureError:\n        return True",
        (f"{UNIT}/test_adoption.py",),
    ),
    Mutant(
        "deactivation rule: an instance need not say that it stopped",
        f"{CORE}/adoption.py",
        "(0 in held.stopped or older <= set(held.stopped))",
        "True",
        (f"{UNIT}/test_adoption.py",),
    ),
    Mutant(
        "authority of facts: one command to stop works again and again",
        f"{CORE}/fold.py",
        "    if item.model.cause in state.events_of:",
        "    if item.model.cause in ():",
        (f"{UNIT}/test_fold_void.py",),
    ),
    Mutant(
        "authority of facts: the owner's name is not held against her command",
        f"{CORE}/embedded.py",
        "        command.author,\n        command.key_class,",
        "        fact.owner,\n        command.key_class,",
        (f"{UNIT}/test_fold_void.py",),
    ),
    Mutant(
        "trust: the quorum of the new document is believed",
        f"{CORE}/trust.py",
        "if len(officers) < self.document.quorum:",
        "if len(officers) < document.quorum:",
        (f"{UNIT}/test_trust.py",),
    ),
    Mutant(
        "destruction: one person is enough",
        f"{CORE}/commands.py",
        '"destroy": Rule(Role.OWNER, people=2,',
        '"destroy": Rule(Role.OWNER, people=1,',
        (f"{UNIT}/test_destruction.py", "tests/unit/rekey_generator/test_destroying.py"),
    ),
    Mutant(
        "destruction: by whoever is an owner of something",
        f"{CORE}/fold.py",
        """    command = commanded(item, signed, kind, trust)
    if command.author != state.owner:""",
        """    command = commanded(item, signed, kind, trust)
    if not command.author:""",
        (f"{UNIT}/test_destruction.py",),
    ),
    Mutant(
        "destruction: the scheduler says how long the delay is",
        f"{CORE}/destruction.py",
        "moment = max(item.model.not_before, item.stored_at + delay)",
        "moment = item.model.not_before",
        (f"{UNIT}/test_destruction.py",),
    ),
    Mutant(
        "destruction: the fold takes a destroyed before its time",
        f"{CORE}/destruction.py",
        "    if not pending.is_due(item.stored_at):",
        "    if not pending.is_due(pending.not_before):",
        (f"{UNIT}/test_destruction.py",),
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
        "destruction: a cancellation need not have seen the key as it is",
        f"{CORE}/destruction.py",
        "    if command.seen != last_sequence:",
        "    if command.seen > last_sequence:",
        (f"{UNIT}/test_destruction.py",),
    ),
    Mutant(
        "destruction: any environment becomes one for development",
        f"{CORE}/trust.py",
        "        if document.development and not self.is_development:",
        "        if document.development and not document.development:",
        (f"{UNIT}/test_destruction.py",),
    ),
    Mutant(
        "commands: an expired one is accepted",
        f"{CORE}/commands.py",
        "or at >= command.expires_at:",
        "or at > command.expires_at:",
        (f"{UNIT}/test_commands.py",),
    ),
    Mutant(
        "budget: a version gives more than it has",
        f"{CORE}/quotas.py",
        "min(wanted, MOST, BUDGET - allotted)",
        "min(wanted, MOST)",
        (f"{UNIT}/test_quotas.py",),
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
        "quota: encrypt takes no permit",
        "shared/client/src/rekey/keyring.py",
        "held.quota.take()",
        "held.quota",
        ("tests/unit/rekey/test_renewing.py",),
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
        "_take(key, answer.keys[name], sent)",
        "_take(key, answer.keys[name], boottime())",
        ("tests/unit/rekey/test_renewing.py",),
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
    Mutant(
        "contracts: a message may have unknown fields",
        f"{CORE}/contracts/base.py",
        'extra="forbid"',
        'extra="ignore"',
        ("tests/contract/test_schemas.py", f"{UNIT}/test_commands.py"),
    ),
)


if __name__ == "__main__":
    sys.exit(main(MUTANTS))
