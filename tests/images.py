"""What docker-compose.yml and deploy/Dockerfile say, read without an engine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from deploy.environments import ROOT

INSTALLED: Final = "/opt/rekey"  # where an image has its environment
STATE: Final = "/var/lib/rekey"  # where a container has its part of the state
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
FIVE: Final = ("generator", "distributor", "rotation-scheduler", "revocation", "audit")


@dataclass
class Stage:
    """One stage of the Dockerfile: instruction and its words, in order; ``base`` is an image or another stage."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """What follows each instruction of this kind."""
        return [rest for found, rest in self.instructions if found == word]

    @property
    def command(self) -> list[str]:
        """What a container of it runs."""
        (said,) = self.all("CMD") or self.all("ENTRYPOINT")
        words: list[str] = json.loads(said)
        return words


def stages() -> dict[str, Stage]:
    """The Dockerfile's stages by name; continued lines are one instruction."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "deploy" / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    for line in (line for line in text.splitlines() if line and not line.startswith("#")):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base)
        else:
            list(found.values())[-1].instructions.append((word, rest))
    return found


STAGES: Final = stages()


def ancestry(name: str) -> list[Stage]:
    """A stage and those that it stands on, the image from outside last to be named."""
    stage = STAGES[name]
    return [stage, *(ancestry(stage.base) if stage.base in STAGES else [])]


def target(service: str) -> Stage:
    """The stage that a service of the compose file runs."""
    return STAGES[SERVICES[service]["build"]["target"]]


def install_steps(stage: Stage) -> list[list[str]]:
    """The very RUN lines that install a target's environment, as words."""
    sources = [re.fullmatch(r"--from=(\S+) .*", rest) for rest in stage.all("COPY")]
    return [shlex.split(line) for match in sources if match for line in STAGES[match[1]].all("RUN")]
