package operate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// CurlDelivery returns a command for a shell that sends a delivery as it would be sent at a
// time: signed with the keys that its receiver verifies with now, who takes it for genuine
// for some minutes.
func CurlDelivery(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, id int64, userAgent string, at time.Time) (string, error) {
	if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
		return "", err
	}
	targets, err := db.DeliveryTargets(ctx, pool, []int64{id})
	if err == nil && len(targets) == 0 {
		err = db.ErrNotFound
	}
	if err != nil {
		return "", deliveryError(id, "reading", err)
	}
	m, err := messageOf(ring, targets[0])
	if err != nil {
		return "", err
	}
	header, err := m.Header(userAgent, at)
	if err != nil {
		return "", fmt.Errorf("signing delivery %d: %w", id, err)
	}
	var b strings.Builder
	b.WriteString("curl -sS -i --globoff " + shellQuote(m.URL))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		b.WriteString(" \\\n  -H " + shellQuote(strings.ToLower(name)+": "+header.Get(name)))
	}
	b.WriteString(" \\\n  --data-raw " + shellQuote(string(m.Body)))
	return b.String(), nil
}

// messageOf is what a receiver is sent, by a person: it joins no trace.
func messageOf(ring *keyring.Keyring, t db.DeliveryTarget) (m webhook.Message, err error) {
	m = webhook.Message{URL: t.URL, ID: t.EventID, Body: []byte(t.Body)}
	if m.Secrets, err = openKeys(ring, t.Secrets); err != nil {
		return m, err
	}
	if t.Thin {
		if m.Body, err = webhook.Thin(m.Body); err != nil {
			return m, fmt.Errorf("making the body of delivery %d: %w", t.ID, err)
		}
	}
	return m, nil
}

// shellQuote makes one word of a text for any POSIX shell: within single quotes only they
// themselves mean anything.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
