// Runs the steps that come as lines of JSON by the client of docs/clients.md, and answers each with a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	pb "example.com/reports/proto/entitlement/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type call struct {
	Call, Tenant, Storefront, Customer, Entitlement, IdempotencyKey, Holder, As, Reservation string
	Amount, TtlMs                                                                            *int64
}

type said map[string]any

var reservations = map[string]string{}

func word(name string) string {
	_, rest, _ := strings.Cut(name, "_")
	return strings.ToLower(rest)
}

func instant(at *timestamppb.Timestamp) any {
	if at == nil {
		return nil
	}
	return at.AsTime().Format(time.RFC3339Nano)
}

func saidOf(decision *pb.CheckEntitlementResponse) said {
	answer := said{
		"allowed": decision.Allowed, "reason": word(decision.Reason.String()), "kind": word(decision.Kind.String()), "value": decision.Value,
		"limit": decision.Limit, "used": decision.Used, "remaining": decision.Remaining,
		"resetsAt": instant(decision.ResetsAt), "validUntil": instant(decision.ValidUntil),
	}
	if decision.Unlimited {
		answer["limit"], answer["remaining"] = nil, nil
	}
	return answer
}

func answer(ctx context.Context, tollgate *Tollgate, one call) (said, error) {
	var amount int64
	if one.Amount != nil {
		amount = *one.Amount
	}
	var ttl *durationpb.Duration
	if one.TtlMs != nil {
		ttl = durationpb.New(time.Duration(*one.TtlMs) * time.Millisecond)
	}
	reservation := reservations[one.Reservation]
	switch one.Call {
	case "check":
		decision, err := tollgate.Check(ctx, one.Customer, one.Entitlement, amount)
		if err != nil {
			return nil, err
		}
		return saidOf(decision), nil
	case "consume":
		use, err := tollgate.Consume(ctx, &pb.ConsumeEntitlementRequest{
			CustomerId: one.Customer, Entitlement: one.Entitlement, Amount: amount, IdempotencyKey: one.IdempotencyKey, Holder: one.Holder, Ttl: ttl,
		})
		if err != nil {
			return nil, err
		}
		answer := saidOf(use.Decision)
		answer["counted"], answer["overLimit"] = use.Counted, use.OverLimit
		return answer, nil
	case "reserve":
		reserved, err := tollgate.Sidecar.ReserveEntitlement(ctx, &pb.ReserveEntitlementRequest{
			TenantId: one.Tenant, StorefrontId: one.Storefront, CustomerId: one.Customer, Entitlement: one.Entitlement, Amount: amount,
			IdempotencyKey: one.IdempotencyKey, Holder: one.Holder, Ttl: ttl,
		})
		if err != nil {
			return nil, err
		}
		reservations[one.As] = reserved.ReservationId
		return saidOf(reserved.Decision), nil
	case "commit":
		done, err := tollgate.Sidecar.CommitReservation(ctx, &pb.CommitReservationRequest{ReservationId: reservation, Amount: one.Amount})
		if err != nil {
			return nil, err
		}
		return said{"used": done.Used, "overLimit": done.OverLimit}, nil
	case "release":
		_, err := tollgate.Sidecar.ReleaseReservation(ctx, &pb.ReleaseReservationRequest{ReservationId: reservation})
		return said{}, err
	default:
		places, err := tollgate.Sidecar.ReleaseEntitlement(ctx, &pb.ReleaseEntitlementRequest{
			TenantId: one.Tenant, StorefrontId: one.Storefront, CustomerId: one.Customer, Entitlement: one.Entitlement, Amount: amount, Holder: one.Holder,
		})
		if err != nil {
			return nil, err
		}
		return said{"used": places.Used}, nil
	}
}

var names = map[codes.Code]string{codes.InvalidArgument: "INVALID_ARGUMENT", codes.NotFound: "NOT_FOUND"}

var tollgates = map[string]*Tollgate{}

func tollgateOf(tenant, storefront string) *Tollgate {
	if known := tollgates[tenant]; known != nil {
		return known
	}
	made, err := NewTollgate(os.Args[1], tenant, storefront)
	if err != nil {
		panic(err)
	}
	tollgates[tenant] = made
	return made
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var one call
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		answered, err := answer(ctx, tollgateOf(one.Tenant, one.Storefront), one)
		cancel()
		if err != nil {
			name := names[status.Code(err)]
			if name == "" {
				name = status.Code(err).String()
			}
			answered = said{"error": name, "details": err.Error()}
		}
		text, _ := json.Marshal(answered)
		fmt.Println(string(text))
	}
}
