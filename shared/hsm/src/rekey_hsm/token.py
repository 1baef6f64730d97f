"""One logged-in token: the login, the search for objects, and what each of the module's errors means.

Recovery, from the smallest step up: an invalid object handle: look the keys up again; an invalid session:
open a new one and log in once; a device error, or a general error twice in succession: leave the process,
since reloading a module in a running process is fragile. A wrong PIN is never tried again: real tokens lock.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from pkcs11 import exceptions as p11
from pkcs11.constants import Attribute, ObjectClass, TokenFlag
from pkcs11.types import Object, Session
from pkcs11.types import Token as SlotToken

from rekey_core.errors import HsmError, PinError, RekeyError, UnavailableError
from rekey_hsm import keys
from rekey_hsm.attributes import TemplateMapper
from rekey_hsm.halves import Side
from rekey_hsm.kinds import BACKUP_PREFIX, KEK_PREFIX
from rekey_hsm.labels import MAC_PREFIX, retired_label
from rekey_hsm.profile import HsmProfile, Library, load_module
from rekey_hsm.values import TokenSettings

T = TypeVar("T")
_log = logging.getLogger(__name__)

STALE_OBJECT: Final = (
    p11.ObjectHandleInvalid,
    p11.KeyHandleInvalid,
    p11.WrappingKeyHandleInvalid,
    p11.UnwrappingKeyHandleInvalid,
)
STALE_SESSION: Final = (p11.SessionHandleInvalid, p11.SessionClosed, p11.UserNotLoggedIn)
NO_ROOM: Final = (p11.HostMemory, p11.DeviceMemory, p11.SessionCount, p11.FunctionCancelled)
WRONG_PIN: Final = (
    p11.PinIncorrect,
    p11.PinLocked,
    p11.PinExpired,
    p11.PinInvalid,
    p11.PinLenRange,
    p11.UserPinNotInitialized,
)
_GENERAL_ERRORS_BEFORE_EXIT: Final = 2


def find_slot_token(library: Library, label: str) -> SlotToken | None:
    """The initialised token of that label.

    Raises:
        HsmError: more than one has it.
    """
    tokens = [slot.get_token() for slot in library.get_slots(token_present=True)]
    found = [t for t in tokens if t.label == label and t.flags & TokenFlag.TOKEN_INITIALIZED]
    if len(found) > 1:
        message = f"{len(found)} tokens are labelled {label}, expected one"
        raise HsmError(message)
    return found[0] if found else None


def require_token(library: Library, label: str, serial: str) -> SlotToken:
    """The token of that label and serial.

    Raises:
        HsmError: it is absent, or another one has its label.
    """
    token = find_slot_token(library, label)
    if token is None:
        message = f"no token is labelled {label}"
        raise HsmError(message, hint="run the HSM ceremony, or check the module's configuration")
    if token.serial.decode() != serial:
        message = f"token {label} has serial {token.serial.decode()}, expected {serial}"
        raise HsmError(message, hint="another token was made under this label: its keys are gone")
    return token


class Token:
    """A logged-in token; every method runs on the HSM thread."""

    def __init__(
        self, settings: TokenSettings, library: Library, profile: HsmProfile, side: Side | None = None
    ) -> None:
        self.profile = profile
        self._side = side
        self.mapper = TemplateMapper()
        self.settings = settings
        self._library = library
        self._keys: dict[str, Object] = {}
        self._founded: set[str] = set()
        self._on_new_handles: list[Callable[[], None]] = []
        self._general_errors = 0
        self._session = self._log_in()

    @classmethod
    def open(cls, settings: TokenSettings, side: Side | None = None) -> Token:
        """Load the module, find the token, log in once.

        ``side``: whose halves are on it; each is read back against its template whenever it is looked up.

        Raises:
            HsmError: unknown module, absent or re-initialised token, already open in this process.
            PinError: the token refuses the PIN.
        """
        library, profile = load_module(str(settings.module))
        return cls(settings, library, profile, side)

    @property
    def session(self) -> Session:
        """The read-only session that holds the login; its objects die with it."""
        return self._session

    @property
    def name(self) -> str:
        """The token's label."""
        return self.settings.label

    def close(self) -> None:
        """Log the process out of the token; every handle is dead."""
        self._keys.clear()
        self._session.close()

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Log out again when opening goes wrong, so that the next attempt is not the second login."""
        try:
            yield
        except RekeyError:
            self.close()
            raise

    def on_new_handles(self, forget: Callable[[], None]) -> None:
        """Call this when every handle that somebody keeps has become worthless."""
        self._on_new_handles.append(forget)

    def require_same(self) -> None:
        """Make sure that the token is still the one that was founded.

        Raises:
            HsmError: it is absent, or another one has its label.
        """
        require_token(self._library, self.settings.label, self.settings.serial)

    def writable(self) -> Session:
        """A second session that may write token objects; the caller closes it. The login is shared."""
        token = require_token(self._library, self.settings.label, self.settings.serial)
        return token.open(rw=True, attribute_mapper=self.mapper)

    def halves(self) -> list[str]:
        """The labels of every KEK, backup KEK and record MAC key that is on the token now, finished or not."""
        return [label for prefix in (KEK_PREFIX, MAC_PREFIX, BACKUP_PREFIX) for label in self.labels(prefix)]

    def founded(self) -> list[str]:
        """The labels of every KEK, backup KEK and record MAC key that this token has, or once had in this process.

        A token that was initialised again answers as if nothing had happened, with nothing on it: a proof over
        what is there now would prove nothing. What a ceremony has not finished, or has retired, is not among them.

        Raises:
            HsmError: no KEK, or no record MAC key.
        """
        notes = self._notes()
        keks, macs, backups = (
            {label for label in self.labels(prefix) if self._is_whole(label, notes)}
            for prefix in (KEK_PREFIX, MAC_PREFIX, BACKUP_PREFIX)
        )
        self._founded |= keks | macs | backups
        self._founded -= {label for label in self._founded if retired_label(label) in notes}
        if not keks or not macs:
            message = f"token {self.name} has {len(keks)} keks and {len(macs)} record mac keys"
            raise HsmError(message, hint="run the HSM ceremony; a token initialised again has lost its keys")
        return sorted(self._founded)

    def newest_epoch(self, prefix: str) -> int:
        """The highest number after the prefix among the labels of secret keys that a ceremony has finished.

        Raises:
            UnavailableError: there is none.
        """
        notes = self._notes()
        whole = [label for label in self.labels(prefix) if self._is_whole(label, notes)]
        numbers = [int(found) for label in whole if (found := label.removeprefix(prefix)).isdecimal()]
        if not numbers:
            message = f"token {self.name} has no whole key labelled {prefix}N"
            raise UnavailableError(message, hint="run the HSM ceremony")
        return max(numbers)

    def _is_whole(self, label: str, notes: set[str]) -> bool:
        """Whether the ceremony of that key was finished, and its end has not begun."""
        return (self._side is None or self._side.mark(label) in notes) and retired_label(label) not in notes

    def _notes(self) -> set[str]:
        found = self._session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True})
        return {str(note[Attribute.LABEL]) for note in found}

    def labels(self, prefix: str) -> list[str]:
        """Labels of the secret keys on the token that start so; half-made objects have none."""
        found = self._session.get_objects(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.TOKEN: True,
            }
        )
        names = [str(key[Attribute.LABEL]) for key in found]
        return sorted(name for name in names if name.startswith(prefix))

    def key(self, label: str) -> Object:
        """The secret key of that label; looked up and read back once, kept by handle.

        Raises:
            UnavailableError: it is not there: a ceremony of a new epoch has not reached this token, or retired the epoch.
            HsmError: there is more than one, it is not as its template says, or it was there before.
        """
        if label not in self._keys:
            found = self.find(ObjectClass.SECRET_KEY, label)
            if found is None:
                raise self._absent(label)
            if self._side is not None:
                keys.read_back(found, self._side.template(label), label)
            self._keys[label] = found
        return self._keys[label]

    def _absent(self, label: str) -> RekeyError:
        if self.find(ObjectClass.DATA, retired_label(label)) is not None:
            return UnavailableError(f"token {self.name}: {label} is retired, and its half is destroyed")
        if label in self._founded:
            message = f"token {self.name} has lost its key {label}"
            return HsmError(message, hint="somebody destroyed it, or initialised the token again")
        message = f"token {self.name} has no key labelled {label}"
        return UnavailableError(message, hint="run the HSM ceremony for that epoch")

    def find(self, kind: ObjectClass, label: str) -> Object | None:
        """The one object of that class and label, if there is one.

        Raises:
            HsmError: there is more than one.
        """
        return find_one(self._session, {Attribute.CLASS: kind, Attribute.LABEL: label}, label)

    def guard(self, doing: str, operation: Callable[[], T]) -> T:
        """Run the operation; translate the module's errors and recover where that is possible.

        The operation looks its keys up itself, since it may run a second time.

        Raises:
            UnavailableError: the token has no room, or failed once without saying why.
            HsmError: everything else that the token says.
        """
        try:
            return self._run(operation)
        except STALE_OBJECT as error:
            _log.warning("token %s: %s while %s; looking keys up again", self.name, _said(error), doing)
            self.require_same()
        except STALE_SESSION as error:
            _log.warning("token %s: %s while %s; logging in again", self.name, _said(error), doing)
            self._session = self._log_in()
        except p11.PKCS11Error as error:
            raise self._translate(doing, error) from error
        self._forget()
        try:
            return self._run(operation)
        except p11.PKCS11Error as error:
            message = f"token {self.name}: {_said(error)} again while {doing}"
            raise HsmError(message) from error

    def _run(self, operation: Callable[[], T]) -> T:
        result = operation()
        self._general_errors = 0
        return result

    def _translate(self, doing: str, error: p11.PKCS11Error) -> RekeyError:
        message = f"token {self.name}: {_said(error)} while {doing}"
        if isinstance(error, NO_ROOM):
            return UnavailableError(message)
        if isinstance(error, p11.GeneralError):
            self._general_errors += 1
            if self._general_errors < _GENERAL_ERRORS_BEFORE_EXIT:
                return UnavailableError(message)
        return HsmError(message)

    def _log_in(self) -> Session:
        token = require_token(self._library, self.settings.label, self.settings.serial)
        try:
            return token.open(user_pin=self.settings.pin.reveal().decode(), attribute_mapper=self.mapper)
        except WRONG_PIN as error:
            message = f"token {self.name} refuses the PIN: {_said(error)}"
            raise PinError(message, hint="never try again: tokens lock after a few wrong PINs") from error
        except p11.UserAlreadyLoggedIn as error:
            message = f"token {self.name} is open in this process already"
            raise HsmError(message) from error
        except p11.PKCS11Error as error:
            message = f"token {self.name}: {_said(error)} while logging in"
            raise HsmError(message) from error

    def _forget(self) -> None:
        self._keys.clear()
        for forget in self._on_new_handles:
            forget()


def find_one(session: Session, attributes: dict[Attribute, object], name: str) -> Object | None:
    """The one object with these attributes, if there is one; more than one is a confusion that somebody made.

    Raises:
        HsmError: there is more than one.
    """
    found = list(session.get_objects(attributes))
    if len(found) > 1:
        message = f"{len(found)} objects are labelled {name}, expected one"
        raise HsmError(message, hint="the token's objects were changed; do not use it")
    return found[0] if found else None


@contextlib.contextmanager
def storing(token: str, what: str, again: str) -> Iterator[None]:
    """Something is written into the token. Modules do not say that it is full in one way, so each failure may mean that.

    ``again``: what to do once there is room.

    Raises:
        HsmError: the token does not keep it.
    """
    try:
        yield
    except p11.PKCS11Error as error:
        message = f"token {token}: expected that it keeps {what}, found {_said(error)}"
        hint = f"it may be full: make room where it keeps its objects, then {again}"
        raise HsmError(message, hint=hint) from error


def _said(error: p11.PKCS11Error) -> str:
    """What the module said: the name of its return value; its arguments hold no more than that."""
    return f"{type(error).__name__}{error.args or ''}"
