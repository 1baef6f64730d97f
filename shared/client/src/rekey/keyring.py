"""Encrypt and decrypt, here and now: no call leaves the process, and none names a version."""

from __future__ import annotations

from os import urandom

from cryptography.exceptions import InvalidTag

from rekey.errors import UnknownKeyIdError
from rekey.keystate import KeyState, aead_version
from rekey.lease import LeaseClock
from rekey_core import ciphertext as tink
from rekey_core.ciphertext import LARGE_BYTES, NONCE, NONCE_BYTES, PREFIX, SEALED


class Keyring:
    """A granted key that protects data (AES-256-GCM, Tink's ciphertext format). Safe from any thread."""

    __slots__ = ("_key", "_lease")

    def __init__(self, key: KeyState, lease: LeaseClock) -> None:
        self._key = key
        self._lease = lease

    @property
    def name(self) -> str:
        """The key's name."""
        return self._key.name

    def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """A ciphertext; ``aad`` is authenticated with it and must be the same at ``decrypt``.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            QuotaExhaustedError: it has protected as many messages as it was given.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that protects.
        """
        lease, key = self._lease, self._key
        if lease.now() >= lease.until:
            lease.check(key.name)
        view = key.view
        if view.protecting is None:
            return self._encrypted(data, aad)
        enter, leave, permit, prefix, encrypt = view.protecting
        enter()
        try:
            if key.view is view and not key.closed:  # what came in between did not see this call
                permit()
                nonce = urandom(NONCE_BYTES)
                return prefix + nonce + encrypt(nonce, data, aad)
        except IndexError:
            return self._encrypted(data, aad)  # no permit is laid out
        finally:
            leave()
        return self._encrypted(data, aad)

    def decrypt(self, ciphertext: bytes, aad: bytes) -> bytes:
        """The data of a ciphertext of this key, made by any instance of any of its dependents.

        Raises:
            LeaseExpiredError: the instance may not use the key until its lease is renewed.
            VersionSuspendedError, VersionCompromisedError: a responder stopped the version that it is under.
            VersionDestroyedError: the version that it is under is gone.
            UnknownKeyIdError: it is not under a version of this key that is held here.
            CiphertextError: not a ciphertext, altered, or made with other ``aad``.
        """
        lease = self._lease
        if lease.now() >= lease.until:
            lease.check(self._key.name)
        if len(ciphertext) >= LARGE_BYTES:
            return self._decrypted(ciphertext, aad)
        try:  # the usual case without another call, each of which costs a tenth of the cipher's time
            aead = self._key.view.aeads[ciphertext[PREFIX]]
            return aead.decrypt(ciphertext[NONCE], ciphertext[SEALED], aad)
        except (KeyError, TypeError, ValueError, InvalidTag):
            return self._decrypted(ciphertext, aad)

    def _encrypted(self, data: bytes, aad: bytes) -> bytes:
        """The same step by step: waits for who changes the key, lays permits out, says why not."""
        version = self._key.enter()
        try:
            held = aead_version(version)
            held.quota.take()
            return tink.encrypt(held.aead, held.fact.key_id, data, aad)
        finally:
            version.in_flight.leave()

    def _decrypted(self, ciphertext: bytes, aad: bytes) -> bytes:
        """The same step by step: says what is wrong with it."""
        key_id = tink.parse_key_id(ciphertext)
        version = self._key.view.by_id.get(key_id)
        if version is None:
            raise self._unknown(key_id)
        return tink.decrypt_parsed(aead_version(version).aead, key_id, ciphertext, aad)

    def _unknown(self, key_id: int) -> Exception:
        stop = self._key.view.refused_ids.get(key_id)
        if stop is not None:
            return stop.error()
        stopped = ", ".join(str(version) for version in sorted(self._key.stopped))
        return UnknownKeyIdError(
            f"key {self._key.name} has no version with key id {key_id}"
            + (f"; versions stopped: {stopped}" if stopped else ""),
            hint=f"is it a ciphertext of this key? rekey key show {self._key.name}",
        )

    def __repr__(self) -> str:
        return f"Keyring({self._key.name})"
