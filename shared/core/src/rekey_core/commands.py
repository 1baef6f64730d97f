"""People's commands: canonical JSON under an SSHSIG, judged at the time the log accepted them (DESIGN §3).

Two people = one signed body with two people's detached SSHSIGs. ``RULES`` says which verbs need them; whoever acts on a
command verifies all of them, and so does everybody who later reads the fact that carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    MAX_COMMAND_LIFETIME_S,
    MAX_COSIGNED_LIFETIME_S,
    AnyCommand,
    Command,
    Cosignature,
    SignedCommand,
)
from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json, sha256_hex
from rekey_core.errors import (
    AuthorityError,
    ExpiredError,
    ForeignEnvironmentError,
    NotInScopeError,
    SchemaError,
    SignatureError,
)
from rekey_core.names import Role
from rekey_core.sshsig import sign
from rekey_core.trust import Trust, verify_person
from rekey_core.validation import what_is_wrong

CLOCK_SKEW_S: Final = 60  # how far the author's clock may be ahead of the log's (notes: reliability §7)


@dataclass(frozen=True)
class Rule:
    """Who may give a command: its author's role, how many people it takes in all, and what role the others must have."""

    role: Role
    people: int = 1
    cosigners: frozenset[Role] = frozenset()

    @property
    def lifetime_s(self) -> int:
        """How long such a command may live, in seconds."""
        return MAX_COMMAND_LIFETIME_S if self.people == 1 else MAX_COSIGNED_LIFETIME_S


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "register": Rule(Role.OWNER),
        "rotate": Rule(Role.OWNER),
        "suspend": Rule(Role.RESPONDER),
        "revoke": Rule(Role.RESPONDER),
        "resume": Rule(Role.RESPONDER, people=2, cosigners=frozenset({Role.OWNER, Role.RESPONDER})),
        "waive": Rule(Role.OWNER),
        "destroy": Rule(Role.OWNER, people=2, cosigners=frozenset({Role.OWNER, Role.RESPONDER})),
        "destroy-cancel": Rule(Role.OWNER),
        "force": Rule(Role.OWNER, people=2, cosigners=frozenset({Role.OWNER, Role.RESPONDER})),
    }
)
_KEPT: Final = (
    256  # commands: each fact that follows from one carries it, and whoever folds them reads it for each
)
_MOMENT: Final = timedelta(microseconds=1)
_KEPT_CHARS: Final = 4096  # larger ones are rare
_COMMAND: Final[TypeAdapter[AnyCommand]] = TypeAdapter(AnyCommand, config=ConfigDict(defer_build=True))


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
    return _kept(signed.payload) if len(signed.payload) <= _KEPT_CHARS else _read(signed.payload)


def _read(text: str) -> AnyCommand:
    payload = b64u_decode(text)
    try:
        command = _COMMAND.validate_json(payload)
    except ValidationError as error:
        message = f"command: {what_is_wrong(error)}"
        raise SchemaError(message) from None
    if payload_of(command) != payload:
        message = "command: expected canonical JSON"
        raise SchemaError(message)
    return command


_kept = lru_cache(maxsize=_KEPT)(_read)  # what the bytes say depends on nothing else, and does not change


def verify_command(signed: SignedCommand, *, trust: Trust, env: str, at: datetime) -> AnyCommand:
    """The command, if its author, and as many other people as its verb needs, may give it.

    Args:
        signed: payload, SSHSIG, cosignatures.
        trust: who is who; the document in force ``at`` that time counts.
        env: the environment it must be for.
        at: when the log accepted it.

    Raises:
        SchemaError, SignatureError, ForeignEnvironmentError: not a command of ours.
        ExpiredError: accepted outside its lifetime, or made for a longer one than is allowed.
        AuthorityError: somebody is unknown, has not the role, signs twice, or is missing.
        NotInScopeError: the key is out of somebody's scope.
    """
    command = read_command(signed)
    if command.env != env:
        message = f"command for {command.env}, expected {env}"
        raise ForeignEnvironmentError(message)
    trust = trust.at(at)
    person = trust.person(command.author)
    payload = b64u_decode(signed.payload)
    verify_person(person, signed.sshsig, payload, namespace=COMMAND_NAMESPACE, name=command.author)
    rule = RULES[command.VERB]
    _check_time(command, at, rule.lifetime_s)
    check_author(command, trust)
    _check_cosigners(command, signed, rule, trust)
    return command


