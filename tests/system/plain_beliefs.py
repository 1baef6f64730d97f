"""What a dependent that has only the published contract believes: who is who, what is genuine, what is stopped and what not.

Nothing here reads or writes; it imports nothing of rekey, and says no more than the contract's description.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

OFFICERS_SIGN, PEOPLE_SIGN = b"rekey-trust@v1", b"rekey-cmd@v1"
SUSPEND, REVOKE, RESUME = (f"rekey.command.{verb}.v1" for verb in ("suspend", "revoke", "resume"))
LONGEST_S = {SUSPEND: 600, REVOKE: 600, RESUME: 4 * 3600}
SKEW_S = 60

Json = dict[str, Any]


class NotGenuineError(Exception):
    """What was read is not what the contract says it must be."""


NOT_BELIEVED = (
    NotGenuineError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)  # what bad messages raise


def unb64(text: str) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pae(kind: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


class Trust:
    """Whose keys are whose, from the pinned first document on, and what each document before said while it was in force."""

    def __init__(self, pinned: str) -> None:
        self._digest = pinned
        self._documents: list[tuple[dt.datetime, Json]] = []  # oldest first; when the log took each

    def extend(self, signed: Json, since: dt.datetime) -> None:
        """Take the next document if it follows from the one before."""
        payload = unb64(signed["payload"])
        document = json.loads(payload)
        digest = hashlib.sha256(payload).hexdigest()
        if not self._documents:
            if digest != self._digest:
                raise NotGenuineError("the first trust document is not the pinned one")
        else:
            _, newest = self._documents[-1]
            if (document["previous"], document["n"]) != (self._digest, newest["n"] + 1):
                raise NotGenuineError("a trust document does not follow the one before")
            by = {(s["person"], s["sshsig"]) for s in signed["signatures"]}
            officers = {
                name for name, s in by if is_by(newest, name, s, payload, {"trust-officer"}, OFFICERS_SIGN)
            }
            if len(officers) < newest["quorum"]:
                raise NotGenuineError("a trust document lacks its quorum")
        self._documents.append((since, document))
        self._digest = digest

    def keys(self, service: str, *, ever: bool = False) -> list[bytes]:
        """The raw public keys of a service; ``ever``: those of earlier documents too."""
        documents = self._documents if ever else self._documents[-1:]
        return [unb64(key) for _, document in documents for key in document["services"].get(service, [])]

    def at(self, when: dt.datetime) -> Json:
        """The document that was in force then; the first one for everything before the second."""
        later = [document for since, document in self._documents[1:] if since <= when]
        return later[-1] if later else self._documents[0][1]


def is_by(document: Json, name: str, sshsig: str, payload: bytes, roles: set[str], namespace: bytes) -> bool:
    """Whether this person, with one of these roles, signed that."""
    person = document["people"].get(name)
    if person is None or not roles & set(person["roles"]):
        return False
    return any(is_sshsig(sshsig, payload, key, namespace) for key in person["ssh_keys"])


def commanded(signed: Json, place: tuple[str, str], stored_at: dt.datetime, trust: Trust) -> Json:
    """What people command ("Who commands") of a key of an environment, if as many as it takes have signed it."""
    payload = unb64(signed["payload"])
    command: Json = json.loads(payload)
    kind = command["type"]
    issued, expires = (dt.datetime.fromisoformat(command[name]) for name in ("issued_at", "expires_at"))
    if (command["env"], command["key"]) != place:
        raise NotGenuineError(f"{kind} is about another key")
    if not 0 < (expires - issued).total_seconds() <= LONGEST_S.get(kind, 0):
        raise NotGenuineError(f"{kind} lives too long")
    if (issued - stored_at).total_seconds() > SKEW_S:
        raise NotGenuineError(f"{kind} is of the future")
    by = [(command["author"], signed["sshsig"], {"responder"})]
    by += [(one["person"], one["sshsig"], {"responder", "owner"}) for one in signed["cosignatures"]]
    if (len(by) > 1) is not (kind == RESUME) or len({name for name, _, _ in by}) < len(by):
        raise NotGenuineError(f"{kind} is not signed by as many people as it takes")
    last = min(stored_at, expires - dt.timedelta(microseconds=1))
    for document in (trust.at(min(stored_at, issued)), trust.at(last)):
        if all(
            is_by(document, name, sshsig, payload, roles, PEOPLE_SIGN)
            and any(fnmatchcase(command["key"], scope) for scope in document["people"][name]["scopes"])
            for name, sshsig, roles in by
        ):
            return command
    raise NotGenuineError(f"{kind} is signed by somebody who may not")


class Stops:
    """What is stopped of a key ("Stop and lift"): what was heard and is not lifted; both only grow."""

    def __init__(self, env: str, key: str) -> None:
        self._place = (env, key)
        self._known: set[int] = set()
        self._heard: dict[int, set[tuple[str, str]]] = defaultdict(set)  # by version: type and id of commands
        self._lifted: dict[int, set[str]] = defaultdict(set)

    @property
    def stopped(self) -> set[int]:
        """The versions that must not be used."""
        return {
            version
            for version, heard in self._heard.items()
            if any(kind == REVOKE or one not in self._lifted[version] for kind, one in heard)
        }

    def hear(self, message: Json, stored_at: dt.datetime, trust: Trust) -> Iterator[Exception]:
        """Take what a genuine notice or stop says; yields what is wrong with what of it is not believed."""
        told_of = [*message.get("versions", ()), *message["stopped"]]
        self._known |= {told["version"] for told in told_of} - {0}
        resumed = [fact for fact in message.get("facts", ()) if fact["type"] == "rekey.key.resumed.v1"]
        for take, one in [(self._stop, told) for told in message["stopped"]] + [
            (self._lift, fact) for fact in resumed
        ]:
            try:
                take(one, stored_at, trust)
            except NOT_BELIEVED as error:
                yield error

    def _stop(self, told: Json, stored_at: dt.datetime, trust: Trust) -> None:
        command = commanded(told["command"], self._place, stored_at, trust)
        if command["type"] == RESUME or command["version"] not in (0, told["version"]):
            raise NotGenuineError(f"{command['type']} stops not version {told['version']}")
        for version in [told["version"]] if told["version"] else self._known:
            self._heard[version].add((command["type"], id_of(told["command"])))

    def _lift(self, signed: Json, stored_at: dt.datetime, trust: Trust) -> None:
        fact = fact_in(signed, trust.keys("revocation", ever=True))
        command = commanded(fact["command"], self._place, stored_at, trust)
        said = ((fact["env"], fact["key"]), fact["version"], fact["cause"], command["type"])
        if said != (self._place, command["version"], id_of(fact["command"]), RESUME):
            raise NotGenuineError(f"resumed does not say what {command['type']} in it says")
        self._lifted[command["version"]] |= set(command["lifts"])


def id_of(command: Json) -> str:
    """By which a resume names what it lifts."""
    return hashlib.sha256(unb64(command["payload"])).hexdigest()


def is_sshsig(armored: str, message: bytes, public_key: str, expected: bytes) -> bool:
    """Whether an ssh-ed25519 key signed the message in the expected namespace (OpenSSH PROTOCOL.sshsig)."""
    blob = base64.b64decode("".join(armored.strip().splitlines()[1:-1]))
    public = base64.b64decode(public_key.split()[1])
    key, namespace, reserved, name, signature = ssh_strings(blob[len(b"SSHSIG") + 4 :])
    if (key, namespace, reserved) != (public, expected, b""):
        return False
    digest = hashlib.new(name.decode(), message).digest()
    signed = b"SSHSIG" + b"".join(len(s).to_bytes(4, "big") + s for s in (namespace, b"", name, digest))
    return is_signed(list(ssh_strings(public))[1], list(ssh_strings(signature))[1], signed)


def ssh_strings(data: bytes) -> Iterator[bytes]:
    """Strings with their length before them (RFC 4251 §5)."""
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield data[4:end]
        data = data[end:]


def is_signed(raw: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the Ed25519 key signed the data."""
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def opened(kind: str, body: bytes, key_id: str, signature: str, keys: list[bytes]) -> Json:
    """Verify, then parse."""
    for raw in keys:
        if hashlib.sha256(raw).hexdigest()[:32] == key_id and is_signed(
            raw, unb64(signature), pae(kind, body)
        ):
            return dict(json.loads(body))
    raise NotGenuineError(f"{kind} is not signed by its author")


def fact_in(signed: Json, keys: list[bytes]) -> Json:
    """A signed fact inside a notice."""
    return opened(signed["type"], unb64(signed["payload"]), signed["key_id"], signed["signature"], keys)
