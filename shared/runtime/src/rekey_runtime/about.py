"""What a message is about, read from its subject: for spans, metrics and log lines. Decides nothing.

``event_of`` has its values from one closed list, whatever somebody publishes; names are only what are names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace

from rekey_core.contracts import FACTS, OPS, VERBS
from rekey_core.envelope import BusMessage
from rekey_core.names import is_token
from rekey_core.tracecontext import Attribute, Attributes

OTHER: Final = "other"
_BY_FIRST_TOKEN: Final[Mapping[str, str]] = {
    "dlv": "delivered",
    "mat": "record",
    "lse": "lease",
    "ntc": "notice",
    "stop": "stop",
    "rcpt": "receipt",
    "trust": "trust",
    "ask": "question",
    "rst": "offer",
    "att": "attestation",
    "$JS": "advisory",
}
_REPORTS: Final = ("refusal", "alert", "attestation")
_EVENTS: Final = frozenset(fact.EVENT for fact in FACTS)
EVENTS: Final = frozenset({*_BY_FIRST_TOKEN.values(), *_REPORTS, *_EVENTS, *VERBS, *OPS, OTHER})

_TOKENS: Final[Mapping[str, Mapping[int, Attribute]]] = {
    "evt": {2: Attribute.KEY, 3: Attribute.VERSION},
    "dlv": {2: Attribute.KEY, 3: Attribute.VERSION},
    "mat": {2: Attribute.KEY, 3: Attribute.VERSION},
    "rst": {2: Attribute.KEY, 3: Attribute.VERSION},
    "cmd": {3: Attribute.KEY},
    "ntc": {2: Attribute.DEPENDENT, 3: Attribute.KEY},
    "stop": {2: Attribute.DEPENDENT, 3: Attribute.KEY},
    "lse": {2: Attribute.DEPENDENT, 3: Attribute.INSTANCE},
    "rcpt": {2: Attribute.DEPENDENT, 3: Attribute.INSTANCE},
    "req": {2: Attribute.DEPENDENT, 3: Attribute.INSTANCE},
}

_CODE: Final[ContextVar[list[str] | None]] = ContextVar("code", default=None)
ABOUT: Final[ContextVar[Mapping[str, object]]] = ContextVar("about", default={})  # noqa: B039 - never altered
"""The message being handled, for every log line that is written meanwhile."""


def event_of(subject: str) -> str:
    """Which kind of message stands on a subject: a fact's event, a verb, an operation, …; one of ``EVENTS``."""
    tokens = [*subject.split("."), "", "", "", "", "", ""]
    match tokens[0]:
        case "evt":
            found, known = tokens[5], _EVENTS
        case "cmd":
            found, known = tokens[1], frozenset(VERBS)
        case "req":
            found, known = tokens[4], frozenset(OPS)
        case "rpt":
            found, known = tokens[3], frozenset(_REPORTS)
        case first:
            return _BY_FIRST_TOKEN.get(first, OTHER)
    return found if found in known else OTHER


def names_in(subject: str) -> Attributes:
    """Key, version, dependent and instance that a subject names."""
    tokens = subject.split(".")
    places = _TOKENS.get(tokens[0], {})
    return {name: tokens[at] for at, name in places.items() if at < len(tokens) and is_token(tokens[at])}


@contextmanager
def handling(message: BusMessage) -> Iterator[list[str]]:
    """Everything that is logged inside is about this message; gives the codes that are noted inside.

    The correlation id is the last token of its subject: of a command the first 16 digits of its id, of a fact those of
    its event id, which is what the fact after it names as its cause.
    """
    about = {
        "subject": message.subject,
        "stream": message.stream,
        "sequence": message.sequence,
        "correlation_id": message.subject.rpartition(".")[2],
    }
    codes: list[str] = []
    tokens = ABOUT.set(about), _CODE.set(codes)
    try:
        yield codes
    finally:
        ABOUT.reset(tokens[0])
        _CODE.reset(tokens[1])


def note_code(code: str) -> None:
    """Say how what is being handled ended, where no error says it: to its span, and to who counts it."""
    trace.get_current_span().set_attribute(Attribute.CODE, code)
    codes = _CODE.get()
    if codes is not None:
        codes.append(code)