def verify_accepted(signed: SignedCommand, *, trust: Trust, env: str, stored_at: datetime) -> AnyCommand:
    """The command as the log may have accepted it: at its issue, or at the last moment before it ran out.

    ``COMMANDS`` judges expiry on its own time stamp, in the acting service; what carries the command may be stored long
    after, when that service was down, or tell it again and again. Whoever has only that, stored at ``stored_at``, can
    hold "not from the future" against it. Between the two moments its author may have come or gone, or got another key, and
    by the author's clock they lie elsewhere; the acting service, which knows the exact one, has seen either.

    Raises as ``verify_command``.
    """
    command = read_command(signed)
    first = min(stored_at, command.issued_at)
    try:
        return verify_command(signed, trust=trust, env=env, at=first)
    except (AuthorityError, NotInScopeError, SignatureError):
        last = _last_moment(command, first, stored_at)
        if trust.at(last) is trust.at(first):
            raise
        return verify_command(signed, trust=trust, env=env, at=last)


def _last_moment(command: Command, first: datetime, stored_at: datetime) -> datetime:
    """Counted from ``first``: whatever year stands in a command, that cannot be out of range."""
    if command.expires_at > stored_at:
        return stored_at
    return first + max(timedelta(0), command.expires_at - first - _MOMENT)


def check_author(command: Command, trust: Trust) -> None:
    """Return if the command's author may give it; whether they did is for ``verify_command`` to say.

    Raises:
        AuthorityError: unknown, or without the role.
        NotInScopeError: the key is out of the author's scope.
    """
    _check_may(command, command.author, frozenset({RULES[command.VERB].role}), trust)


def cosigned(signed: SignedCommand, sshsig: str, trust: Trust) -> SignedCommand:
    """The command with one more person's detached SSHSIG, such as ``ssh-keygen -Y sign -n rekey-cmd@v1`` writes it.

    The person is found by the key. Whether they count is for ``verify_command`` to say.

    Raises:
        SignatureError: nobody in the trust document signed this body so.
    """
    payload = b64u_decode(signed.payload)
    first: SignatureError | None = None
    for name, person in trust.document.people.items():
        try:
            verify_person(person, sshsig, payload, namespace=COMMAND_NAMESPACE, name=name)
        except SignatureError as error:
            first = first or error
        else:
            more = (*signed.cosignatures, Cosignature(person=name, sshsig=sshsig))
            return SignedCommand(payload=signed.payload, sshsig=signed.sshsig, cosignatures=more)
    message = f"cosignature: nobody in trust document {trust.n} signed this body in {COMMAND_NAMESPACE}"
    raise SignatureError(message, hint="sign exactly the body file: rekey sign BODY") from first


def _check_may(command: Command, name: str, roles: frozenset[Role], trust: Trust) -> None:
    expected = " or ".join(sorted(roles))
    if not any(trust.has_role(name, role) for role in roles):
        message = f"{command.VERB} {command.key}: {name} is not {expected}"
        raise AuthorityError(message, hint=f"ask somebody with the role {expected}")
    if not trust.in_scope(name, command.key):
        message = f"{command.VERB} {command.key}: the key is not in the scope of {name}"
        scopes = ", ".join(trust.person(name).scopes) or "none"
        raise NotInScopeError(message, hint=f"scopes of {name}: {scopes}")


def _check_cosigners(command: Command, signed: SignedCommand, rule: Rule, trust: Trust) -> None:
    """Every cosignature must be a good one: a signature that does not count would only look as if it did."""
    payload = b64u_decode(signed.payload)
    people = {command.author}
    for cosignature in signed.cosignatures:
        name = cosignature.person
        if rule.people == 1 or name in people:
            found = f"{name} signed already" if name in people else "its author alone gives it"
            raise AuthorityError(f"{command.VERB} {command.key}: a second signature by {name}: {found}")
        person = trust.person(name)
        verify_person(person, cosignature.sshsig, payload, namespace=COMMAND_NAMESPACE, name=name)
        _check_may(command, name, rule.cosigners, trust)
        people.add(name)
    if len(people) < rule.people:
        message = (
            f"{command.VERB} {command.key}: expected {rule.people} people, found {', '.join(sorted(people))}"
        )
        raise AuthorityError(message, hint="have another person sign the same body: rekey sign BODY")


def _check_time(command: Command, at: datetime, limit_s: int) -> None:
    lifetime = (command.expires_at - command.issued_at).total_seconds()
    if not 0 < lifetime <= limit_s:
        message = f"command lives {lifetime:.0f} s, expected more than 0 and at most {limit_s}"
        raise ExpiredError(message)
    early = (command.issued_at - at).total_seconds()  # a difference cannot overflow, whatever year was signed
    if early > CLOCK_SKEW_S or at >= command.expires_at:
        valid = f"{command.issued_at:%H:%M:%S} to {command.expires_at:%H:%M:%S}"
        message = f"command is valid from {valid}, accepted at {at:%H:%M:%S}"
        raise ExpiredError(message, hint="give the command again, and check the clock")
