"""Enrolment: an identity of its own that makes dependents and services' new keys known, with the officers' consent.

It holds the security officer's PIN of the distributor's token and a bus certificate for trust documents;
no service's key, no user PIN, no right to any other subject.
"""

from rekey_enrolment.enrol import Enrolment, Outcome
from rekey_enrolment.proposal import Applicant, check_proposal, propose
from rekey_enrolment.service_keys import KeyChange, propose_keys
from rekey_enrolment.settings import EnrolmentSettings, load_settings

__all__ = [
    "Applicant",
    "Enrolment",
    "EnrolmentSettings",
    "KeyChange",
    "Outcome",
    "check_proposal",
    "load_settings",
    "propose",
    "propose_keys",
]
