"""How a rekey service runs: settings, bus, trust, the log of a key, consumers, readiness, log."""
