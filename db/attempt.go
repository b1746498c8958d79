package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Attempt is a row of klingwatch.delivery_attempts: one request of a delivery. Its
// seconds are nil for a step that the request did not take or reach.
type Attempt struct {
	Delivery         int64     `json:"-"`
	Attempt          int       `json:"attempt"` // from 1
	StartedAt        time.Time `json:"started_at"`
	FinishedAt       time.Time `json:"finished_at"`
	StatusCode       *int      `json:"status_code"`   // nil: no answer came
	Error            *string   `json:"error"`         // nil for a 2xx
	ResponseBody     *string   `json:"response_body"` // the beginning of it
	RemoteAddr       *string   `json:"remote_addr"`   // nil: there was no connection
	DNSSeconds       *float64  `json:"dns_seconds"`   // nil on a connection that was open already
	ConnectSeconds   *float64  `json:"connect_seconds"`
	TLSSeconds       *float64  `json:"tls_seconds"`
	FirstByteSeconds *float64  `json:"first_byte_seconds"`
}

// AttemptsOf returns the attempts of deliveries, in the order of both.
func AttemptsOf(ctx context.Context, q Querier, deliveries []int64) ([]Attempt, error) {
	return all[Attempt](ctx, q, `
		select delivery,
		       attempt,
		       started_at,
		       finished_at,
		       status_code,
		       error,
		       response_body,
		       remote_addr,
		       dns_seconds,
		       connect_seconds,
		       tls_seconds,
		       first_byte_seconds
		from klingwatch.delivery_attempts
		where delivery = any (@deliveries)
		order by delivery, attempt`,
		pgx.StrictNamedArgs{"deliveries": deliveries})
}
