"""One side of the ceremony: a process that holds one token (``python -m rekey_ceremony.side``).

Requests and answers are JSON, one per line, over pipes, so that no PIN is an argument or in the environment.
Only public points, check values and probes leave it.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from rekey_core.errors import HsmError, RekeyError
from rekey_core.secret import Secret
from rekey_hsm.founding import Agreement, FoundingToken, TokenObject, during_ceremony, is_made
from rekey_hsm.halves import distributor_half, generator_half
from rekey_hsm.labels import closed_label, founded_label, probe_label, retired_label
from rekey_hsm.probes import Probe, check_probe, make_probe

Fields = dict[str, str]

_HALVES: Final = {"generator": generator_half, "distributor": distributor_half, "backup": distributor_half}


class Side:
    """The requests that one side answers."""

    def __init__(self, token: FoundingToken, role: str) -> None:
        self._token = token
        self._template = _HALVES[role]
        self._agreement: Agreement | None = None
        self._answers: dict[str, Callable[[Fields], Fields]] = {
            "held": self.held,
            "begin": self.begin,
            "agree": self.agree,
            "leave_half": self.leave_half,
            "make_probe": self.make_probe,
            "keep_probe": self.keep_probe,
            "mark": self.mark,
            "marked": self.marked,
            "let_go": self.let_go,
            "epochs": self.epochs,
            "retire": self.retire,
            "close": self.close,
            "end": self.end,
        }

    @classmethod
    def open(cls, request: Fields) -> tuple[Side, Fields]:
        """Open or make the token."""
        token = FoundingToken.open(
            Path(request["module"]),
            request["label"],
            Secret(request["user_pin"].encode()),
            Secret(request["so_pin"].encode()),
        )
        return cls(token, request["role"]), {"serial": token.serial, "made": "yes" if token.made else ""}

    def held(self, request: Fields) -> Fields:
        """What this token has of the key: its half's check value, its marks, its probe (proved by use)."""
        label = request["label"]
        half = self._token.half(label)
        mark, probe = self._token.note(founded_label(label)), self._token.note(probe_label(label))
        closed = self._token.note(closed_label(label))
        if half is not None and probe is not None:
            check_probe(half, label, Probe.from_json(probe), self._token.profile)
        return {
            "check_value": ""
            if half is None
            else self._token.check_value(half, label, self._template(label)),
            "founded": "" if mark is None else mark.decode(),
            "probe": "" if probe is None else "yes",
            "retired": "" if self._token.note(retired_label(label)) is None else "yes",
            "challenge": "" if closed is None else closed.decode(),
        }

    def begin(self, _: Fields) -> Fields:
        """Make the ephemeral pair."""
        return {"point": self._token.begin().hex()}

    def agree(self, request: Fields) -> Fields:
        """Take both points; the fingerprint that comes back is what the officers compare."""
        self._agreement = self._token.agree(
            generator_point=bytes.fromhex(request["generator_point"]),
            distributor_point=bytes.fromhex(request["distributor_point"]),
        )
        return {"fingerprint": self._agreement.context("fingerprint").hex()}

    def leave_half(self, request: Fields) -> Fields:
        """Derive this token's half, in the place of what an interrupted ceremony left."""
        label = request["label"]
        if self._agreement is None:
            message = "the sides have not agreed yet"
            raise HsmError(message)
        self.let_go(request)
        return {"check_value": self._token.leave_half(self._agreement, label, self._template(label))}

    def make_probe(self, request: Fields) -> Fields:
        """Wrap something for the other half."""
        label = request["label"]
        return {
            "probe": make_probe(self._token.session, self._half(label), label, self._token.profile).to_json()
        }

    def keep_probe(self, request: Fields) -> Fields:
        """Prove the half by the probe, then keep the probe."""
        label = request["label"]
        probe = Probe.from_json(request["probe"])
        check_probe(self._half(label), label, probe, self._token.profile)
        self._token.leave_note(probe_label(label), probe.to_json().encode())
        return {}

    def mark(self, request: Fields) -> Fields:
        """Write down that both halves exist and were proved."""
        self._token.leave_note(founded_label(request["label"]), request["check_value"].encode())
        return {}

    def marked(self, request: Fields) -> Fields:
        """Whether the key is marked as founded, or as retired."""
        label = request["label"]
        marks = (self._token.note(mark(label)) for mark in (founded_label, retired_label))
        return {"marked": "" if all(mark is None for mark in marks) else "yes"}

    def let_go(self, request: Fields) -> Fields:
        """Destroy what an interrupted ceremony left of the key; whoever asks knows that nothing lies under it."""
        label = request["label"]
        for stale in (label, probe_label(label), founded_label(label)):
            self._token.discard(stale)
        return {}

    def epochs(self, request: Fields) -> Fields:
        """The numbers of the keys whose labels start so and are marked."""
        found = self._token.notes(founded_label(request["prefix"]))
        return {"epochs": " ".join(number for number in found if number.isdecimal())}

    def retire(self, request: Fields) -> Fields:
        """Destroy this token's half for good. The mark comes first: who works with the token sees no half that is lost."""
        label = request["label"]
        if self._token.note(retired_label(label)) is None:
            self._token.leave_note(retired_label(label), request["reason"].encode())
        for gone in (label, probe_label(label), founded_label(label)):
            self._token.discard(gone)
        return {}

    def close(self, request: Fields) -> Fields:
        """The word that proves that something was done after now; made once, and kept."""
        note = closed_label(request["label"])
        if self._token.note(note) is None:
            self._token.leave_note(note, secrets.token_hex(16).encode())
        return {"challenge": (self._token.note(note) or b"").decode()}

    def end(self, _: Fields) -> Fields:
        """Destroy the ephemeral keys."""
        self._token.end(*([self._agreement] if self._agreement else []))
        self._agreement = None
        return {}

    def answer(self, request: Fields) -> Fields:
        """Answer one request; what the token says is a failure of the ceremony.

        Raises:
            HsmError: the ceremony cannot go on.
        """
        return during_ceremony(lambda: self._answers[request["do"]](request))

    def _half(self, label: str) -> TokenObject:
        half = self._token.half(label)
        if half is None:
            message = f"this token has no half of {label}"
            raise HsmError(message)
        return half


def serve(requests: TextIO, answers: TextIO) -> int:
    """Answer requests until the pipe ends; the first failure is the last answer. Returns the exit status."""
    side: Side | None = None
    for line in requests:
        request: Fields = json.loads(line)
        try:
            if request["do"] == "look":
                answer = {"there": "yes" if is_made(Path(request["module"]), request["label"]) else ""}
            elif side is None:
                side, answer = Side.open(request)
            else:
                answer = side.answer(request)
        except RekeyError as error:
            answers.write(json.dumps({"error": str(error), "hint": error.hint or ""}) + "\n")
            answers.flush()
            return 1
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.stdin, sys.stdout))
