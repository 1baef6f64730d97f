"""How a rekey service runs: bus, trust, log, readiness."""
