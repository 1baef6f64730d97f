"""What facts carry inside: the command that gives them their authority, and the public key of a version.

Whoever reads a fact verifies this itself, so that nobody who may append can claim an authority that is not there.
"""

from __future__ import annotations

from typing import TypeVar

from rekey_core.commands import command_id, verify_accepted
from rekey_core.confirmation import spki_commitment
from rekey_core.contracts import (
    Command,
    Compromised,
    Fact,
    Generated,
    Register,
    Registered,
    Revoke,
    Rotate,
    RotationRequested,
    SignedCommand,
    Suspend,
    Suspended,
)
from rekey_core.encoding import b64u_decode
from rekey_core.envelope import Stored
from rekey_core.errors import AuthorityError, SchemaError
from rekey_core.policy import check_registration, class_named
from rekey_core.signatures import SCHEMES, public_key_of
from rekey_core.trust import Trust

C = TypeVar("C", bound=Command)


def commanded(item: Stored[Fact], signed: SignedCommand, kind: type[C], trust: Trust) -> C:
    """The command inside a fact, if it is of this kind, about this key, and the fact's cause.

    Raises:
        MalformedError, RefusedError: leaves as ``verify_command`` raises them, and AuthorityError for the rest.
    """
    fact = item.model
    command = verify_accepted(signed, trust=trust, env=fact.env, stored_at=item.stored_at)
    if not isinstance(command, kind) or command.key != fact.key:
        raise AuthorityError(f"{fact.EVENT} of {fact.key} carries a command {command.VERB} of {command.key}")
    if fact.cause != command_id(signed):
        raise AuthorityError(
            f"{fact.EVENT} of {fact.key} names cause {fact.cause[:16]}, its command is another"
        )
    return command


def check_registered(fact: Registered, command: Register) -> None:
    """Return if the fact says what its command means, and nothing else.

    Raises:
        AuthorityError: it says something else.
        NotFoundError, PolicyError: the class does not exist, or does not allow what was asked.
    """
    key_class = class_named(fact.key_class)
    said = (
        fact.owner,
        fact.key_class,
        fact.purpose,
        fact.algorithm,
        fact.release,
        fact.cryptoperiod_s,
        fact.version,
    )
    meant = (
        command.author,
        command.key_class,
        command.purpose,
        key_class.algorithm,
        key_class.release,
        check_registration(command),
        0,
    )
    if said != meant:
        raise AuthorityError(f"registered of {fact.key} says something else than its command")


def check_requested(item: Stored[RotationRequested], registered: Registered, trust: Trust) -> None:
    """Return if a rotation is asked for on account of what it says: registration, clock, budget, owner's command.

    A request that needs no command has none, and names none as its cause: nobody verifies what nobody needs, and whoever
    waits for a command to be done would be told so.

    Raises:
        AuthorityError: it is not so.
        MalformedError, RefusedError: leaves as ``commanded``.
    """
    fact = item.model
    where = f"{fact.key}@{fact.version}: requested by {fact.reason}"
    if fact.reason == "person":
        if fact.command is None:
            raise AuthorityError(f"{where}, but no command inside")
        command = commanded(item, fact.command, Rotate, trust)
        if command.author != registered.owner:
            raise AuthorityError(f"{fact.key} belongs to {registered.owner}, not to {command.author}")
        return
    if fact.command is not None:
        raise AuthorityError(f"{where}, expected no command inside")
    is_initial, names_reason = fact.reason == "initial", fact.cause.startswith(f"{fact.reason}-")
    if not (fact.cause == registered.cause if is_initial else names_reason):
        raise AuthorityError(f"{where}, on account of {fact.cause[:16]}")


def check_public_key(fact: Generated) -> None:
    """Return if an asymmetric version, and no other, has a public key, and is committed to it (DESIGN §5).

    Raises:
        SchemaError: it is not so, or the key is not of the version's algorithm.
    """
    where = f"{fact.key}@{fact.version}"
    if (fact.spki is not None) is not (fact.algorithm in SCHEMES):
        raise SchemaError(f"{where}: a public key belongs to asymmetric versions, and only to them")
    if fact.spki is None:
        return
    spki = b64u_decode(fact.spki)
    public_key_of(fact.algorithm, spki)
    if spki_commitment(spki) != fact.commitment:
        raise SchemaError(f"{where}: the commitment is not the hash of the public key")


def commanded_stop(item: Stored[Fact], trust: Trust) -> Suspended | Compromised:
    """A stop whose responder said exactly that: suspend or revoke, of this version or (0) of all.

    Raises:
        AuthorityError: the command is of another version. And what ``commanded`` raises.
    """
    fact = item.model
    if not isinstance(fact, Suspended | Compromised):
        raise TypeError(fact.EVENT)
    kind: type[Suspend | Revoke] = Suspend if isinstance(fact, Suspended) else Revoke
    command = commanded(item, fact.command, kind, trust)
    if command.version != fact.version:
        where = f"{fact.EVENT} of {fact.key}@{fact.version}"
        raise AuthorityError(f"{where}: the command says version {command.version}")
    return fact
