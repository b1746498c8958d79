package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/relays"
)

// relayLimit bounds asking the relay where KLINGWATCH_POLL_TIMEOUT is longer.
const relayLimit = 15 * time.Second

func (x *examination) relayTimeout() time.Duration { return min(x.PollTimeout, relayLimit) }

func (x *examination) checkRelay(context.Context) (Finding, error) {
	r := x.reach()
	if r.err == nil {
		return fine("answers: %swhole %s", r.steps, milliseconds(r.answered.Sub(r.sent))), nil
	}
	return judgeUnreached(r.err), nil
}

// judgeUnreached says what to do about a relay that does not answer.
func judgeUnreached(err error) Finding {
	dnsErr, isDNS := errors.AsType[*net.DNSError](err)
	certErr, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, errNoBaseURL):
		return bad("give the scheme and host of the relay, like https://relay.example", "%s", err)
	case isDNS:
		return bad("check KLING_BASE_URL and this machine's DNS", "the name %s cannot be resolved: %s", dnsErr.Name, dnsErr.Err)
	case isCert:
		return bad("check KLING_BASE_URL, this machine's clock and its CA certificates", "its certificate is not accepted: %s", certErr.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return bad("check the network and firewalls on the way", "no answer in time")
	}
	return bad("check KLING_BASE_URL, the network and firewalls on the way", "%s", err)
}

// webhookTolerance is how far a webhook's time may be off for Standard Webhooks
// receivers; a minute is left for the way and for their own clocks.
const webhookTolerance = 4 * time.Minute

func (x *examination) checkRelayClock(context.Context) (Finding, error) {
	r := x.reach()
	switch {
	case r.err != nil:
		return skipped("the relay was not reached; see relay"), nil
	case r.date.IsZero():
		return skipped("the relay sends no time"), nil
	}
	// the header is cut to whole seconds
	skew, within := skewOf(r.date.Add(time.Second/2), r.sent, r.answered)
	return judgeClock("the relay's", skew, within+time.Second/2, 5*time.Second, webhookTolerance), nil
}

// checkKey asks about tracked tasks, else about one that does not exist: a relay that
// says so has let the key in.
func (x *examination) checkKey(ctx context.Context) (Finding, error) {
	switch {
	case x.BaseURL == "":
		return skipped(errNoBaseURL.Error()), nil
	case x.Relay == nil:
		return bad("correct the setting; docs/settings.md lists them", "%s", x.RelayErr), nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.relayTimeout())
	defer cancel()
	return judgeRelay(relays.Check(ctx, x.Relay, x.tracked(ctx, db.DefaultRelay))), nil
}

// tracked are tasks of a relay to ask about; none where they cannot be read.
func (x *examination) tracked(ctx context.Context, relay string) (refs []klingapi.Ref) {
	if _, err := x.connect(); err != nil {
		return nil
	}
	tasks, _ := db.SampleTasks(ctx, x.pool, relay, relays.MaxTracked) // checkMigrations says what is wrong
	for _, t := range tasks {
		refs = append(refs, klingapi.Ref{Action: t.Action, Action2: t.Action2, TaskID: t.TaskID})
	}
	return refs
}

// judgeRelay judges address, path and key by what a relay answered.
func judgeRelay(v relays.Verdict, err error) Finding {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return bad(keyAdvice[klingapi.Unreachable].todo, "no answer in time")
	case err != nil:
		return bad("try again", "%s", err)
	case v.Finding == relays.KeyRight:
		return fine("the relay accepts it")
	case v.Finding == relays.WrongPath:
		return warn(v.Advice(), "%s", v)
	case v.Finding == relays.WrongPrefix:
		return bad("set KLING_TASK_PATH, or the task path of the relay, to "+v.Instead, "%s", v)
	}
	advice, known := keyAdvice[v.Kind]
	if !known {
		advice = keyAdvice[klingapi.Unreadable]
	}
	return Finding{State: advice.state, Found: v.String(), Todo: advice.todo}
}

