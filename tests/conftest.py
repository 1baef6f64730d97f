"""Fixtures that every kind of test may ask for; each plugin is a plain module beside this one."""

pytest_plugins = ["tests.hsm_tokens"]
