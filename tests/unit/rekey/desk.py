"""A connection without a network: what stands on subjects is put there by the test, requests are answered by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rekey.beliefs import Stopped
from rekey.connection import Connection
from rekey.credentials import Login
from rekey.events import Events, Resumed, Rotated
from rekey.keystate import KeyState
from rekey.receipts import Receipts
from rekey.renewing import Renewing
from rekey.requests import SEALED_HEADER, Requests
from rekey.trust_cache import Seen, TrustCache
from rekey.versions import context_of
from rekey.worker import KeyWorker, Ports
from rekey_core import ciphertext, mac
from rekey_core.authority import Stream
from rekey_core.confirmation import application_mac_input, commit, probe_message
from rekey_core.contracts import (
    Answer,
    ConfirmationAnswer,
    DecryptInput,
    DecryptRequest,
    EncryptInput,
    EncryptRequest,
    KeyRefusal,
    LeaseAnswer,
    LeasedKey,
    LeaseRequest,
    MacInput,
    MacRequest,
    MaterialAnswer,
    MaterialRequest,
    ProbeRequest,
    Receipt,
    RefusalAnswer,
    Request,
    SealedRequest,
    SealingAnswer,
    SealingRequest,
    SignatureAnswer,
    SignRequest,
    UsedAnswer,
    VerifyInput,
    VerifyRequest,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import BusMessage, sign
from rekey_core.errors import MacError, RefusedError, RekeyError, RetryableError, UnavailableError
from rekey_core.names import Release, Service
from rekey_core.readers import open_request
from rekey_core.sealing import SealingKey, request_info, seal, seal_info
from tests.unit.rekey.world import DELIVERY, NOW, World

Reply = tuple[bytes, Mapping[str, str]]
UNHEARD = Events(rotated=lambda _: None, stopped=lambda _: None, resumed=lambda _: None)


class Desk(Connection):
    """Streams as dictionaries, the distributor as a method; ``forge`` may alter an answer before it is signed."""

    def __init__(self, world: World) -> None:
        super().__init__(Login("", "", Path(), Path(), Path(), "orders"))
        self.world = world
        self.messages: dict[str, BusMessage] = {}
        self.receipts: list[Receipt] = []
        self.requests: list[Request] = []
        self.refuse: Callable[[Request], RefusedError | None] = lambda _: None
        self.refused: dict[str, RekeyError] = {}  # keys for which no lease is given
        self.forge: Callable[[Answer], Answer] = lambda answer: answer
        self.signer = Service.DISTRIBUTOR
        self.sealed = True
        self.sealing = SealingKey.of_service(world.services[Service.DISTRIBUTOR])
        self.silent = False
        self.messages["trust.dev.1"] = BusMessage(
            "TRUST", "trust.dev.1", {}, world.signed_trust.model_dump_json().encode(), 1, NOW
        )

    def put(self, message: BusMessage) -> None:
        self.messages[message.subject] = message

    async def get(self, stream: Stream, subject: str, within_s: float) -> BusMessage | None:
        del stream, within_s
        return self.messages.get(subject)

    async def append(
        self, stream: Stream, subject: str, data: bytes, headers: Mapping[str, str], within_s: float
    ) -> int:
        del subject, headers, within_s
        assert stream is Stream.RECEIPTS
        if self.silent:
            raise UnavailableError("nobody answers")
        self.receipts.append(Receipt.model_validate_json(data))
        return len(self.receipts)

    async def request(self, subject: str, data: bytes, within_s: float) -> Reply:
        del within_s
        if self.silent:
            raise UnavailableError("nobody answers")
        request = open_request(subject, data, self.world.trust)
        self.requests.append(request)
        try:
            answer = self.forge(self._answer(request))
        except RekeyError as error:
            answer = self._refusal(request, error)
        signed = sign(answer, self.world.services[self.signer]).model_dump_json().encode()
        to_seal = isinstance(request, MaterialRequest | SealedRequest) and not isinstance(
            answer, RefusalAnswer
        )
        if isinstance(request, MaterialRequest | SealedRequest) and to_seal and self.sealed:
            info = seal_info(request.env, request.dependent, request.instance, request.nonce)
            return seal(b64u_decode(request.seal_to), signed, info), {SEALED_HEADER: "1"}
        return signed, {}

    def _refusal(self, request: Request, error: RekeyError) -> RefusalAnswer:
        common = request.model_dump(include={"env", "dependent", "instance", "nonce"})
        return RefusalAnswer(**common, **_refusal_of(error).model_dump())

    def _answer(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each kind of request
        common = request.model_dump(include={"env", "dependent", "instance", "nonce"})
        error = self.refuse(request)
        if error is not None:
            return self._refusal(request, error)
        match request:
            case MaterialRequest():
                releases = tuple(
                    self.world.released(version, key=request.key) for version in request.versions
                )
                return MaterialAnswer(**common, key=request.key, as_of=10, releases=releases)
            case LeaseRequest(leaving=True):
                return LeaseAnswer(**common, keys={})
            case LeaseRequest():
                quotas = {key: request.wanted.get(key) for key in request.keys if key not in self.refused}
                leased = {
                    k: LeasedKey(versions=self._proved_of(k), as_of=10, lease_s=30, quota=q)
                    for k, q in quotas.items()
                }
                refused = {k: _refusal_of(self.refused[k]) for k in request.keys if k in self.refused}
                return LeaseAnswer(**common, keys=leased, refused=refused)
            case SealingRequest():
                return SealingAnswer(**common, seal_to=b64u_encode(self.sealing.public_bytes()))
            case SealedRequest():
                output = b64u_encode(self._used(request))
                return UsedAnswer(**common, key=request.key, version=request.version, as_of=10, output=output)
            case ProbeRequest() | SignRequest():
                return self._proved(request)
        raise AssertionError(type(request))

    def _proved_of(self, key: str) -> tuple[int, ...]:
        """What any receipt has proved of the key."""
        held = [receipt.keys[key] for receipt in self.receipts if key in receipt.keys]
        return tuple(sorted({version for one in held for version in one.proofs}))

    def _proved(self, request: ProbeRequest | SignRequest) -> Answer:
        common = request.model_dump(include={"env", "dependent", "instance", "nonce", "key", "version"})
        if isinstance(request, SignRequest):
            message = b64u_decode(request.message)
        else:
            fact = self.world.generated(request.version, key=request.key, release=Release.NEVER)
            if fact.spki is None:
                value = self.world.confirmation(fact, request.phase, request.instance)
                return ConfirmationAnswer(**common, as_of=10, delivery=DELIVERY, value=value)
            message = probe_message(context_of(fact), request.phase, request.instance, request.nonce)
        signature = b64u_encode(self.world.es256(request.version, message))
        return SignatureAnswer(**common, as_of=10, signature=signature)

    def _used(self, request: SealedRequest) -> bytes:
        """What the HSM does with what is sealed inside."""
        info = request_info(request.env, request.dependent, request.instance, request.nonce, request.OP)
        inside = self.sealing.open(b64u_decode(request.sealed), info)
        fact = self.world.generated(request.version, key=request.key, release=Release.NEVER)
        secret = self.world.secrets[request.version]
        match request:
            case EncryptRequest():
                given = EncryptInput.model_validate_json(inside)
                plaintext, aad = b64u_decode(given.plaintext), b64u_decode(given.aad)
                return ciphertext.encrypt(ciphertext.aead_of(secret), fact.key_id, plaintext, aad)
            case DecryptRequest():
                to_open = DecryptInput.model_validate_json(inside)
                data, aad = b64u_decode(to_open.ciphertext), b64u_decode(to_open.aad)
                return ciphertext.decrypt(ciphertext.aead_of(secret), fact.key_id, data, aad)
            case MacRequest():
                message = application_mac_input(b64u_decode(MacInput.model_validate_json(inside).message))
                return mac.tagged(fact.key_id, commit(secret, message))
            case VerifyRequest():
                to_verify = VerifyInput.model_validate_json(inside)
                message = application_mac_input(b64u_decode(to_verify.message))
                if b64u_decode(to_verify.mac) != mac.tagged(fact.key_id, commit(secret, message)):
                    raise MacError("the MAC is altered or was made over other data")
                return b""
            case _:
                raise AssertionError(type(request))


def _refusal_of(error: RekeyError) -> KeyRefusal:
    retry = isinstance(error, RetryableError)
    return KeyRefusal(code=error.code, message=str(error), hint=error.hint, retry=retry)


class Instance:
    """One instance at the desk, with a worker for one key."""

    def __init__(self, world: World, state_dir: Path, key: str) -> None:
        self.desk = Desk(world)
        self.world = world
        self.rotated: list[Rotated] = []
        self.stopped: list[Stopped] = []
        self.resumed: list[tuple[Resumed, str]] = []  # and what the key could do when it was told
        self.seen = Seen.load(state_dir)
        self.trust = TrustCache(self.desk, "dev", world.genesis, self.seen, 1.0)
        self.requests = Requests(self.desk, world.identity, self.trust, 1.0)
        self.key = KeyState(key)
        self.receipts = Receipts(self.desk, world.identity, 1.0, lambda: {key: self.key.receipt()})
        self.renewing = Renewing(self.requests, self.receipts, lambda: None)
        ports = Ports(
            connection=self.desk,
            identity=world.identity,
            trust=self.trust,
            seen=self.seen,
            requests=self.requests,
            receipts=self.receipts,
            within_s=1.0,
            renew=self.renewing.of,
            stated=self.renewing.stated,
            events=Events(self.rotated.append, self.stopped.append, self._resumed),
        )
        self.worker = KeyWorker(self.key, ports)

    def _resumed(self, event: Resumed) -> None:
        self.resumed.append((event, "it protects" if self.key.view.current else "it processes"))
