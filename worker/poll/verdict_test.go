package poll

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/klingapi"
)

// target is a task that was processing a minute after its insertion.
func target(change ...func(*db.PollTarget)) db.PollTarget {
	task := db.PollTarget{ID: 1, TaskID: "t", Status: db.Processing, UpstreamStatus: "processing", Age: time.Minute, Left: time.Hour}
	for _, c := range change {
		c(&task)
	}
	return task
}

func said(word string, outputs ...string) *klingapi.Reply {
	record := klingapi.Record{Word: word, Status: klingapi.ParseStatus(word)}
	for _, url := range outputs {
		record.Outputs = append(record.Outputs, klingapi.Output{Kind: klingapi.Image, URL: url})
	}
	return &klingapi.Reply{HTTPStatus: 200, Record: record}
}

func trouble(kind klingapi.ErrorKind) error { return &klingapi.Error{Kind: kind, Message: "because"} }

func TestJudgeGoesByTheProvidersWord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, word string
		outputs    []string
		outcome    pollOutcome
		status     string
	}{
		{db.Pending, "submitted", nil, changed, db.Submitted},
		{db.Pending, "processing", nil, changed, db.Processing},
		{db.Pending, "succeed", []string{"u"}, finished, db.Succeeded},
		{db.Submitted, "submitted", nil, unchanged, db.Submitted},
		{db.Submitted, "IN_PROGRESS", nil, changed, db.Processing},
		{db.Processing, "processing", nil, unchanged, db.Processing},
		{db.Processing, "submitted", nil, unchanged, db.Processing}, // never backwards
		{db.Processing, "SUCCESS", []string{"u"}, finished, db.Succeeded},
		{db.Processing, "failed", nil, finished, db.Failed},
		{db.Processing, "cancelled", nil, finished, db.Failed},
		{db.Processing, "reticulating", nil, unchanged, db.Processing},
		{db.Pending, "reticulating", nil, changed, db.Submitted}, // the relay knows it
	} {
		v := judge(target(func(p *db.PollTarget) { p.Status = c.from }), Memory{}, time.Minute, said(c.word, c.outputs...), nil)
		if v.outcome != c.outcome || v.status != c.status {
			t.Errorf("%s, then %q: %s %s, want %s %s", c.from, c.word, v.outcome, v.status, c.outcome, c.status)
		}
		if v.unknown != (klingapi.ParseStatus(c.word) == "") {
			t.Errorf("%q: unknown is %v", c.word, v.unknown)
		}
	}
}

func TestJudgeKeepsTheStatusThroughEveryError(t *testing.T) {
	t.Parallel()
	for kind, want := range outcomeOf {
		v := judge(target(), Memory{Trouble: 2}, time.Minute, nil, trouble(kind))
		if v.status != db.Processing || v.outcome != want || !strings.Contains(v.trouble, "because") {
			t.Errorf("%s: %+v", kind, v)
		}
	}
	if v := judge(target(), Memory{}, time.Minute, nil, errors.New("strange")); v.outcome != unreachable || v.status != db.Processing {
		t.Errorf("an error that is not the client's: %+v", v)
	}
}

func TestNotFoundNeedsTimeAndSeveralAnswersInARow(t *testing.T) {
	t.Parallel()
	grace := 2 * time.Minute
	ask := func(m Memory, age time.Duration, reply *klingapi.Reply, err error) verdict {
		return judge(target(func(p *db.PollTarget) { p.Age, p.Status, p.UpstreamStatus = age, db.Pending, "" }), m, grace, reply, err)
	}
	nope := trouble(klingapi.NotFound)
	m := ask(Memory{}, 0, nil, nope).memory
	for _, age := range []time.Duration{10 * time.Second, 20 * time.Second, 100 * time.Second} {
		v := ask(m, age, nil, nope)
		if v.status != db.Pending {
			t.Fatalf("at %s, within the grace: %s", age, v.status)
		}
		m = v.memory
	}
	if v := ask(m, grace, nil, nope); v.status != db.NotFound || !strings.Contains(v.message, "does not know") {
		t.Errorf("after the grace: %+v", v)
	}
	if v := ask(ask(m, time.Minute, said("submitted"), nil).memory, time.Hour, nil, nope); v.status == db.NotFound {
		t.Error("a good answer in between does not reset")
	}
	if v := ask(ask(m, time.Minute, nil, trouble(klingapi.Unavailable)).memory, time.Hour, nil, nope); v.status == db.NotFound {
		t.Error("another error in between does not reset")
	}
	known := target(func(p *db.PollTarget) { p.Age = 10 * time.Minute })
	if v := judge(known, Memory{NotFound: 9}, grace, nil, nope); v.status == db.NotFound {
		t.Error("a task that the relay knew got the short grace")
	}
	if v := ask(Memory{NotFound: 1}, time.Hour, nil, nope); v.status == db.NotFound {
		t.Error("two answers were enough")
	}
}

