"""The NATS configuration of one server, rendered from the authority table: accounts, exports, imports, users.

Allow-lists only. Streams are in CORE, where nobody logs in; everybody has an account of their own and imports exactly
their rights, so that a forged reply subject reaches nothing that its forger may not publish to anyway (DESIGN §4).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from rekey_core.authority import Identity

from rekey_provision.plan import BusPlan, ClusterPlan
from rekey_provision.rights import CORE, Right, account, hears, rights, serves

ANSWER_WITHIN: Final = "30s"  # how long an answering service may publish to the reply subject of one request


def spiffe_id(env: str, identity: Identity, name: str = "") -> str:
    """The URI in an identity's certificate, which is its user name on the bus."""
    match identity:
        case Identity.APPLICATION | Identity.PERSON:
            return f"spiffe://rekey.{env}/{identity}/{name}"
        case Identity.PROVISIONER | Identity.ENROLMENT:
            return f"spiffe://rekey.{env}/{identity}"
        case _:
            return f"spiffe://rekey.{env}/service/{identity}"


def inbox(identity: Identity, name: str = "") -> str:
    """The prefix of an identity's reply subjects, without the trailing dot."""
    return f"_INBOX_{name or identity}"


def render_config(plan: BusPlan) -> str:
    """The configuration file of one server."""
    blocks = [_server(plan), _jetstream(plan), _tls(plan)]
    if plan.cluster:
        blocks.append(_cluster(plan, plan.cluster))
    accounts = [_core(plan), *(_client(plan, who, name) for who, name in _everybody(plan)), "  SYS {}"]
    blocks.append("\n".join(["system_account: SYS", "accounts {", *accounts, "}"]))
    return "\n".join(blocks) + "\n"


def _server(plan: BusPlan) -> str:
    return f'server_name: {_q(plan.server_name)}\nlisten: "{plan.host}:{plan.port}"'


def _jetstream(plan: BusPlan) -> str:
    cipher = "\n  cipher: aes\n  key: $JSKEY" if plan.encrypted else ""
    return (
        f"jetstream {{\n  store_dir: {_q(str(plan.store_dir))}\n  sync_interval: always\n"
        f"  max_file_store: {plan.max_store_bytes}{cipher}\n}}"
    )


def _tls(plan: BusPlan) -> str:
    return f'tls {{\n{_files(plan)}  verify_and_map: true\n  min_version: "1.3"\n  timeout: 5\n}}'


def _cluster(plan: BusPlan, cluster: ClusterPlan) -> str:
    routes = ", ".join(_q(route) for route in cluster.routes)
    return (
        f'cluster {{\n  name: {_q(cluster.name)}\n  listen: "{cluster.host}:{cluster.port}"\n'
        f"  routes: [{routes}]\n  tls {{\n{_files(plan)}  verify: true\n  timeout: 5\n  }}\n}}"
    )


def _files(plan: BusPlan) -> str:
    return (
        f"  cert_file: {_q(str(plan.tls_cert))}\n  key_file: {_q(str(plan.tls_key))}\n  ca_file: {_q(str(plan.tls_ca))}\n"
    )


def _everybody(plan: BusPlan) -> Iterator[tuple[Identity, str]]:
    for identity in Identity:
        yield from ((identity, name) for name in _names(plan, identity))


def _names(plan: BusPlan, identity: Identity) -> tuple[str, ...]:
    return {Identity.APPLICATION: plan.dependents, Identity.PERSON: plan.people}.get(identity, ("",))


def _core(plan: BusPlan) -> str:
    """Exports are as wide as the kind of identity, imports as narrow as the one: so CORE does not grow by each."""
    exports: dict[Right, list[str]] = {}
    lines = []
    for identity in Identity:
        accounts = [account(identity, name) for name in _names(plan, identity)]
        for right in rights(identity, plan.env):
            if right.server == CORE and accounts:
                exports.setdefault(right, []).extend(accounts)
        if accounts:
            lines += [
                f"{{ stream: {_q(subject)}, accounts: [{', '.join(accounts)}] }}"
                for subject in hears(identity, plan.env)
            ]
    lines += [_export(right.theirs, names, streamed=right.streamed) for right, names in exports.items()]
    return _account(CORE, [], lines, [], jetstream=True)


def _client(plan: BusPlan, identity: Identity, name: str) -> str:
    served = serves(identity, plan.env)
    exports = [_export(s, accounts) for s, c in served if (accounts := [account(c, n) for n in _names(plan, c)])]
    mine = rights(identity, plan.env, name or "*")
    heard = hears(identity, plan.env, name or "*")
    imports = [_import(right) for right in mine]
    imports += [f"{{ stream: {{ account: {CORE}, subject: {_q(s)} }} }}" for s in heard]
    subscribe = [inbox(identity, name) + ".>", *heard, *(subject for subject, _ in served)]
    user = _user(spiffe_id(plan.env, identity, name), [r.ours for r in mine], subscribe, answers=bool(served))
    return _account(account(identity, name), [user], exports, imports)


def _user(user: str, publish: Iterable[str], subscribe: Iterable[str], *, answers: bool = False) -> str:
    responses = f'\n      allow_responses: {{ max: 1, expires: "{ANSWER_WITHIN}" }}' if answers else ""
    return (
        f"{{ user: {_q(user)}, permissions: {{\n"
        f"      publish: {{ allow: {_list(publish)} }}\n"
        f"      subscribe: {{ allow: {_list(subscribe)} }}{responses}\n    }} }}"
    )


def _export(subject: str, accounts: Iterable[str], *, streamed: bool = False) -> str:
    response = ", response: stream" if streamed else ""
    return f"{{ service: {_q(subject)}{response}, accounts: [{', '.join(dict.fromkeys(accounts))}] }}"


def _import(right: Right) -> str:
    mapped = f", to: {_q(right.ours)}" if right.ours != right.theirs else ""
    return f"{{ service: {{ account: {right.server}, subject: {_q(right.theirs)} }}{mapped} }}"


def _account(
    name: str, users: list[str], exports: list[str], imports: list[str], *, jetstream: bool = False
) -> str:
    lines = [f"  {name} {{"]
    if jetstream:
        lines.append("    jetstream: enabled")
    for title, entries in (("users", users), ("exports", exports), ("imports", imports)):
        lines.append(f"    {title}: [")
        lines += [f"    {entry}," for entry in entries]
        lines.append("    ]")
    return "\n".join([*lines, "  }"])


def _list(subjects: Iterable[str]) -> str:
    return "[" + ", ".join(_q(subject) for subject in dict.fromkeys(subjects)) + "]"


def _q(text: str) -> str:
    return json.dumps(text)
