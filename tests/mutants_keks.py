"""Mistakes in how a KEK epoch begins and ends; part of the list in ``tests/mutants.py``."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

RETIRE: Final = "deploy/ceremony/src/rekey_ceremony/retire.py"
PURE: Final = ("tests/unit/rekey_ceremony/test_retire.py",)
TOKENS: Final = ("tests/system/test_kek_epochs.py",)

MUTANTS: Final = (
    Mutant(
        "epochs: the count leaves out what is asked for and not said to be generated",
        "shared/core/src/rekey_core/census.py",
        "return self.epoch in (None, epoch)",
        "return self.epoch == epoch",
        ("tests/unit/rekey_core/test_census.py",),
    ),
    Mutant(
        "epochs: the log is read before the generator's half is destroyed",
        RETIRE,
        "    if log.challenge != challenge:",
        "    if not log.challenge:",
        PURE,
    ),
    Mutant(
        "epochs: a log of nothing proves that nothing is left",
        RETIRE,
        "    if not keys:",
        "    if keys < 0:",
        PURE,
    ),
    Mutant(
        "epochs: a key that cannot be decided has nothing there",
        RETIRE,
        "if state.undecidable else []",
        "if not state.key else []",
        PURE,
    ),
    Mutant(
        "epochs: the generator's half is destroyed last",
        RETIRE,
        '        for label in keks:\n            generator.ask("retire", label=label, reason=reason)\n',
        "",
        TOKENS,
    ),
    Mutant(
        "epochs: the newest one may end",
        RETIRE,
        "    if newest <= plan.epoch:",
        "    if newest < plan.epoch:",
        TOKENS,
    ),
    Mutant(
        "epochs: one that is retired is made again",
        "deploy/ceremony/src/rekey_ceremony/sides.py",
        'if one["retired"] or other["retired"]:',
        'if one["retired"] and not other["retired"]:',
        TOKENS,
    ),
    Mutant(
        "epochs: a half counts before its ceremony is finished",
        "shared/hsm/src/rekey_hsm/token.py",
        "return (self._side is None or self._side.mark(label) in notes) and retired_label(label) not in notes",
        "return retired_label(label) not in notes",
        TOKENS,
    ),
    Mutant(
        "epochs: a service leaves when a half that it has used is retired",
        "shared/hsm/src/rekey_hsm/token.py",
        "        self._founded -= {label for label in self._founded if retired_label(label) in notes}\n",
        "",
        TOKENS,
    ),
    Mutant(
        "epochs: whoever made a key marks it as well",
        "deploy/ceremony/src/rekey_ceremony/perform.py",
        '    distributor.ask("keep_probe", label=label, probe=generator.ask("make_probe", label=label)["probe"])\n',
        '    distributor.ask("keep_probe", label=label, probe=generator.ask("make_probe", label=label)["probe"])\n'
        '    generator.ask("mark", label=label, check_value=value)\n',
        ("tests/system/test_full_token.py",),
    ),
    Mutant(
        "epochs: an end is recorded while something lies under the epoch",
        "services/audit/src/rekey_audit/attesting.py",
        "            check_empty(found, states)",
        "            check_empty(found, states) if found.epoch < 0 else None",
        ("tests/unit/rekey_audit/test_attesting.py",),
    ),
    Mutant(
        "restores: a version comes under an epoch whose end has begun",
        "services/generator/src/rekey_generator/restorations.py",
        "        await self._store(offer, made)\n        await self._require_open(offer)",
        "        await self._store(offer, made)",
        ("tests/unit/rekey_generator/test_restorations.py",),
    ),
)
