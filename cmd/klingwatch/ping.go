package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

type endpointsPing struct {
	Receiver string `arg:"" help:"Number of a receiver, or a URL, whose webhook is signed like one to a callback_url."`
	JSON     bool   `help:"Print one JSON object."`
}

// pingResult is what a test webhook came to.
type pingResult struct {
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

// Run sends from here, with the client and the keys that the service uses.
func (p endpointsPing) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		message, err := p.message(ctx, s, d)
		if err != nil {
			return err
		}
		client := s.webhooks()
		defer client.Close()
		result := client.Send(ctx, message)
		shown := pingResult{
			URL: message.URL, WebhookID: message.ID, Delivered: result.Delivered(), StatusCode: result.StatusCode, Error: result.Reason(),
			RemoteAddr: result.RemoteAddr, DNSSeconds: result.Timings.DNS.Seconds(), ConnectSeconds: result.Timings.Connect.Seconds(),
			TLSSeconds: result.Timings.TLS.Seconds(), FirstByteSeconds: result.Timings.FirstByte.Seconds(),
			TotalSeconds: result.Timings.Total.Seconds(), ResponseBody: result.Body,
		}
		if p.JSON {
			err = printJSON(c.out, shown)
		} else {
			c.printPing(shown)
		}
		if err == nil && !shown.Delivered {
			err = quietError{}
		}
		return err
	})
}

// message is the test webhook, signed as a real one would be.
func (p endpointsPing) message(ctx context.Context, s settings, d *database) (webhook.Message, error) {
	body, err := json.Marshal(map[string]any{"type": webhook.Test, "timestamp": time.Now().UTC(), "data": map[string]any{}})
	if err != nil {
		return webhook.Message{}, err
	}
	m := webhook.Message{URL: p.Receiver, ID: webhook.NewEventID(), Body: body}
	var owner *int64
	if id, err := strconv.ParseInt(p.Receiver, 10, 64); err == nil {
		endpoint, err := db.GetEndpoint(ctx, d.Pool, id)
		if err != nil {
			return m, endpointError(id, err)
		}
		owner, m.URL = &id, endpoint.URL
	} else if err := webhook.CheckURL(p.Receiver); err != nil {
		return m, fmt.Errorf("%q is neither the number of an endpoint nor a URL: %w", p.Receiver, err)
	}
	if err := ledger.CheckKeyring(ctx, d.Pool, s.keyring()); err != nil {
		return m, err
	}
	stored, err := db.SigningSecrets(ctx, d.Pool, owner)
	if err != nil {
		return m, fmt.Errorf("reading the signing keys: %w", err)
	}
	for _, key := range stored {
		secret, err := s.keyring().Open(key)
		if err != nil {
			return m, err
		}
		m.Secrets = append(m.Secrets, secret)
	}
	if len(m.Secrets) == 0 {
		return m, errors.New("there is no key to sign with: try klingwatch keys show")
	}
	return m, nil
}

func (c *console) printPing(r pingResult) {
	answer := "no answer"
	if r.StatusCode != 0 {
		answer = "HTTP " + strconv.Itoa(r.StatusCode)
	}
	state := "delivered"
	if !r.Delivered {
		state = "wrong"
	}
	c.printField("receiver", r.URL)
	c.printField("status", state)
	c.printField("answer", answer)
	c.printField("why", r.Error)
	c.printField("address", r.RemoteAddr)
	for _, step := range []struct {
		name    string
		seconds float64
	}{{"DNS", r.DNSSeconds}, {"connect", r.ConnectSeconds}, {"TLS", r.TLSSeconds}, {"first byte", r.FirstByteSeconds}, {"in all", r.TotalSeconds}} {
		if step.seconds > 0 {
			c.printField(step.name, milliseconds(step.seconds))
		}
	}
	c.printField("webhook-id", r.WebhookID)
	c.printField("body", r.ResponseBody)
	if r.Delivered || r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden {
		fmt.Fprint(c.out, verification)
	}
}

// verification shows receivers how a webhook is verified; docs/webhooks.md has
// whole handlers.
const verification = `
Verify it with the whole secret (klingwatch keys show), whsec_ included, and the raw body:

  Go      github.com/standard-webhooks/standard-webhooks/libraries/go
          verifier, err := standardwebhooks.NewWebhook(os.Getenv("WEBHOOK_SECRET"))
          err = verifier.Verify(body, r.Header)

  Node    npm install standardwebhooks
          const event = new Webhook(process.env.WEBHOOK_SECRET).verify(rawBody, req.headers)

  Python  pip install standardwebhooks
          event = Webhook(os.environ["WEBHOOK_SECRET"]).verify(request.get_data(), dict(request.headers))
`
