"""Gives granted versions to dependents; uses in the HSM those that never leave it."""
