"""Every message of rekey as a frozen model: commands are imperative, facts past tense, notices say what should be.

Glossary (DESIGN §1): a *key* is a named series of *versions*; a *dependent* is a service that uses the key, an *instance*
one running copy of it; a *grant* lets a dependent have a key; *protect* is encrypt, sign, MAC and *process* is decrypt,
verify; a *receipt* is an instance's signed statement; a *lease* lets an instance go on for a while.
"""

from __future__ import annotations

from rekey_core.contracts.base import (
    MAX_MESSAGE_BYTES,
    MAX_NOTICE_BYTES,
    Base64Url,
    Endorsement,
    Message,
    Model,
    Signed,
)
from rekey_core.contracts.commands import (
    COMMAND_NAMESPACE,
    COMMANDS,
    MAX_COMMAND_LIFETIME_S,
    VERBS,
    AnyCommand,
    Command,
    Register,
    Revoke,
    Rotate,
    SignedCommand,
    Suspend,
)
from rekey_core.contracts.facts import (
    FACTS,
    Activated,
    Compromised,
    Count,
    Deactivated,
    Delivered,
    Delivery,
    Fact,
    Generated,
    Granted,
    Registered,
    RotationRequested,
    Suspended,
    event_id,
)
from rekey_core.contracts.material import (
    ANSWERS,
    MAX_REQUEST_AGE_S,
    MAX_SIGN_MESSAGE_BYTES,
    MAX_VERSIONS_PER_REQUEST,
    OPS,
    REQUESTS,
    Answer,
    LeaseAnswer,
    LeaseRequest,
    MaterialAnswer,
    MaterialRecord,
    MaterialRequest,
    ProbeRequest,
    RefusalAnswer,
    ReleasedVersion,
    Request,
    SignatureAnswer,
    SignRequest,
)
from rekey_core.contracts.notices import Notice, NoticedVersion, Stop, StoppedVersion
from rekey_core.contracts.receipts import (
    Confirmation,
    KeyReceipt,
    Lease,
    LeasedKey,
    Probe,
    ProbeSignature,
    Receipt,
)
from rekey_core.contracts.reports import REPORTS, Alert, Refusal
from rekey_core.contracts.trust import (
    TRUST_NAMESPACE,
    Dependent,
    OfficerSignature,
    Person,
    SignedTrust,
    TrustDocument,
)

__all__ = [
    "ANSWERS", "COMMANDS", "COMMAND_NAMESPACE", "FACTS", "MAX_COMMAND_LIFETIME_S", "MAX_MESSAGE_BYTES", "MAX_NOTICE_BYTES",
    "MAX_REQUEST_AGE_S", "MAX_SIGN_MESSAGE_BYTES", "MAX_VERSIONS_PER_REQUEST", "OPS", "REPORTS", "REQUESTS", "TRUST_NAMESPACE",
    "VERBS", "Activated", "Alert", "Answer", "AnyCommand", "Base64Url", "Command", "Compromised", "Confirmation", "Count",
    "Deactivated", "Delivered", "Delivery", "Dependent", "Endorsement", "Fact", "Generated", "Granted", "KeyReceipt", "Lease",
    "LeaseAnswer", "LeaseRequest", "LeasedKey", "MaterialAnswer", "MaterialRecord", "MaterialRequest", "Message", "Model",
    "Notice", "NoticedVersion", "OfficerSignature", "Person", "Probe", "ProbeRequest", "ProbeSignature", "Receipt", "Refusal",
    "RefusalAnswer", "Register", "Registered", "ReleasedVersion", "Request", "Revoke", "Rotate", "RotationRequested",
    "SignRequest", "SignatureAnswer", "Signed", "SignedCommand", "SignedTrust", "Stop", "StoppedVersion", "Suspend", "Suspended",
    "TrustDocument", "event_id",
]
