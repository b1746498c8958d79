package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// PingResult is what a test webhook came to.
type PingResult struct {
	URL              string  `json:"url"`
	WebhookID        string  `json:"webhook_id"`
	Delivered        bool    `json:"delivered"`
	StatusCode       int     `json:"status_code"` // 0: no answer
	Error            string  `json:"error"`
	RemoteAddr       string  `json:"remote_addr"`
	DNSSeconds       float64 `json:"dns_seconds"`
	ConnectSeconds   float64 `json:"connect_seconds"`
	TLSSeconds       float64 `json:"tls_seconds"`
	FirstByteSeconds float64 `json:"first_byte_seconds"`
	TotalSeconds     float64 `json:"total_seconds"`
	ResponseBody     string  `json:"response_body"`
}

// Ping sends a test webhook to a receiver: the number of an endpoint, or a URL as
// in callback_url. It is signed as a real one would be. When ctx ends it returns
// ctx's error.
func Ping(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, client *webhook.Client, receiver string) (PingResult, error) {
	message, err := pingMessage(ctx, pool, ring, receiver)
	if err != nil {
		return PingResult{}, err
	}
	result := client.Send(ctx, message)
	if ctx.Err() != nil {
		return PingResult{}, ctx.Err()
	}
	return PingResult{
		URL: message.URL, WebhookID: message.ID, Delivered: result.Delivered(), StatusCode: result.StatusCode, Error: result.Reason(),
		RemoteAddr: result.RemoteAddr, DNSSeconds: result.Timings.DNS.Seconds(), ConnectSeconds: result.Timings.Connect.Seconds(),
		TLSSeconds: result.Timings.TLS.Seconds(), FirstByteSeconds: result.Timings.FirstByte.Seconds(),
		TotalSeconds: result.Timings.Total.Seconds(), ResponseBody: result.Body,
	}, nil
}

func pingMessage(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, receiver string) (webhook.Message, error) {
	body, err := json.Marshal(webhook.TestEvent{Type: webhook.Test, Timestamp: time.Now().UTC()})
	if err != nil {
		return webhook.Message{}, fmt.Errorf("encoding the test webhook: %w", err)
	}
	m := webhook.Message{URL: receiver, ID: webhook.NewEventID(), Body: body}
	var owner *int64
	if id, err := strconv.ParseInt(receiver, 10, 64); err == nil {
		endpoint, err := GetEndpoint(ctx, pool, id)
		if err != nil {
			return m, err
		}
		owner, m.URL = &id, endpoint.URL
	} else if err := webhook.CheckURL(receiver); err != nil {
		return m, invalid("", "%q is neither the number of an endpoint nor a URL: %s", receiver, err)
	}
	if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
		return m, err
	}
	stored, err := db.SigningSecrets(ctx, pool, owner)
	if err != nil {
		return m, fmt.Errorf("reading the signing keys: %w", err)
	}
	m.Secrets, err = openKeys(ring, stored)
	return m, err
}

// openKeys opens signing keys as they are stored.
func openKeys(ring *keyring.Keyring, stored []string) ([]string, error) {
	opened := make([]string, len(stored))
	for i, key := range stored {
		secret, err := ring.Open(key)
		if err != nil {
			return nil, fmt.Errorf("opening a signing key: %w", err)
		}
		opened[i] = secret
	}
	return opened, nil
}
