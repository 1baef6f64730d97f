"""Fixtures that every kind of test may ask for; each plugin is a plain module beside this one."""

import os

from rekey_local.database import URL_VARIABLE

os.environ.pop(URL_VARIABLE, None)  # tests drop databases: never those of the server that somebody uses

pytest_plugins = ["tests.hsm_tokens", "tests.longest_first"]
