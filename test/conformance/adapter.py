"""Runs the steps that come as lines of JSON by the client of docs/clients.md, and answers each with a line."""
import functools
import json
import sys

import grpc
from google.protobuf.duration_pb2 import Duration

from tollgate import Tollgate, pb

reservations = {}


@functools.cache
def tollgate_of(tenant, storefront):
    return Tollgate(sys.argv[1], tenant, storefront)


def word(enum, number):
    return enum.Name(number).split("_", 1)[1].lower()


def instant(message, field):
    return getattr(message, field).ToJsonString() if message.HasField(field) else None


def said(decision):
    return {
        "allowed": decision.allowed,
        "reason": word(pb.Reason, decision.reason),
        "kind": word(pb.Kind, decision.kind),
        "limit": None if decision.unlimited else decision.limit,
        "used": decision.used,
        "remaining": None if decision.unlimited else decision.remaining,
        "value": decision.value,
        "resetsAt": instant(decision, "resets_at"),
        "validUntil": instant(decision, "valid_until"),
    }


def ttl_of(call):
    return {"ttl": Duration(nanos=call["ttlMs"] % 1000 * 1_000_000, seconds=call["ttlMs"] // 1000)} if "ttlMs" in call else {}


def answer(tollgate, call):
    what = call["call"]
    customer, entitlement, amount = call["customer"], call.get("entitlement", ""), call.get("amount", 0)
    key, holder = call.get("idempotencyKey", ""), call.get("holder", "")
    names = {"customer_id": customer, "entitlement": entitlement, "amount": amount, "holder": holder, "idempotency_key": key}
    reservation = reservations.get(call.get("reservation"), "")
    if what == "check":
        return said(tollgate.check(customer, entitlement, amount, timeout=10))
    if what == "consume":
        use = tollgate.consume(customer, entitlement, amount, key, timeout=10, holder=holder, **ttl_of(call))
        return {**said(use.decision), "counted": use.counted, "overLimit": use.over_limit}
    if what == "reserve":
        reserved = tollgate.sidecar.ReserveEntitlement(pb.ReserveEntitlementRequest(**names, **tollgate.whose, **ttl_of(call)), timeout=10)
        reservations[call.get("as")] = reserved.reservation_id
        return said(reserved.decision)
    if what == "commit":
        used = {"amount": amount} if "amount" in call else {}
        done = tollgate.sidecar.CommitReservation(pb.CommitReservationRequest(reservation_id=reservation, **used), timeout=10)
        return {"used": done.used, "overLimit": done.over_limit}
    if what == "release":
        tollgate.sidecar.ReleaseReservation(pb.ReleaseReservationRequest(reservation_id=reservation), timeout=10)
        return {}
    return {"used": tollgate.sidecar.ReleaseEntitlement(pb.ReleaseEntitlementRequest(**names, **tollgate.whose), timeout=10).used}


for line in sys.stdin:
    call = json.loads(line)
    try:
        print(json.dumps(answer(tollgate_of(call["tenant"], call["storefront"]), call)), flush=True)
    except grpc.RpcError as error:
        print(json.dumps({"error": error.code().name, "details": error.details()}), flush=True)