// checkRelays asks every relay of the table with its key, and finds out whether the row
// default is what the settings here say.
func (x *examination) checkRelays(ctx context.Context) (Finding, error) {
	rows, err := db.Relays(ctx, x.pool)
	if err != nil {
		return Finding{}, err
	}
	found := make([]Finding, len(rows))
	var wg sync.WaitGroup
	for i, row := range rows {
		wg.Go(func() { found[i] = x.examineRelay(ctx, row) })
	}
	wg.Wait()
	worst := fine("%d known, nothing is wrong with them", len(rows))
	for i, f := range found {
		if f.State == Bad && worst.State != Bad || f.State == Warn && worst.State == OK {
			worst = Finding{State: f.State, Found: rows[i].Name + ": " + f.Found, Todo: f.Todo}
		}
	}
	return worst, nil
}

func (x *examination) examineRelay(ctx context.Context, row db.Relay) Finding {
	if row.Name == db.DefaultRelay {
		if f := judgeDefault(row, x.Relay); f.State != OK {
			return f
		}
		n, err := db.InstancesAskingElse(ctx, x.pool, row.Identity())
		if err != nil {
			return failed(err)
		}
		if n > 0 {
			return warn("stop the processes of a forgotten deployment, or give them the same settings", "%d processes have other settings and do not poll it", n)
		}
		return fine("")
	}
	client, err := relays.Open(row, relays.Options{Keyring: x.Keyring, Timeout: x.relayTimeout(), UserAgent: x.UserAgent})
	if err != nil {
		return bad("run klingwatch relays check "+row.Name+" on a machine that has its key", "cannot be polled from here: %s", err)
	}
	defer client.Close()
	f := judgeRelay(relays.Check(ctx, client, x.tracked(ctx, row.Name)))
	if f.State != OK {
		f.Todo = "run klingwatch relays check " + row.Name // what stands there is about the settings
	}
	return f
}

// judgeDefault compares the row default with the client of the settings; nil: there is
// none.
func judgeDefault(row db.Relay, own *klingapi.Client) Finding {
	switch {
	case own == nil:
		return fine("")
	case row.BaseURL != own.BaseURL() || row.TaskPath != own.TaskPath():
		return warn("restart klingwatch serve with the settings you want: it takes over the relay default",
			"the services ask %s%s, and the settings here say %s%s", row.BaseURL, row.TaskPath, own.BaseURL(), own.TaskPath())
	case row.Credential != nil && *row.Credential != own.Credential():
		return warn("restart klingwatch serve with the key you want: it takes over the relay default",
			"the services use the key %s, and the settings here have the key %s", *row.Credential, own.Credential())
	}
	return fine("")
}

// keyAdvice is what to do about each kind of answer.
var keyAdvice = map[klingapi.ErrorKind]struct {
	state State
	todo  string
}{
	klingapi.Refused:       {Bad, "check the key, the account's balance and the addresses it may be used from; a key in KLING_API_KEY_FILE may be replaced while the service runs"},
	klingapi.TokenTime:     {Bad, "set this machine's clock by NTP: the token's times are not accepted"},
	klingapi.Misconfigured: {Bad, "check KLING_BASE_URL, KLING_PATH_PREFIX and KLING_TASK_PATH: this is no answer of a relay"},
	klingapi.Unreachable:   {Bad, "see relay; KLINGWATCH_POLL_TIMEOUT bounds the wait"},
	klingapi.Unreadable:    {Bad, "check KLING_BASE_URL, KLING_PATH_PREFIX and KLING_TASK_PATH: the answer cannot be understood"},
	klingapi.Throttled:     {Warn, "lower KLINGWATCH_POLL_RATE, or ask the relay for a higher limit; whether it accepts the key is not known"},
	klingapi.Unavailable:   {Warn, "wait until the relay is well; whether it accepts the key is not known"},
	klingapi.Rejected:      {Warn, "try a task that exists: klingwatch track; the relay lets the key in but does not take the question"},
}
