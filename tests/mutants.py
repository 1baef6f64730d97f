"""Breaks the code on purpose, one named mistake at a time, and wants a red test for each.

``tests/run --mutants [WORD ...]``: all, or those with one of the words in their name.

Each mutant is one replacement in one file of a copy of the working tree; the tests named beside it run in the copy, with
the copy's packages before the installed ones. Before that they run on the unbroken copy and must be green there, so that
red means the mutant and not the copy. Exit 0: every mutant was killed. 1: one survived. 2: a mutant does not fit the code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"
LEFT_OUT: Final = (".git", ".rekey", "__pycache__", "*.egg-info", "uv.lock")
TIME_LIMIT_S: Final = 300  # a mutant that hangs is killed as well
ALL_PASSED, SOME_FAILED = 0, 1  # pytest's exit codes; any other means that nothing was judged


@dataclass(frozen=True)
class Mutant:
    """A mistake that somebody could make, and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS: Final = (
    Mutant(
        "images: audit's has a PKCS#11 library",
        "deploy/Dockerfile",
        "FROM plain AS audit",
        "FROM hsm AS audit",
        ("tests/contract/test_images.py",),
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
        "contracts: a message may have unknown fields",
        f"{CORE}/contracts/base.py",
        'extra="forbid"',
        'extra="ignore"',
        ("tests/contract/test_schemas.py", f"{UNIT}/test_commands.py"),
    ),
)


class UnfitError(Exception):
    """A mutant does not fit the code any more, or its tests are not green without it."""


class SurvivedError(Exception):
    """No test noticed the mutant."""


@dataclass(frozen=True)
class Copy:
    """A copy of the tree in which nothing is lost when it is broken."""

    root: Path

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """Exit code and output of pytest in the copy. A time-out counts as a failure."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--quiet",
            "--exitfirst",
            "--no-header",
        ]
        try:
            done = subprocess.run(
                [*command, *tests],
                cwd=self.root,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return SOME_FAILED, f"no end within {TIME_LIMIT_S} s"
        return done.returncode, done.stdout + done.stderr

    def check_packages(self) -> None:
        """Raise if the tests in the copy would import the packages of the tree."""
        where = "import rekey_core, rekey_hsm; print(rekey_core.__file__); print(rekey_hsm.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", where],
            cwd=self.root,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        foreign = [file for file in found if not Path(file).is_relative_to(self.root)]
        if foreign:
            raise UnfitError(f"expected packages of the copy, found {', '.join(foreign)}")

    def judge(self, mutant: Mutant) -> str:
        """The first failed test.

        Raises:
            UnfitError: the old text is not there exactly once, or nothing was judged.
            SurvivedError: its tests are green.
        """
        file = self.root / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise UnfitError(
                f"{mutant.file}: expected the old text once, found it {text.count(mutant.old)} times"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        try:
            code, output = self.run(mutant.tests)
        finally:
            file.write_text(text)
        if code == ALL_PASSED:
            raise SurvivedError(mutant.name)
        if code != SOME_FAILED:
            raise UnfitError(f"pytest ended with {code}: {output[-600:]}")
        failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR", "no end"))]
        return failed[0] if failed else "red"

    def _environment(self) -> dict[str, str]:
        packages = sorted(str(path) for path in self.root.glob("*/*/src"))
        return os.environ | {"PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge every mutant whose name has one of the words; all without words."""
    parser = argparse.ArgumentParser(
        prog="tests/run --mutants", description="named mutants; each must turn a test red"
    )
    parser.add_argument("words", nargs="*", help="only mutants with one of these words in their name")
    words = parser.parse_args(arguments).words
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    if not chosen:
        _say(f"no mutant has {' or '.join(words)} in its name")
        return 2
    with tempfile.TemporaryDirectory(prefix="rekey-mutants-") as directory:
        copy = Copy(Path(directory).resolve() / "tree")
        shutil.copytree(ROOT, copy.root, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        return _judge_all(copy, chosen)


def _judge_all(copy: Copy, mutants: Sequence[Mutant]) -> int:
    try:
        copy.check_packages()
        _check_green(copy, sorted({test for m in mutants for test in m.tests}))
    except UnfitError as error:
        _say(f"UNFIT     {error}")
        return 2
    verdicts = [_verdict(copy, mutant) for mutant in mutants]
    _say(f"{verdicts.count('killed')} of {len(mutants)} mutants killed")
    return 2 if "UNFIT" in verdicts else 1 if "SURVIVED" in verdicts else 0


def _check_green(copy: Copy, tests: Sequence[str]) -> None:
    began = time.monotonic()
    code, output = copy.run(tests)
    if code != ALL_PASSED:
        raise UnfitError(f"the tests are not green without a mutant: {output[-1500:]}")
    _say(f"green     without a mutant ({time.monotonic() - began:.1f} s)")


def _verdict(copy: Copy, mutant: Mutant) -> str:
    began = time.monotonic()
    try:
        verdict, why = "killed", copy.judge(mutant)
    except SurvivedError:
        verdict, why = "SURVIVED", " ".join(mutant.tests)
    except UnfitError as error:
        verdict, why = "UNFIT", str(error)
    _say(f"{verdict:9} {mutant.name} ({time.monotonic() - began:.1f} s): {why[:160]}")
    return verdict


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
