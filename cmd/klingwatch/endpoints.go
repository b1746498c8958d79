package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
)

type endpointsCommand struct {
	Add     endpointsAdd     `cmd:"" help:"Add a receiver and print its signing secret."`
	List    endpointsList    `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List the receivers."`
	Edit    endpointsEdit    `cmd:"" help:"Change a receiver's URL, or which events it gets."`
	Ping    endpointsPing    `cmd:"" help:"Send a test webhook, report how it went, and show how to verify it."`
	Rotate  endpointsRotate  `cmd:"" help:"Give a receiver a new secret; the old one also signs for a while."`
	Remove  endpointsRemove  `cmd:"" help:"Remove a receiver and its deliveries."`
	Disable endpointsDisable `cmd:"" may:"klingwatch_operator" help:"Stop sending to a receiver; its deliveries wait."`
	Enable  endpointsEnable  `cmd:"" may:"klingwatch_operator" help:"Send to a receiver again, beginning with what waited."`
}

type endpointsAdd struct {
	URL         string   `arg:"" help:"Absolute http(s) URL."`
	Events      []string `help:"Event types, separated by commas, or all; default: those that end a task." placeholder:"TYPE" predictor:"event"`
	Actions     []string `help:"Only tasks of these kinds, like videos or images/generations; default: all." placeholder:"PATH"`
	Thin        bool     `help:"Send ids and status only."`
	Description string   `help:"A note for people." placeholder:"TEXT"`
}

// Run adds a receiver.
func (e endpointsAdd) Run(ctx context.Context, c *console) error {
	endpoint := operate.NewEndpoint{URL: e.URL, Events: e.Events, Actions: e.Actions, Thin: e.Thin, Description: e.Description}
	if err := endpoint.Check(); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		added, err := operate.AddEndpoint(ctx, d.Pool, s.keyring(), endpoint)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "endpoint %d gets %s\nsigning secret: %s\ntry it: klingwatch endpoints ping %d\n", added.ID, strings.Join(added.Events, ", "), added.Secret, added.ID)
		return nil
	})
}

type endpointsList struct {
	JSON bool `help:"Print one JSON object per line."`
}

func (e endpointsList) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		endpoints, err := db.ListEndpoints(ctx, d.Pool)
		if err != nil {
			return fmt.Errorf("reading the receivers: %w", err)
		}
		if e.JSON {
			return printLines(c.out, endpoints)
		}
		var rows [][]string
		for _, w := range endpoints {
			state, why := "enabled", ""
			switch {
			case w.DisabledAt != nil:
				state, why = "disabled", deref(w.DisabledReason)
			case w.FailingSince != nil:
				state, why = "failing", fmt.Sprintf("for %s: %s", ago(*w.FailingSince), deref(w.LastError))
			}
			gets := strings.Join(w.EventTypes, ",")
			if len(w.Actions) > 0 {
				gets += " of " + strings.Join(w.Actions, ",")
			}
			if w.Thin {
				gets += " (thin)"
			}
			rows = append(rows, []string{strconv.FormatInt(w.ID, 10), state, strconv.Itoa(w.Waiting), w.URL, gets, why})
		}
		c.printTable([]string{"ID", "STATE", "WAITING", "URL", "GETS", "WHY"}, rows)
		return nil
	})
}

type endpointsEdit struct {
	ID          int64    `arg:"" help:"Number of the receiver."`
	URL         *string  `help:"New URL, also for the deliveries that wait." placeholder:"URL"`
	Events      []string `help:"Event types, separated by commas, or all." placeholder:"TYPE" predictor:"event"`
	Actions     []string `help:"Only tasks of these kinds, like videos or images/generations, or all." placeholder:"PATH"`
	Thin        *bool    `help:"Send ids and status only." negatable:""`
	Description *string  `help:"A note for people." placeholder:"TEXT"`
}

// Run changes a receiver.
func (e endpointsEdit) Run(ctx context.Context, c *console) error {
	edit := operate.EndpointEdit{URL: e.URL, Events: e.Events, Actions: e.Actions, Thin: e.Thin, Description: e.Description}
	if err := edit.Check(); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.EditEndpoint(ctx, d.Pool, e.ID, edit); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "endpoint %d is changed\n", e.ID)
		return nil
	})
}

type endpointsRotate struct {
	ID    int64         `arg:"" help:"Number of the receiver."`
	Grace time.Duration `default:"24h" help:"How long the old secret also signs."`
}

func (e endpointsRotate) Run(ctx context.Context, c *console) error {
	return rotate(ctx, c, db.KeyOwner{Endpoint: &e.ID}, e.Grace)
}

type endpointsDisable struct {
	ID int64 `arg:"" help:"Number of the receiver."`
}

// Run disables a receiver.
func (e endpointsDisable) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.DisableEndpoint(ctx, d.Pool, e.ID); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "endpoint %d is disabled; its deliveries wait\n", e.ID)
		return nil
	})
}

type endpointsRemove struct {
	ID  int64 `arg:"" help:"Number of the receiver."`
	Yes bool  `short:"y" help:"Do not ask, although deliveries wait."`
}

// Run removes a receiver. It asks first where that loses webhooks.
func (e endpointsRemove) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		endpoint, err := operate.GetEndpoint(ctx, d.Pool, e.ID)
		if err != nil {
			return err
		}
		if endpoint.Waiting > 0 {
			question := fmt.Sprintf("remove endpoint %d with %s not arrived", e.ID, readable.Count(endpoint.Waiting, "delivery that has", "deliveries that have"))
			if err := c.confirm(ctx, e.Yes, question); err != nil {
				return err
			}
		}
		waiting, err := operate.RemoveEndpoint(ctx, d.Pool, e.ID)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "endpoint %d is removed, with %s that had not arrived\n", e.ID, readable.Count(waiting, "delivery", "deliveries"))
		return nil
	})
}

type endpointsEnable struct {
	ID int64 `arg:"" help:"Number of the receiver."`
}

// Run enables a receiver.
func (e endpointsEnable) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		released, err := operate.EnableEndpoint(ctx, d.Pool, e.ID)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "endpoint %d is enabled; %s out now\n", e.ID, readable.Count(released, "waiting delivery goes", "waiting deliveries go"))
		return nil
	})
}

type endpointsPing struct {
	Receiver string `arg:"" help:"Number of a receiver, or a URL, whose webhook is signed like one to a callback_url."`
	JSON     bool   `help:"Print one JSON object."`
}

// Run sends from here, with the client and the keys that the service uses.
func (p endpointsPing) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		client := s.webhooks()
		defer client.Close()
		result, err := operate.Ping(ctx, d.Pool, s.keyring(), client, p.Receiver)
		if err != nil {
			return err
		}
		if p.JSON {
			err = printJSON(c.out, result)
		} else {
			c.printPing(result)
		}
		if err == nil && !result.Delivered {
			err = quietError{}
		}
		return err
	})
}

func (c *console) printPing(r operate.PingResult) {
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
