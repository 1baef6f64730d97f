"""That the distributor's token is the one that was founded, holds what it should, and that every key of it works."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute, ObjectClass

from rekey_core.errors import HsmError
from rekey_hsm.halves import DISTRIBUTOR
from rekey_hsm.kinds import KEK_PREFIX
from rekey_hsm.labels import probe_label
from rekey_hsm.probes import Probe, check_probe
from rekey_hsm.selftest import prove_locks, prove_unwrap
from rekey_hsm.token import Token, find_one
from rekey_hsm.values import TokenSettings

# What modules answer when RFC 5649's integrity check or GCM's tag fails; SoftHSM says only "general error".
NOT_OPENED: Final = (
    p11.GeneralError,
    p11.FunctionFailed,
    p11.WrappedKeyInvalid,
    p11.WrappedKeyLenRange,
    p11.EncryptedDataInvalid,
    p11.EncryptedDataLenRange,
    p11.ArgumentsBad,
)


def open_proved(settings: TokenSettings) -> Token:
    """Log in, read every key back against its template, prove keys and profile by doing.

    Raises:
        HsmError: not the token, module or templates that were founded, or a wrong PIN.
    """
    token = Token.open(settings, DISTRIBUTOR)
    with token.closed_on_error():
        token.guard("reading its keys back", lambda: _read_back(token))
        token.guard("proving the token", lambda: prove_keys(token))
        token.guard("proving the profile", lambda: prove_opening(token, _whole_keks(token)))
    return token


def _read_back(token: Token) -> None:
    for label in token.halves():
        token.key(label)


def _whole_keks(token: Token) -> list[str]:
    return [label for label in token.founded() if label.startswith(KEK_PREFIX)]


def prove_opening(token: Token, labels: Iterable[str]) -> None:
    """The keys of those labels open blobs only as their unwrap templates say.

    Raises:
        HsmError: the token allows more.
    """
    prove_locks(token.session)
    session = token.writable()
    try:
        for label in labels:
            kek = find_one(session, {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}, label)
            if kek is None:
                message = f"token {token.name}: {label} is gone"
                raise HsmError(message)
            prove_unwrap(session, kek, label, _probe(token, label), token.profile)
    finally:
        session.close()


def prove_keys(token: Token) -> None:
    """The token is the founded one and every key of it works.

    Raises:
        HsmError: it is not so.
    """
    token.require_same()
    for label in token.founded():
        prove_key(token, label)


def prove_key(token: Token, label: str) -> None:
    """The half of that label opens the probe that was wrapped for it.

    Raises:
        HsmError: it does not.
    """
    try:
        check_probe(token.key(label), label, _probe(token, label), token.profile)
    except NOT_OPENED as error:
        message = f"{label} on token {token.name} does not open what was wrapped for it"
        raise HsmError(message, hint="the token's keys are damaged, or not of this ceremony") from error


def _probe(token: Token, label: str) -> Probe:
    note = token.find(ObjectClass.DATA, probe_label(label))
    if note is None:
        message = f"token {token.name} has no probe of {label}"
        raise HsmError(message, hint="the HSM ceremony was not finished: run it again")
    return Probe.from_json(note[Attribute.VALUE])