func TestSuccessWithoutAURLIsAskedAgainAndThenBelieved(t *testing.T) {
	t.Parallel()
	var m Memory
	for i := range fileAnswers {
		v := judge(target(), m, time.Minute, said("succeed"), nil)
		if v.status != db.Processing || !strings.Contains(v.trouble, "a file is still missing") {
			t.Fatalf("answer %d: %s, %s", i+1, v.status, v.trouble)
		}
		if wait := pace(v, time.Minute, time.Minute, time.Hour, 0.5); wait != quickAgain<<i {
			t.Errorf("answer %d: asked again after %s", i+1, wait)
		}
		m = v.memory
	}
	if v := judge(target(), m, time.Minute, said("succeed"), nil); v.status != db.Succeeded || !strings.Contains(v.message, "no output URL") {
		t.Errorf("%+v", v)
	}
	if v := judge(target(), m, time.Minute, said("succeed", "u"), nil); v.status != db.Succeeded || v.message != "" {
		t.Errorf("with a URL after all: %+v", v)
	}
}

func TestATaskThatHasNotEndedByItsDeadlineIsExpired(t *testing.T) {
	t.Parallel()
	late := target(func(p *db.PollTarget) { p.Left = -time.Second })
	if v := judge(late, Memory{}, time.Minute, said("processing"), nil); v.status != db.Expired || !strings.Contains(v.message, "processing") {
		t.Errorf("%+v", v)
	}
	if v := judge(late, Memory{}, time.Minute, nil, trouble(klingapi.Unreachable)); v.status != db.Expired || !strings.Contains(v.message, "because") {
		t.Errorf("%+v", v)
	}
	if v := judge(late, Memory{}, time.Minute, said("succeed", "u"), nil); v.status != db.Succeeded {
		t.Errorf("an end in the last answer counts: %+v", v)
	}
}

// No transport error, HTTP status or unknown word ever ends a task with the
// provider's verdicts, whatever was known before.
func TestOnlyAKnownWordSucceedsOrFails(t *testing.T) {
	t.Parallel()
	kinds := make([]klingapi.ErrorKind, 0, len(outcomeOf))
	for kind := range outcomeOf {
		kinds = append(kinds, kind)
	}
	rapid.Check(t, func(t *rapid.T) {
		task := target(func(p *db.PollTarget) {
			p.Status = rapid.SampledFrom([]string{db.Pending, db.Submitted, db.Processing}).Draw(t, "status")
			p.Age = time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "age"))
			p.Left = time.Duration(rapid.Int64Range(int64(-time.Hour), int64(time.Hour)).Draw(t, "left"))
		})
		m := Memory{
			Polls: rapid.IntRange(0, 1e6).Draw(t, "polls"), Trouble: rapid.IntRange(0, 1e6).Draw(t, "trouble"),
			NotFound: rapid.IntRange(0, 10).Draw(t, "notFound"), WithoutFile: rapid.IntRange(0, 10).Draw(t, "withoutFile"),
		}
		var (
			reply *klingapi.Reply
			err   error
		)
		if rapid.Bool().Draw(t, "fails") {
			err = &klingapi.Error{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), HTTPStatus: rapid.IntRange(0, 599).Draw(t, "http"), Message: rapid.String().Draw(t, "message")}
		} else {
			word := rapid.String().Filter(func(w string) bool { return !klingapi.ParseStatus(w).Ended() }).Draw(t, "word")
			reply = said(word)
		}
		v := judge(task, m, time.Minute, reply, err)
		if v.status == db.Succeeded || v.status == db.Failed {
			t.Fatalf("%s from %+v, %v", v.status, reply, err)
		}
		if v.status == db.Expired && task.Left > 0 {
			t.Fatal("expired before the deadline")
		}
		if wait := pace(v, time.Second, time.Second, task.Left, rapid.Float64Range(0, 0.999).Draw(t, "random")); wait < 0 || (task.Left > 0 && wait > task.Left) {
			t.Fatalf("wait %s with %s left", wait, task.Left)
		}
	})
}

