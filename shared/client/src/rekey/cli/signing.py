"""Commands of people, signed with their SSH key."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from rekey.cli.context import Context
from rekey.cli.errors import UsageError
from rekey.cli.target import Target
from rekey_core.commands import RULES, sign_command
from rekey_core.contracts import MAX_COSIGNED_LIFETIME_S, Command, SignedCommand
from rekey_core.validation import what_is_wrong

LIFETIME_S: Final = 300  # below MAX_COMMAND_LIFETIME_S: a command is accepted within seconds or not at all
COSIGNED_LIFETIME_S: Final = MAX_COSIGNED_LIFETIME_S  # somebody has to be found who signs it too

_ALONE: Final = frozenset({"suspend", "revoke"})

C = TypeVar("C", bound=Command)


def build(model: type[C], context: Context, **fields: Any) -> C:  # noqa: ANN401 - the model types them
    """A command of the context's person, valid from now on.

    Raises:
        UsageError: a field is not what the command takes; names the field.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    lifetime_s = LIFETIME_S if RULES[model.VERB].people == 1 else COSIGNED_LIFETIME_S
    try:
        return model(
            env=context.env,
            author=context.person,
            nonce=secrets.token_hex(16),
            author_seq=time.time_ns(),
            issued_at=now,
            expires_at=now + timedelta(seconds=lifetime_s),
            **fields,
        )
    except ValidationError as error:
        text = f"{model.VERB}: {what_is_wrong(error)}"
        raise UsageError(text, hint=f"rekey {place_of(model.VERB)} --help") from None


def build_of(
    model: type[C],
    context: Context,
    target: Target,
    reason: str,
    **fields: Any,  # noqa: ANN401 - the model types them
) -> C:
    """A command about one version, or every version. Raises as ``build``."""
    return build(model, context, key=target.key, version=target.version, reason=reason, **fields)


def place_of(verb: str) -> str:
    """Where the command line has a verb: stops stand alone, for whoever is in a hurry."""
    return verb if verb in _ALONE else f"key {verb}"


def sign(command: Command, context: Context) -> SignedCommand:
    """Sign with the key of the context.

    Raises:
        UsageError: the key cannot be read, or is not an unencrypted ssh-ed25519 key file.
    """
    try:
        return sign_command(command, context.ssh_key.read_bytes())
    except (OSError, ValueError) as error:
        text = f"ssh_key {context.ssh_key}: {getattr(error, 'strerror', None) or error}"
        raise UsageError(text, hint="check ssh_key in the context") from error
