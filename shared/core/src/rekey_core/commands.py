"""People's commands: canonical JSON under an SSHSIG, judged at the time the log accepted them (DESIGN §3)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from rekey_core.contracts import COMMAND_NAMESPACE, MAX_COMMAND_LIFETIME_S, AnyCommand, Command, SignedCommand
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json, sha256_hex
from rekey_core.errors import (
    AuthorityError,
    ExpiredError,
    ForeignEnvironmentError,
    NotInScopeError,
    SchemaError,
)
from rekey_core.names import Role
from rekey_core.sshsig import sign
from rekey_core.trust import Trust, verify_person

CLOCK_SKEW_S: Final = 60  # how far the author's clock may be ahead of the log's (notes: reliability §7)
ROLE_OF_VERB: Final = {
    "register": Role.OWNER,
    "rotate": Role.OWNER,
    "suspend": Role.RESPONDER,
    "revoke": Role.RESPONDER,
}
_COMMAND: Final[TypeAdapter[AnyCommand]] = TypeAdapter(AnyCommand)


def command_id(signed: SignedCommand) -> str:
    """SHA-256 (hex) of the signed bytes."""
    return sha256_hex(b64u_decode(signed.payload))


def payload_of(command: Command) -> bytes:
    """The bytes that the author signs."""
    return canonical_json(command.model_dump(mode="json"))


def sign_command(command: Command, private_openssh_pem: bytes) -> SignedCommand:
    """Sign with an SSH key file."""
    payload = payload_of(command)
    return SignedCommand(
        payload=b64u_encode(payload), sshsig=sign(private_openssh_pem, payload, COMMAND_NAMESPACE)
    )


def read_command(signed: SignedCommand) -> AnyCommand:
    """What the bytes say, not verified: for display and to find the author's key.

    Raises:
        SchemaError: not a command, or not canonical.
    """
    payload = b64u_decode(signed.payload)
    try:
        command = _COMMAND.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = f"command: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise SchemaError(message) from error
    if payload_of(command) != payload:
        message = "command: expected canonical JSON"
        raise SchemaError(message)
    return command


def verify_command(signed: SignedCommand, *, trust: Trust, env: str, at: datetime) -> AnyCommand:
    """The command, if its author may give it.

    Args:
        signed: payload and SSHSIG.
        trust: who is who; the document in force ``at`` that time counts.
        env: the environment it must be for.
        at: when the log accepted it.

    Raises:
        SchemaError, SignatureError, ForeignEnvironmentError: not a command of ours.
        ExpiredError: accepted outside its lifetime, or made for a longer one than is allowed.
        AuthorityError: the author is unknown or has not the role. NotInScopeError: the key is out of scope.
    """
    command = read_command(signed)
    if command.env != env:
        message = f"command for {command.env}, expected {env}"
        raise ForeignEnvironmentError(message)
    trust = trust.at(at)
    person = trust.person(command.author)
    payload = b64u_decode(signed.payload)
    verify_person(person, signed.sshsig, payload, namespace=COMMAND_NAMESPACE, name=command.author)
    _check_time(command, at)
    role = ROLE_OF_VERB[command.VERB]
    if not trust.has_role(command.author, role):
        message = f"{command.VERB} {command.key}: {command.author} is not {role}"
        raise AuthorityError(message, hint=f"ask somebody with the role {role}")
    if not trust.in_scope(command.author, command.key):
        message = f"{command.VERB} {command.key}: the key is not in the scope of {command.author}"
        raise NotInScopeError(
            message, hint=f"scopes of {command.author}: {', '.join(person.scopes) or 'none'}"
        )
    return command


def _check_time(command: Command, at: datetime) -> None:
    lifetime = (command.expires_at - command.issued_at).total_seconds()
    if not 0 < lifetime <= MAX_COMMAND_LIFETIME_S:
        message = f"command lives {lifetime:.0f} s, expected more than 0 and at most {MAX_COMMAND_LIFETIME_S}"
        raise ExpiredError(message)
    early = (command.issued_at - at).total_seconds()  # a difference cannot overflow, whatever year was signed
    if early > CLOCK_SKEW_S or at >= command.expires_at:
        valid = f"{command.issued_at:%H:%M:%S} to {command.expires_at:%H:%M:%S}"
        message = f"command is valid from {valid}, accepted at {at:%H:%M:%S}"
        raise ExpiredError(message, hint="give the command again, and check the clock")
