package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
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

// checkKey asks about a task that does not exist: a relay that says so has let the
// key in. The simulated relay needs the first word of the id.
func (x *examination) checkKey(ctx context.Context) (Finding, error) {
	switch {
	case x.BaseURL == "":
		return skipped(errNoBaseURL.Error()), nil
	case x.Relay == nil:
		return bad("correct the setting; docs/settings.md lists them", "%s", x.RelayErr), nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.relayTimeout())
	defer cancel()
	unknown := klingapi.Ref{Action: "images", Action2: "generations", TaskID: "unknown-klingwatch-doctor-" + rand.Text()}
	_, err := x.Relay.GetTask(ctx, unknown)
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok && apiErr.Kind == klingapi.TokenTime {
		_, err = x.Relay.GetTask(ctx, unknown) // by the relay's clock, as the service would
	}
	return judgeKey(err), nil
}

// judgeKey judges the key by an answer about an unknown task.
func judgeKey(err error) Finding {
	apiErr, isAPI := errors.AsType[*klingapi.Error](err)
	if err == nil || isAPI && apiErr.Kind == klingapi.NotFound {
		return fine("the relay accepts it")
	}
	switch {
	case !isAPI && errors.Is(err, context.DeadlineExceeded):
		return bad(keyAdvice[klingapi.Unreachable].todo, "no answer in time")
	case !isAPI:
		return bad("try again", "%s", err)
	}
	advice, known := keyAdvice[apiErr.Kind]
	if !known {
		advice = keyAdvice[klingapi.Unreadable]
	}
	return Finding{State: advice.state, Found: apiErr.Error(), Todo: advice.todo}
}

// keyAdvice is what to do about each kind of answer.
var keyAdvice = map[klingapi.ErrorKind]struct {
	state State
	todo  string
}{
	klingapi.Refused:       {Bad, "check the key, the account's balance and the addresses it may be used from; a key in KLING_API_KEY_FILE may be replaced while the service runs"},
	klingapi.TokenTime:     {Bad, "set this machine's clock by NTP: the token's times are not accepted"},
	klingapi.Misconfigured: {Bad, "check KLING_BASE_URL and KLING_PATH_PREFIX: this is no answer of a relay"},
	klingapi.Unreachable:   {Bad, "see relay; KLINGWATCH_POLL_TIMEOUT bounds the wait"},
	klingapi.Unreadable:    {Bad, "check KLING_BASE_URL and KLING_PATH_PREFIX: the answer cannot be understood"},
	klingapi.Throttled:     {Warn, "lower KLINGWATCH_POLL_RATE, or ask the relay for a higher limit; whether it accepts the key is not known"},
	klingapi.Unavailable:   {Warn, "wait until the relay is well; whether it accepts the key is not known"},
	klingapi.Rejected:      {Warn, "try a task that exists: klingwatch track; the relay lets the key in but does not take the question"},
}