func TestPaceKnowsHowLongToWait(t *testing.T) {
	t.Parallel()
	const interval = 5 * time.Second
	for _, c := range []struct {
		name   string
		v      verdict
		lo, hi time.Duration
	}{
		{"still running", verdict{outcome: unchanged}, 4500 * time.Millisecond, 5500 * time.Millisecond},
		{"not found", verdict{outcome: notFound}, 4500 * time.Millisecond, 5500 * time.Millisecond},
		{"refused key", verdict{outcome: refused, memory: Memory{Trouble: 1}}, 4500 * time.Millisecond, 5500 * time.Millisecond},
		{"first trouble", verdict{outcome: unreachable, memory: Memory{Trouble: 1}}, 4500 * time.Millisecond, 5500 * time.Millisecond},
		{"third trouble", verdict{outcome: throttled, memory: Memory{Trouble: 3}}, 18 * time.Second, 22 * time.Second},
		{"forbidden for the third time", verdict{outcome: refused, memory: Memory{Trouble: 3}}, 18 * time.Second, 22 * time.Second},
		{"long trouble", verdict{outcome: unreadable, memory: Memory{Trouble: 1e9}}, 108 * time.Second, 132 * time.Second},
		{"Retry-After", verdict{outcome: throttled, retryAfter: time.Hour, memory: Memory{Trouble: 1}}, time.Hour, time.Hour},
	} {
		for range 100 {
			random := rand.Float64()
			if wait := pace(c.v, new(schedules).usualWait(target(), interval, random), interval, 24*time.Hour, random); wait < c.lo || wait > c.hi {
				t.Errorf("%s: %s, want %s to %s", c.name, wait, c.lo, c.hi)
			}
		}
	}
	if wait := pace(verdict{outcome: unchanged}, interval, interval, 3*time.Second, 0.5); wait != 3*time.Second {
		t.Errorf("the deadline is 3s away, the wait %s", wait)
	}
}

func TestAnExpiryWithoutARequestIsNoPoll(t *testing.T) {
	t.Parallel()
	task := target(func(p *db.PollTarget) { p.Left = -time.Second })
	if c := changeOf(task, expireUnasked(task, Memory{}), nil, time.Hour); c.Polled || c.Status != db.Expired {
		t.Errorf("%+v", c)
	}
	if c := changeOf(task, judge(task, Memory{}, time.Minute, nil, trouble(klingapi.Unreachable)), nil, time.Hour); !c.Polled {
		t.Error("a request that failed is not recorded as a poll")
	}
}

// replied makes a reply of a record.
func replied(r klingapi.Record) *klingapi.Reply {
	r.Status = klingapi.ParseStatus(r.Word)
	if r.Bare {
		r.Status = ""
	}
	return &klingapi.Reply{HTTPStatus: 200, Record: r}
}

