"""The HSM ceremony: tokens and the two halves of each KEK and backup KEK.

It knows the PINs of all tokens and nothing of the bus.
"""

from rekey_ceremony.perform import perform
from rekey_ceremony.plan import CeremonyPlan, CeremonyReport, FoundedKey, TokenPlan, TokenReport

__all__ = ["CeremonyPlan", "CeremonyReport", "FoundedKey", "TokenPlan", "TokenReport", "perform"]
