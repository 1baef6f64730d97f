"""Which certificate and signing key each service of a stack uses, and the program that gives them new ones."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys

from rekey_core.names import Service
from rekey_core.signing import SigningKey
from tests.system.stack import RunningStack


def renewal(stack: RunningStack) -> subprocess.Popen[str]:
    """``deploy/renew``, under way."""
    command = [sys.executable, "-m", "rekey_local.renewal", "--state", str(stack.layout.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def identities(stack: RunningStack) -> dict[Service, dict[str, str]]:
    """What each service says that it uses."""
    urls = stack.plan.http_urls
    return {service: json.loads(fetch(f"{urls[service]}/readyz")[1])["identity"] for service in Service}


def signing_key(stack: RunningStack, service: Service) -> SigningKey:
    """The one that its file holds."""
    return SigningKey.from_pem((stack.layout.service(service) / "signing.key").read_bytes())


def fetch(url: str) -> tuple[int, str]:
    """Status and body of GET."""
    address, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
