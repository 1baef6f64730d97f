"""The mistakes that ``mutants`` makes in the words and rules, ``rekey_core``."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"

MUTANTS: Final = (
    Mutant(
        "domain separation: a dependent's message is MACed without a label in front",
        f"{CORE}/confirmation.py",
        "return MAC_PREFIX + message",
        "return message",
        (f"{UNIT}/test_confirmation.py",),
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
        "activation rule: some instead of all live instances",
        f"{CORE}/adoption.py",
        "return all(proof.installed or proof.waived for proofs",
        "return any(proof.installed or proof.waived for proofs",
        (f"{UNIT}/test_adoption.py",),
    ),
    Mutant(
        "activation rule: what was proved once is held whatever a responder stopped since",
        f"{CORE}/adoption.py",
        "(leased and version not in held.refused)",
        "leased",
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
        "activation rule: whoever is missing may be passed over",
        f"{CORE}/waivers.py",
        "            if not is_waived(waived, count.dependent, instance):",
        "            if waived is None:",
        (f"{UNIT}/test_fold_waived.py",),
    ),
    Mutant(
        "authority of facts: a waiver for one version is good for another",
        f"{CORE}/waivers.py",
        "    if command.version != fact.version:",
        "    if not command.version:",
        (f"{UNIT}/test_fold_waived.py",),
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
        "contracts: a message may have unknown fields",
        f"{CORE}/contracts/base.py",
        'extra="forbid"',
        'extra="ignore"',
        ("tests/contract/test_schemas.py", f"{UNIT}/test_commands.py"),
    ),
)
