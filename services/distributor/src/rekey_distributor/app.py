"""Composition of the distributor: token, consumers, requests, public keys over HTTP, readiness."""

from __future__ import annotations

from typing import Final

from rekey_core.authority import Stream
from rekey_core.contracts import OPS
from rekey_core.secret import Secret
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.delivering import Delivering
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.handlers import Distributor
from rekey_distributor.jwks import Jwks
from rekey_distributor.leasing import Leasing
from rekey_distributor.permits import Permits
from rekey_distributor.quotas import Quotas
from rekey_distributor.records import Records
from rekey_distributor.releasing import Releasing
from rekey_distributor.requests import Requests
from rekey_distributor.sealing_keys import SealingKeys
from rekey_distributor.settings import DistributorSettings
from rekey_distributor.using import Using
from rekey_hsm import DistributorHsm, TokenSettings
from rekey_runtime.clock import BusClock
from rekey_runtime.health import Check, Remark
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service

PATIENCE_S: Final = 1.0  # half of what a try of the SDK waits (``try_s``): the rest is for the answer


async def compose(service: Service, settings: DistributorSettings) -> None:
    """Open the token, recall the emergencies, then answer. Raises HsmError for a token that was not founded."""
    pin = Secret(settings.pin_file.read_bytes().strip())
    token = TokenSettings(settings.hsm_module, settings.token_label, settings.token_serial, pin)
    hsm = await DistributorHsm.open(token)
    bus, keylog = service.bus, KeyLog(service.bus)
    records, deliveries, emergencies = Records(bus, hsm), Deliveries(bus), Emergencies()
    distributor = Distributor(bus, keylog, hsm, records, emergencies)
    delivering, quotas = Delivering(keylog, deliveries), Quotas(bus)
    clock = BusClock(bus, Stream.LEASES)
    await clock.ask()
    releasing = Releasing(bus, hsm, records, delivering, emergencies, clock)
    using = Using(keylog, hsm, records, delivering, emergencies, Permits(quotas.allot))
    leasing = Leasing(bus, keylog, deliveries, emergencies, quotas, clock, settings.dev_lease_divisor)
    requests = Requests(bus, releasing, using, leasing, clock, SealingKeys(bus))
    await distributor.recall()
    service.consume("distributor-emergency", distributor.on_emergency)
    service.consume("distributor", distributor.on_fact)
    for op in OPS:  # each with a queue of its own: many signatures cannot keep a lease waiting
        service.answer(f"req.{settings.env}.*.*.{op}", requests.on_request, patience_s=PATIENCE_S)
    service.every(settings.overhear_s, distributor.overhear)
    service.every(settings.sweep_s, distributor.sweep)
    service.every(settings.sweep_s, clock.ask)
    service.ready_when(Check.HSM, hsm.prove)
    if hsm.is_software:
        service.health.remarks.add(Remark.SOFTWARE_KEYS)
    service.serve(Jwks(settings.env, keylog.state, emergencies).answer)
    service.on_stop(hsm.close)
