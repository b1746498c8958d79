package doctor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/relays"
)

func TestTheKeyIsJudgedByWhatTheRelayAnswers(t *testing.T) {
	t.Parallel()
	relay := klingsim.New(klingsim.Config{Seed: 1, APIKey: "another"})
	server := httptest.NewServer(relay)
	defer server.Close()
	cfg := deployment(t, dbtest.New(t), server.URL)
	wantFinding(t, findings(t, cfg), "key", Bad, "refused: HTTP 401, code 1002")
	relay.SetKey(secretKey)
	wantFinding(t, findings(t, cfg), "key", OK, "accepts")
	relay.SetThrottle(true, "")
	wantFinding(t, findings(t, cfg), "key", Warn, "throttled")
	relay.SetThrottle(false, "")
	relay.SetOutage(http.StatusServiceUnavailable)
	wantFinding(t, findings(t, cfg), "key", Warn, "unavailable")
	relay.SetOutage(0)

	elsewhere := findings(t, cfg.asking(t, server.URL, "/elsewhere"))
	wantFinding(t, elsewhere, "key", Bad, "misconfigured")
	wantFinding(t, elsewhere, "relay", OK, "answers")
	wantFinding(t, findings(t, cfg.asking(t, "relay.example", "")), "relay", Bad, "must be like https://")
	keyless := cfg
	keyless.Relay, keyless.RelayErr = nil, errors.New("no key is set")
	wantFinding(t, findings(t, keyless), "key", Bad, "no key is set")
	unset := findings(t, cfg.asking(t, "", ""))
	wantFinding(t, unset, "relay", Bad, "KLING_BASE_URL is not set")
	wantFinding(t, unset, "key", Skipped, "KLING_BASE_URL is not set")

	gone := findings(t, cfg.asking(t, "http://127.0.0.1:1", "")) // a port that no program is given
	wantFinding(t, gone, "relay", Bad, "connection refused")
	wantFinding(t, gone, "clock-relay", Skipped, "see relay")
	wantFinding(t, gone, "key", Bad, "unreachable")
}

// The wait for a relay has an end of its own, however long a poll may take.
func TestARelayThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	cfg := deployment(t, dbtest.New(t), server.URL)
	cfg.PollTimeout = 100 * time.Millisecond // below the limit: it counts
	found := findings(t, cfg)
	wantFinding(t, found, "relay", Bad, "no answer in time")
	wantFinding(t, found, "key", Bad, "no answer in time")
	cfg.PollTimeout = time.Hour
	if limit := (&examination{Config: cfg}).relayTimeout(); limit != relayLimit {
		t.Errorf("a poll may take an hour, and the doctor waits %s", limit)
	}
}

func TestAClockThatDiffersIsReported(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay := klingsim.New(klingsim.Config{Seed: 1})
	for _, test := range []struct {
		ahead time.Duration
		state State
		part  string
	}{
		{0, OK, "agrees"},
		{-90 * time.Second, Warn, "behind this machine's"},
		{10 * time.Minute, Bad, "is 10m ahead of this machine's"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(test.ahead+time.Second).UTC().Format(http.TimeFormat))
			relay.ServeHTTP(w, r)
		}))
		wantFinding(t, findings(t, deployment(t, pool, server.URL)), "clock-relay", test.state, test.part)
		server.Close()
	}
}

func TestJudgementsOfTheRelay(t *testing.T) {
	t.Parallel()
	for kind := range keyAdvice {
		if f := judgeRelay(relays.Verdict{Finding: relays.NotKnown, Kind: kind}, nil); f.State == OK || f.Todo == "" {
			t.Errorf("%s: %+v", kind, f)
		}
	}
	judged(t, map[string]judgement{
		"key that is right":       {judgeRelay(relays.Verdict{Finding: relays.KeyRight}, nil), OK, "accepts"},
		"path that is not served": {judgeRelay(relays.Verdict{Finding: relays.WrongPath, Path: "/v1/video/"}, nil), Warn, "not for /v1/video/"},
		"another form of path":    {judgeRelay(relays.Verdict{Finding: relays.WrongPrefix, Instead: "/v1/{task_id}"}, nil), Bad, "/v1/{task_id}"},
		"unknown kind of answer":  {judgeRelay(relays.Verdict{Finding: relays.NotKnown, Kind: "new", Answer: "new"}, nil), Bad, "new"},
		"no answer in time":       {judgeRelay(relays.Verdict{}, context.DeadlineExceeded), Bad, "in time"},
		"no answer of a relay":    {judgeRelay(relays.Verdict{}, errors.New("boom")), Bad, "boom"},
		"unreached relay":         {judgeUnreached(errors.New("boom")), Bad, "boom"},
		"clock":                   {judgeClock("the", -time.Second, 0, time.Second, time.Minute), OK, "within 1s"},
		"uncertain clock":         {judgeClock("the", 3*time.Second, 2*time.Second, time.Second, time.Minute), OK, ""},
		"slow clock":              {judgeClock("the", -3*time.Second, time.Second, time.Second, time.Minute), Warn, "3s behind"},
		"wrong clock":             {judgeClock("the", 2*time.Minute, time.Second, time.Second, time.Minute), Bad, "2m ahead"},
	})
}
