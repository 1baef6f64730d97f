"""The NATS configuration of one server, rendered from the authority table: accounts, exports, imports, users.

Allow-lists only. Streams are in CORE, where nobody logs in; everybody has an account of their own, which imports what
their kind may do, so that a forged reply subject reaches nothing that its forger may not publish to anyway (DESIGN §4).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from rekey_core.authority import Identity
from rekey_provision.plan import BusPlan, ClusterPlan
from rekey_provision.rights import CORE, Right, account, hears, rights, rooms, serves

ANSWER_WITHIN: Final = "30s"  # how long an answering service may publish to the reply subject of one request


def spiffe_id(env: str, identity: Identity, name: str = "") -> str:
    """The URI in an identity's certificate, which is its user name on the bus."""
    match identity:
        case Identity.APPLICATION | Identity.PERSON:
            return f"spiffe://rekey.{env}/{identity}/{name}"
        case Identity.PROVISIONER | Identity.ENROLMENT | Identity.BACKUP:
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
    accounts = [
        _core(plan),
        *(_client(plan, identity, *own) for identity in Identity for own in _accounts(plan, identity)),
    ]
    accounts.append("  SYS {}")
    blocks.append("\n".join(["system_account: SYS", "accounts {", *accounts, "}"]))
    return "\n".join(blocks) + "\n"


def _server(plan: BusPlan) -> str:
    return f'server_name: {_q(plan.server_name)}\nlisten: "{plan.host}:{plan.port}"'


def _jetstream(plan: BusPlan) -> str:
    key = f"include {_q(plan.store_key_file)}" if plan.store_key_file else "key: $JSKEY"
    cipher = f"\n  cipher: aes\n  {key}" if plan.encrypted else ""
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
    return f"  cert_file: {_q(str(plan.tls_cert))}\n  key_file: {_q(str(plan.tls_key))}\n  ca_file: {_q(str(plan.tls_ca))}\n"


def _accounts(plan: BusPlan, identity: Identity) -> list[tuple[str, str | None]]:
    """The accounts of a kind of identity, and who is in each: a name, nobody (None), or the one service ("")."""
    many = {
        Identity.APPLICATION: (plan.dependents, plan.application_accounts),
        Identity.PERSON: (plan.people, plan.people_accounts),
    }
    if identity not in many:
        return [(account(identity), "")]
    names, size = many[identity]
    taken = {room: name for name, room in rooms(names, size).items()}
    return [(account(identity, room), taken.get(room)) for room in range(size)]


def _core(plan: BusPlan) -> str:
    exports: dict[Right, list[str]] = {}
    lines = []
    for identity in Identity:
        accounts = [name for name, _ in _accounts(plan, identity)]
        for right in rights(identity, plan.env):
            if right.server == CORE:
                exports.setdefault(right, []).extend(accounts)
        lines += [_export_stream(subject, accounts) for subject in hears(identity, plan.env)]
    lines += [_export(right.theirs, names, streamed=right.streamed) for right, names in exports.items()]
    return _account(CORE, [], lines, [], jetstream=True)


def _client(plan: BusPlan, identity: Identity, own: str, name: str | None) -> str:
    """Imports are as wide as the kind of identity, since they must be there before anybody is; users are narrow."""
    served = serves(identity, plan.env)
    exports = [_export(s, [client for client, _ in _accounts(plan, c)]) for s, c in served]
    imports = [_import(right) for right in rights(identity, plan.env)]
    imports += [f"{{ stream: {{ account: {CORE}, subject: {_q(s)} }} }}" for s in hears(identity, plan.env)]
    return _account(own, [] if name is None else [_member(plan, identity, name)], exports, imports)


def _member(plan: BusPlan, identity: Identity, name: str) -> str:
    publish = [right.ours for right in rights(identity, plan.env, name or "*")]
    served = [subject for subject, _ in serves(identity, plan.env)]
    subscribe = [inbox(identity, name) + ".>", *hears(identity, plan.env, name or "*"), *served]
    return _user(spiffe_id(plan.env, identity, name), publish, subscribe, answers=bool(served))


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


def _export_stream(subject: str, accounts: Iterable[str]) -> str:
    return f"{{ stream: {_q(subject)}, accounts: [{', '.join(accounts)}] }}"


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
