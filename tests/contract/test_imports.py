"""Ring 2: every import rule of the root pyproject is seen to break when its rule is broken.

``tests/run`` sees that all rules are kept; here one forbidden import is written into a copy of the
sources, and the rule that must notice is the one that does.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.environments import ROOT, members

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINTER = PROJECT["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract["name"] for contract in LINTER["contracts"]}

FORBIDDEN = [
    pytest.param(
        "rekey_audit", "import rekey_generator", "workspace", id="a service imports another service"
    ),
    pytest.param("rekey_core", "import rekey_runtime", "workspace", id="the core imports upwards"),
    pytest.param("rekey", "import rekey_hsm", "workspace", id="the SDK imports the HSM"),
    pytest.param("rekey_local", "import rekey_audit", "local", id="the supervisor imports a service"),
    pytest.param("rekey_revocation", "import rekey_hsm", "hsm", id="revocation imports the HSM"),
    pytest.param("rekey_distributor", "import pkcs11", "pkcs11", id="a service speaks PKCS#11 itself"),
    pytest.param(
        "rekey_provision", "import rekey_runtime", "services-only", id="the provisioner uses the runtime"
    ),
    pytest.param(
        "rekey_generator",
        "import rekey_runtime.database",
        "database",
        id="the generator reaches the database",
    ),
    pytest.param("rekey_audit", "import asyncpg", "asyncpg", id="a service speaks to PostgreSQL itself"),
    pytest.param("rekey_core.fresh", "", "core", id="a core module without a place"),
    pytest.param("rekey_core.errors", "import rekey_core.contracts", "core", id="errors imports contracts"),
    pytest.param("rekey_generator.settings", "import rekey_generator.app", "service", id="settings composes"),
    pytest.param("rekey_audit.fresh", "", "service", id="a service's module without a place"),
    pytest.param("rekey_runtime.fresh", "", "runtime-layers", id="a module of the runtime without a place"),
    pytest.param("rekey_hsm.fresh", "", "hsm-layers", id="a module of the HSM package without a place"),
    pytest.param("rekey.client", "import rekey.cli", "client-layers", id="the SDK knows its command line"),
    pytest.param("rekey_local.fresh", "", "local-layers", id="a module of the local stack without a place"),
    pytest.param("rekey_provision.fresh", "", "provision-layers", id="one of the provisioner"),
    pytest.param("rekey_ceremony.fresh", "", "ceremony-layers", id="one of the ceremony"),
    pytest.param("rekey_enrolment.fresh", "", "enrolment-layers", id="one of enrolment"),
    pytest.param("rekey_backup.fresh", "", "backup-layers", id="one of the backup program"),
    pytest.param("rekey_core.names", "import asyncio", "pure", id="the core does input and output"),
]


def _copy(to: Path) -> list[Path]:
    sources = [member.path / "src" for member in members().values()]
    copies = [to / source.parent.name for source in sources]
    for source, copy in zip(sources, copies, strict=True):
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return copies


def _module(copies: list[Path], name: str) -> Path:
    parts = name.split(".")
    package = next(copy / parts[0] for copy in copies if (copy / parts[0]).is_dir())
    return package / f"{parts[1]}.py" if len(parts) > 1 else package / "__init__.py"


def _lint(where: Path, copies: list[Path]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, copies)), "COLUMNS": "500"}
    program = Path(sys.executable).parent / "lint-imports"
    command = [str(program), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


def test_every_member_is_under_the_rules() -> None:
    assert set(LINTER["root_packages"]) == {name.replace("-", "_") for name in members()}


def test_every_rule_has_a_row() -> None:
    broken_here = {str(row.values[2]) for row in FORBIDDEN}
    assert broken_here == set(CONTRACTS)


@pytest.mark.parametrize(("module", "line", "contract"), FORBIDDEN)
def test_a_forbidden_import_breaks_its_rule(tmp_path: Path, module: str, line: str, contract: str) -> None:
    copies = _copy(tmp_path)
    file = _module(copies, module)
    file.write_text(f"{file.read_text() if file.exists() else ''}\n{line}\n")
    done = _lint(tmp_path, copies)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"^{re.escape(CONTRACTS[contract])} BROKEN", done.stdout, re.MULTILINE), done.stdout