func TestWhatASuccessWithoutAllItsFilesMeans(t *testing.T) {
	t.Parallel()
	file := klingapi.Output{Kind: klingapi.Image, URL: "https://cdn.example/0.png"}
	proxied := klingapi.Output{Kind: klingapi.Video, URL: "https://relay.example/v1/videos/t/content", NeedsKey: true}
	for _, c := range []struct {
		name    string
		record  klingapi.Record
		waits   bool   // asked again before it is believed
		message string // at last
	}{
		{"a file", klingapi.Record{Outputs: []klingapi.Output{file}}, false, ""},
		{"a file and what was said", klingapi.Record{Outputs: []klingapi.Output{file}, Message: "audio was muted"}, false, "audio was muted"},
		{"one of two files", klingapi.Record{Outputs: []klingapi.Output{file}, Incomplete: true}, true, ""},
		{"the relay's own link", klingapi.Record{Outputs: []klingapi.Output{proxied}}, true, ""},
		{"an element", klingapi.Record{Result: []byte(`{"element_id":1}`)}, false, ""},
		{"nothing", klingapi.Record{}, true, "the provider reports success but gave no output URL"},
		{"nothing, with the provider's words", klingapi.Record{Message: "moderated"}, true, "moderated"},
		{"a file that is too large", klingapi.Record{TooLarge: 1}, false, "1 files came inside the answer and are larger than 64 kB: they were left out"},
	} {
		c.record.Word = "succeed"
		v := judge(target(), Memory{}, time.Minute, replied(c.record), nil)
		if waits := v.status != db.Succeeded; waits != c.waits {
			t.Errorf("%s: %s at once", c.name, v.status)
		}
		v = judge(target(), Memory{WithoutFile: fileAnswers}, time.Minute, replied(c.record), nil)
		if v.status != db.Succeeded || v.message != c.message || v.endedBy != db.ByProvider {
			t.Errorf("%s: at last %s by %s, %q", c.name, v.status, v.endedBy, v.message)
		}
	}
}

// A bare word of success may be about the request: it ends nothing, is not asked
// about at full rate, and is in the message of the expiry.
func TestABareWordOfSuccessSlowsDownAndIsToldAtTheEnd(t *testing.T) {
	t.Parallel()
	var m Memory
	var last time.Duration
	for range 8 {
		v := judge(target(), m, time.Minute, replied(klingapi.Record{Word: "success", Bare: true}), nil)
		if db.Terminal(v.status) || !strings.Contains(v.trouble, "reports success") || v.unknown {
			t.Fatalf("%+v", v)
		}
		last, m = pace(v, 5*time.Second, 5*time.Second, time.Hour, 0.5), v.memory
	}
	if last < time.Minute {
		t.Errorf("asked again after %s for ever", last)
	}
	late := target(func(p *db.PollTarget) { p.Left = -time.Second })
	v := judge(late, m, time.Minute, replied(klingapi.Record{Word: "success", Bare: true}), nil)
	if v.status != db.Expired || v.endedBy != db.ByKlingwatch || !strings.Contains(v.message, "reports success") {
		t.Errorf("%+v", v)
	}
}

func TestAnUnsureFailureNeedsAnEqualOneAMinuteLater(t *testing.T) {
	t.Parallel()
	doubtful := replied(klingapi.Record{Word: "error", Message: "rate limit", Unsure: true})
	at := func(age time.Duration, m Memory, reply *klingapi.Reply, err error) verdict {
		return judge(target(func(p *db.PollTarget) { p.Age = age }), m, time.Minute, reply, err)
	}
	first := at(time.Hour, Memory{}, doubtful, nil)
	if db.Terminal(first.status) || first.trouble == "" {
		t.Fatalf("%+v", first)
	}
	soon := at(time.Hour+confirmAfter-time.Second, first.memory, doubtful, nil)
	if db.Terminal(soon.status) {
		t.Error("believed too soon")
	}
	if v := at(time.Hour+confirmAfter, soon.memory, doubtful, nil); v.status != db.Failed || v.message != "rate limit" {
		t.Errorf("repeated after a minute: %+v", v)
	}
	between := map[string]verdict{
		"a good answer":    at(time.Hour+time.Second, first.memory, said("processing"), nil),
		"another failure":  at(time.Hour+time.Second, first.memory, replied(klingapi.Record{Word: "error", Message: "other", Unsure: true}), nil),
		"no answer at all": at(time.Hour+time.Second, first.memory, nil, trouble(klingapi.Unreachable)),
	}
	for name, v := range between {
		if v := at(time.Hour+confirmAfter, v.memory, doubtful, nil); db.Terminal(v.status) {
			t.Errorf("%s in between: %s", name, v.status)
		}
	}
}

