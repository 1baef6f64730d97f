"""People who see to backups: the program as they start it, and what an altered bundle would say."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rekey_backup import bundle as bundles
from rekey_backup import restore as restores
from rekey_core.contracts import (
    BackedUp,
    BackupRecord,
    DrillOrder,
    Fact,
    Generated,
    RestoreOrder,
    RotationRequested,
    event_id,
)
from rekey_core.encoding import b64u_encode, sha256_hex
from rekey_core.envelope import BusMessage
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST
from rekey_core.sshsig import sign as ssh_sign
from tests.attacks.intruder import Intruder
from tests.system.stack import RunningStack

Said = dict[str, Any]
RETIRED: Final = 9  # an epoch of backup KEKs that no token has
_NUMBERS: Final = itertools.count()
_OLD: Final = b"wrapped long ago"


@dataclass(frozen=True)
class Desk:
    """Where people work with backups: a directory for their files."""

    stack: RunningStack
    place: Path

    def run(self, action: str, *options: str, settings: str = "token.toml") -> tuple[int, Said, str]:
        """The program's exit code, its answer, its words."""
        backup = self.stack.layout.backup
        environment = {name: value for name, value in os.environ.items() if name != "SOFTHSM2_CONF"}
        done = subprocess.run(
            [sys.executable, "-m", "rekey_backup", action, "--settings", str(backup / settings), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    def export(self) -> None:
        code, _, words = self.run("export", "--bundle", self.file("bundle"), settings="settings.toml")
        assert code == 0, words

    def file(self, name: str) -> str:
        return str(self.place / name)

    def signed(self, name: str, *officers: str, namespace: str = DrillOrder.NAMESPACE) -> list[str]:
        """What the officers' ``ssh-keygen -Y sign`` makes, as options."""
        options = []
        for officer in officers:
            key = (self.stack.layout.person(officer) / "id_ed25519").read_bytes()
            signature = self.place / f"{name}.{officer}.sig"
            signature.write_text(ssh_sign(key, (self.place / name).read_bytes(), namespace))
            options += ["--officer-signature", f"{officer}={signature}"]
        return options

    def planned_restore(self) -> list[str]:
        """What would come back; neither a token nor an officer is needed to ask."""
        code, plan, words = self.run("restore", f"--bundle={self.file('bundle')}", "--plan")
        assert code == 0, words
        return list(plan["would_restore"])

    def planned_import(self) -> int:
        """How many versions the generator would be given."""
        code, plan, words = self.run(
            "import", f"--restored={self.file('restored')}", "--plan", settings="settings.toml"
        )
        assert code == 0, words
        return len(plan["would_restore"])

    def restored(self, epoch: int) -> int:
        """The offline half of a restore, by two officers and not by one; how many versions it has wrapped."""
        said = ("--order", self.file("order"), "--reason", "both tokens are lost", "--epoch", str(epoch))
        assert self.run("order", *said)[0] == 0
        files = [f"--{name}={self.file(name)}" for name in ("bundle", "order", "restored")]
        alone = self.signed("order", "oliver", namespace=RestoreOrder.NAMESPACE)
        code, _, words = self.run("restore", *files, *alone)
        assert (code, Path(self.file("restored")).exists()) == (4, False), words
        both = self.signed(
            "order", "odile", "olga", namespace=RestoreOrder.NAMESPACE
        )  # oliver is lost as well
        code, made, words = self.run("restore", *files, *both)
        assert code == 0, words
        return int(made["wrapped"])

    def offered_as(self, name: str, key: str) -> str:
        """What the generator says when a version's blob is offered as that of another key's first one."""
        made = restores.read(Path(self.file("restored")))
        offer = next(one for one in made if f"{one.key}@{one.version}" == name)
        other = Path(self.file("other"))
        restores.write(other, [offer.model_copy(update={"key": key, "version": 1})])
        code, _, words = self.run("import", "--restored", str(other), settings="settings.toml")
        assert code == 1
        return words

    def start(self, action: str, *options: str, settings: str) -> subprocess.Popen[str]:
        """The program, not waited for."""
        where = str(self.stack.layout.backup / settings)
        command = [sys.executable, "-m", "rekey_backup", action, "--settings", where, *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def attested(self, *officers: str, plan: bool = False) -> tuple[int, str]:
        """What becomes of the attestation that these officers signed: the exit code and what is said."""
        options = [f"--attestation={self.file('attestation')}", *self.signed("attestation", *officers)]
        options += ["--plan"] if plan else []
        code, _, words = self.run("attest", *options, settings="settings.toml")
        return code, words

    def drill(self, *officers: str, document: str | None = None) -> tuple[int, Said, str]:
        code, _, words = self.run("order", "--order", self.file("order"), "--reason", "quarterly")
        assert code == 0, words
        files = [f"--{name}={self.file(name)}" for name in ("bundle", "order", "attestation")]
        files.append(f"--sandbox={self.file('sandbox-')}{'-'.join(officers)}-{next(_NUMBERS)}")
        files += [f"--document={document}"] if document else []
        return self.run("drill", *files, *self.signed("order", *officers))


async def spoil(watcher: Intruder, desk: Desk, key: str) -> None:
    """The bundle as if version 3 were backed up under a retired KEK, and somebody had put version 1's backup back."""
    found, state = bundles.read(Path(desk.file("bundle"))), await watcher.state(key)
    made = state.versions[2].generated
    assert made is not None
    log = _Log(watcher, key, state.last_sequence, max(m.sequence for m in found.facts))
    request = log.said(RotationRequested, "time-3", reason="time", deadline=datetime.now(UTC))
    again = log.said(Generated, str(request.id), **_what(made.model) | {"key_id": 3})
    log.said(BackedUp, str(again.id), backup_epoch=RETIRED, blob_digest=sha256_hex(_OLD))
    backups = [m for m in found.backups if m.subject != watcher.subjects.backup(key, 1)]
    backups += [_backup(watcher, key, 3, RETIRED), _backup(watcher, key, 1, 1)]
    bundles.write(
        Path(desk.file("bundle")),
        replace(found, facts=(*found.facts, *log.messages), backups=tuple(backups)),
    )


class _Log:
    """Facts about version 3, signed by their authors, that only a bundle has."""

    def __init__(self, watcher: Intruder, key: str, checked: int, newest: int) -> None:
        self.messages: list[BusMessage] = []
        self._watcher, self._key, self._checked, self._newest = watcher, key, checked, newest

    def said(self, kind: type[Fact], cause: str, **fields: Any) -> Fact:
        watcher, now = self._watcher, datetime.now(UTC)
        body = {"id": event_id(cause, kind.TYPE, watcher.env, self._key, 3), "env": watcher.env}
        body |= {"key": self._key, "version": 3, "author": kind.AUTHOR, "checked": self._checked}
        fact = kind.model_validate(body | {"cause": cause, "policy": POLICY_DIGEST, "at": now} | fields)
        place = watcher.subjects.fact(self._key, 3, fact.author, fact.EVENT, fact.id.hex)
        packed = watcher.pack(fact, kind.AUTHOR)
        self._newest += 1
        self._checked = self._newest
        self.messages.append(BusMessage("LIFECYCLE", place, packed.headers, packed.data, self._newest, now))
        return fact


def _what(made: Generated) -> Said:
    names = {"algorithm", "release", "epoch", "blob_digest", "commitment"}
    return made.model_dump(include=names)


def _backup(watcher: Intruder, key: str, version: int, epoch: int) -> BusMessage:
    now = datetime.now(UTC)
    record = BackupRecord(
        env=watcher.env,
        key=key,
        version=version,
        backup_epoch=epoch,
        blob=b64u_encode(_OLD),
        commitment="0" * 64,
        cause="nobody",
        at=now,
    )
    packed = watcher.pack(record, Service.GENERATOR)
    return BusMessage("MATERIAL", watcher.subjects.backup(key, version), packed.headers, packed.data, 1, now)
