"""Decides when: policy, time and receipts become commands and facts."""