func TestWhoEndedATask(t *testing.T) {
	t.Parallel()
	gone := Memory{NotFound: notFoundAnswers}
	for _, c := range []struct {
		name       string
		v          verdict
		status, by string
		late       bool
	}{
		{"the provider", judge(target(), Memory{}, time.Minute, said("failed"), nil), db.Failed, db.ByProvider, false},
		{"the relay's time-out", judge(target(), Memory{}, time.Minute, replied(klingapi.Record{Word: "FAILURE", ByRelay: true}), nil), db.Failed, db.ByRelay, true},
		{"the relay stopped looking", judge(target(), Memory{}, time.Minute, replied(klingapi.Record{Word: "timeout", ByRelay: true}), nil), db.Expired, db.ByRelay, true},
		{"not found", judge(target(func(p *db.PollTarget) { p.UpstreamStatus, p.Age = "", time.Hour }), gone, time.Minute, nil, trouble(klingapi.NotFound)), db.NotFound, db.ByKlingwatch, true},
		{"the deadline", judge(target(func(p *db.PollTarget) { p.Left = 0 }), Memory{}, time.Minute, said("processing"), nil), db.Expired, db.ByKlingwatch, true},
		{"nobody yet", judge(target(), Memory{}, time.Minute, said("processing"), nil), db.Processing, "", false},
	} {
		if c.v.status != c.status || c.v.endedBy != c.by || c.v.checkedLate() != c.late {
			t.Errorf("%s: %s by %q, asked again late %v", c.name, c.v.status, c.v.endedBy, c.v.checkedLate())
		}
	}
}

// What has ended without the provider's word is only interested in that.
func TestALateCheckTakesTheProvidersWordOnly(t *testing.T) {
	t.Parallel()
	for _, ended := range []db.PollTarget{
		{Status: db.Expired, EndedBy: db.ByKlingwatch}, {Status: db.Expired, EndedBy: db.ByRelay},
		{Status: db.NotFound, EndedBy: db.ByKlingwatch}, {Status: db.Failed, EndedBy: db.ByRelay},
	} {
		ended.UpstreamStatus, ended.Ended, ended.LateChecks, ended.Age = "processing", time.Hour, true, 25*time.Hour
		for name, v := range map[string]verdict{
			"processing":        judge(ended, Memory{}, time.Minute, said("processing"), nil),
			"not found":         judge(ended, Memory{NotFound: 99}, time.Minute, nil, trouble(klingapi.NotFound)),
			"the relay's again": judge(ended, Memory{}, time.Minute, replied(klingapi.Record{Word: "FAILURE", ByRelay: true}), nil),
			"stopped again":     judge(ended, Memory{}, time.Minute, replied(klingapi.Record{Word: "expired", ByRelay: true}), nil),
		} {
			if v.status != ended.Status || v.endedBy != ended.EndedBy {
				t.Errorf("%s by %s, then %s: %s by %s", ended.Status, ended.EndedBy, name, v.status, v.endedBy)
			}
		}
		for word, want := range map[string]string{"succeed": db.Succeeded, "failed": db.Failed} {
			v := judge(ended, Memory{}, time.Minute, said(word, "u"), nil)
			if v.status != want || v.endedBy != db.ByProvider || v.checkedLate() {
				t.Errorf("%s, then %s: %s by %s", ended.Status, word, v.status, v.endedBy)
			}
		}
	}
}

// A memory from before a clock went back holds nothing up.
func TestAMemoryIsOfThePast(t *testing.T) {
	t.Parallel()
	now := time.Now()
	past := Memory{NotFoundAge: time.Minute, DoubtAge: 2 * time.Minute, RefusedAt: now.Add(-time.Hour), AloneUntil: now.Add(shortFor)}
	if got := past.until(now, time.Hour); got != past {
		t.Errorf("%+v became %+v", past, got)
	}
	ahead := Memory{NotFoundAge: time.Hour, DoubtAge: 2 * time.Hour, RefusedAt: now.Add(time.Hour), AloneUntil: now.Add(time.Hour)}
	if got, want := ahead.until(now, time.Minute), (Memory{NotFoundAge: time.Minute, DoubtAge: time.Minute, RefusedAt: now, AloneUntil: now.Add(shortFor)}); got != want {
		t.Errorf("%+v became %+v, want %+v", ahead, got, want)
	}
}
