"""One body, two people: the author writes it to a file, another person signs that file, the author sends both signatures.

The file holds the very bytes that both sign, so ``ssh-keygen -Y sign -n rekey-cmd@v1 -f KEY BODY`` does what ``rekey sign``
does. Whatever would be refused is refused before it is sent: a body can be sent once only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from rekey.cli.confirm import is_interactive, need_yes, typed
from rekey.cli.context import Context
from rekey.cli.errors import UsageError
from rekey.cli.output import View, tell, when
from rekey.cli.parameters import Cosigned
from rekey.cli.signing import build_of, sign
from rekey.cli.target import Target
from rekey.cli.views import result_view
from rekey_core.commands import RULES, cosigned, payload_of, read_command, verify_command
from rekey_core.contracts import COMMAND_NAMESPACE, MAX_COSIGNATURES, Command, SignedCommand
from rekey_core.encoding import b64u_encode
from rekey_core.errors import RekeyError
from rekey_core.trust import Trust

MAX_BODY_BYTES: Final = 64 * 1024  # contracts.base.MAX_MESSAGE_BYTES


@dataclass(frozen=True)
class Papers:
    """The files of a command of two people; ``line`` is the command line that they belong to."""

    line: str
    reason: str | None
    out: Path | None
    body: Path | None
    cosign: tuple[Path, ...]

    @classmethod
    def of(cls, common: Cosigned, line: str) -> Papers:
        """What was typed.

        Raises:
            UsageError: it is not one of the steps.
        """
        steps = (bool(common.out), bool(common.body), common.plan)
        if sum(steps) != 1 or bool(common.body) is not bool(common.cosign):
            text = f"{line}: expected --out, or --body with --cosign, or --plan"
            raise UsageError(text, hint=f"begin with: rekey {line} --reason WHY --out BODY")
        if bool(common.reason) is bool(common.body):
            text = f"{line}: expected --reason with --out or --plan; what --body names has its reason inside"
            raise UsageError(text, hint=f"rekey {line} --help")
        if len(common.cosign) > MAX_COSIGNATURES:
            text = f"{line}: expected at most {MAX_COSIGNATURES} times --cosign, found {len(common.cosign)}"
            raise UsageError(text, hint="one other person is enough")
        return cls(line, common.reason, common.out, common.body, common.cosign)

    @cached_property
    def command(self) -> Command:
        """What the body says; read once, so that what was looked at is what is sent. Raises as ``read_body``."""
        return read_body(self.body or Path())

    def together(self, wanted: Command, context: Context, trust: Trust) -> tuple[Command, SignedCommand]:
        """The body's command with the author's signature and the others', verified as the services will.

        ``wanted``: what the command line says; the body must say the same but for when, why and nonce.

        Raises:
            UsageError: a file cannot be read, or the body says something else.
            RefusedError, MalformedError: as ``verify_command``: these are not two people who may do that.
        """
        command = self.command
        same = {name: getattr(wanted, name, None) for name in wanted.model_fields_set - _OWN}
        found = {name: getattr(command, name, None) for name in same}
        if command.VERB != wanted.VERB or found != same:
            text = f"{self.body}: expected {said(wanted)}, found {said(command)}"
            raise UsageError(text, hint=f"rekey {self.line} --reason WHY --out BODY writes another body")
        signed = sign(command, context)
        for path in self.cosign:
            signed = cosigned(signed, _text(path, "--cosign"), trust)
        verify_command(signed, trust=trust, env=context.env, at=datetime.now(UTC))
        return command, signed


_OWN: Final = frozenset({"nonce", "author_seq", "issued_at", "expires_at", "reason"})


def write_body(model: type[Command], context: Context, papers: Papers, target: Target, **fields: Any) -> View:  # noqa: ANN401 - the model types them
    """Write what both people sign; nothing is sent.

    Raises:
        UsageError: the file is there already or cannot be written, or a field is not what the command takes.
    """
    command = build_of(model, context, target, papers.reason or "", **fields)
    out = papers.out or Path()
    _create(out, payload_of(command))
    tell(
        f"{out}: {said(command)}",
        f"have another person sign it by {when(command.expires_at)}: rekey sign {out}",
        f"or: ssh-keygen -Y sign -n {COMMAND_NAMESPACE} -f THEIR_KEY {out}",
    )
    result = {
        "verb": command.VERB,
        "key": command.key,
        "version": target.version,
        "body": str(out),
        "expires": when(command.expires_at),
        "people": RULES[command.VERB].people,
        "next": f"rekey {papers.line} --body {out} --cosign {out}.sig",
    }
    return result_view(result)


def sign_body(path: Path, context: Context, *, yes: bool) -> View:
    """Show the body, ask, and write its detached signature beside it.

    Raises:
        UsageError: no body, or one of another environment, or one's own; or there is a signature already.
        NotConfirmedError: nobody said yes.
    """
    command = read_body(path)
    if command.env != context.env:
        raise UsageError(f"{path}: a command for {command.env}, expected {context.env}")
    if command.author == context.person:
        text = f"{path}: {context.person} is its author and does not count as second"
        raise UsageError(text, hint="have another person sign it")
    need_yes("sign", yes=yes, hint="read what it says at a terminal first, or give --yes")
    tell(said(command), f"reason: {command.reason}", f"valid until {when(command.expires_at)}")
    if not yes and is_interactive():
        typed("sign", Target(command.key, getattr(command, "version", 0)))
    signature = path.with_name(f"{path.name}.sig")
    _create(signature, sign(command, context).sshsig.encode())
    result = {
        "verb": command.VERB,
        "key": command.key,
        "version": getattr(command, "version", None),
        "author": command.author,
        "person": context.person,
        "signature": str(signature),
    }
    return result_view(result)


def read_body(path: Path) -> Command:
    """The command in a file; nobody has signed it yet.

    Raises:
        UsageError: the file cannot be read, or holds no command in canonical form.
    """
    payload = b64u_encode(_bytes(path, "body"))
    try:
        return read_command(SignedCommand(payload=payload, sshsig=""))
    except RekeyError as error:
        text = f"body {path}: {error}"
        raise UsageError(text, hint="expected the file exactly as --out wrote it") from error


def said(command: Command) -> str:
    """A command in a line: verb, what of, by whom."""
    fields = command.model_dump(mode="json", exclude={*_OWN, "type", "env", "key", "version", "author"})
    more = "".join(f", {name} {value}" for name, value in fields.items() if value is not None)
    target = Target(command.key, getattr(command, "version", 0))
    return f"{command.VERB} {target}{more}, by {command.author} in {command.env}"


def _create(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except OSError as error:
        text = f"{path}: {error.strerror}"
        raise UsageError(text, hint="expected the name of a file that is not there yet") from error


def _bytes(path: Path, what: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror}") from error
    if len(data) > MAX_BODY_BYTES:
        raise UsageError(f"{what} {path}: expected at most {MAX_BODY_BYTES} bytes, found {len(data)}")
    return data


def _text(path: Path, what: str) -> str:
    try:
        return _bytes(path, what).decode("ascii")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} {path}: expected an armored SSH signature") from error
