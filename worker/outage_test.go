package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/webhook"
)

// logbook keeps a log as lines of JSON.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// log returns a log that is kept here.
func (l *logbook) log() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// lines returns the entries with a message; "": all.
func (l *logbook) lines(message string) (found []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && (message == "" || entry["msg"] == message) {
			found = append(found, entry)
		}
	}
	return found
}

const (
	inTrouble  = "the database is in trouble; klingwatch goes on by itself when that is over"
	worksAgain = "the database works again"
)

func TestATroubleOfTheDatabaseIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, troubleIsToldOnce) // no pause of a busy machine counts as the end of a trouble
}

func troubleIsToldOnce(t *testing.T) {
	var book logbook
	kept := newOutageLog(book.log().Handler())
	log := slog.New(kept)
	log.Info("polling", "error", io.ErrUnexpectedEOF)
	for range 100 {
		log.Error("job failed", "error", fmt.Errorf("writing: %w", db.ErrReadOnly))
		log.With("job", 1).Warn("sweeping", "error", errors.Join(errors.New("one"), io.ErrUnexpectedEOF))
		slog.New(kept.forRiver()).Error("Error fetching jobs", "err", "ERROR: cannot execute UPDATE in a read-only transaction (SQLSTATE 25006)")
	}
	slog.New(kept.forRiver()).Error("Too many errors; giving up")
	log.Error("a job is wrong", "error", errors.New("line one\nline two"))
	time.Sleep(calmAfter)
	synctest.Wait()
	begun, other := book.lines(inTrouble), book.lines("a job is wrong")
	if len(begun) != 2 || begun[0]["trouble"] != "read only" || begun[0]["doing"] != "job failed" || begun[1]["trouble"] != "unreachable" {
		t.Errorf("it began with %v", begun)
	}
	if over := book.lines(worksAgain); len(over) != 1 || over[0]["failures"] != "read only: 201, unreachable: 100" {
		t.Errorf("it was over with %v", over)
	}
	if all := book.lines(""); len(other) != 1 || other[0]["error"] != "line one line two" || len(all) != 5 {
		t.Errorf("all of the log: %v", all)
	}
	log.Error("job failed", "error", db.ErrReadOnly)
	if begun := book.lines(inTrouble); len(begun) != 3 {
		t.Errorf("a second trouble: %v", begun)
	}
	kept.outages.forget()
}

// A server turns read only while its sockets stay open, as at a failover of a managed
// database, and accepts writes again later.
func TestWorkStopsWhileTheDatabaseIsReadOnly(t *testing.T) {
	t.Parallel()
	admin := dbtest.NewServer(t)
	pool := dbtest.OpenWritable(t, admin)
	_, relayURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = 2 * time.Second })
	var book logbook
	cfg := config(t, pool, relayURL)
	cfg.Log = book.log()
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	track(t, pool, "images/generations", "", ids...)
	w := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, "work is under way", func() bool { return statuses(t, admin)[db.Processing] > 0 })

	dbtest.SetReadOnly(t, admin, true)
	begun := time.Now()
	await(t, "the worker sees it", func() bool { return !w.Working() })
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	begun = time.Now()
	await(t, "no lock of an instance is left there", func() bool { return number(t, admin, `select count(*) from pg_locks where locktype = 'advisory'`) == 0 })
	if took := time.Since(begun); took > 5*time.Second { // River alone takes 8 s
		t.Errorf("it took %s to leave", took)
	}
	state := func(state string) float64 {
		return scrape(t, cfg.Metrics)[`klingwatch_database{state="`+state+`"}`]
	}
	await(t, "the metrics say so", func() bool { return state("read_only") == 1 && state("writable") == 0 })
	if _, err := admin.Exec(t.Context(), `begin read write; insert into klingwatch.tasks (task_id, action, action2) values ('ok-late', 'images', 'generations'); commit`); err != nil {
		t.Fatal(err)
	}
	open := statuses(t, admin)
	await(t, "the metrics count on", func() bool {
		return scrape(t, cfg.Metrics)[`klingwatch_open_tasks{status="pending"}`] == float64(open[db.Pending])
	})

	dbtest.SetReadOnly(t, admin, false)
	begun = time.Now()
	await(t, "the worker goes on", w.Working)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it went on %s after the end", took)
	}
	await(t, "all tasks end", func() bool { return statuses(t, admin)[db.Succeeded] == len(ids)+1 })
	await(t, "the end is told", func() bool { return len(book.lines(worksAgain)) == 1 })
	for _, entry := range book.lines("") {
		if level := entry["level"]; level != "INFO" && entry["msg"] != inTrouble {
			t.Errorf("the log has more than the trouble: %v", entry)
		}
	}
	if told := book.lines(inTrouble); len(told) > 2 || told[0]["trouble"] != "read only" {
		t.Errorf("the trouble was told as %v", told)
	}
}

// Who made the database chose another isolation, as for a bank: klingwatch's own sessions
// have the one that it is written for.
func TestManyTasksUnderSerializableLeaveNoLineEach(t *testing.T) {
	t.Parallel()
	odd := dbtest.New(t)
	if _, err := odd.Exec(t.Context(), `do $$ begin execute format('alter database %I set default_transaction_isolation = serializable', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	pool := dbtest.Again(t, odd)
	_, relayURL := simulator(t)
	var book logbook
	cfg := config(t, pool, relayURL)
	cfg.Log = book.log()
	ids := make([]string, 300)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	startWorker(t, cfg)
	track(t, pool, "images/generations", "", ids...)
	await(t, "all end", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids) })
	for _, entry := range book.lines("") {
		if entry["level"] != "INFO" {
			t.Errorf("it says %v", entry)
		}
	}
}

// A receiver answers while the database is lost: what it answered is written when the
// database is back, and it gets the webhook once.
func TestAnAnswerThatCouldNotBeWrittenIsNotAskedForTwice(t *testing.T) {
	t.Parallel()
	admin := dbtest.NewServer(t)
	pool := dbtest.OpenWritable(t, admin)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, admin))
	got, answer := make(chan struct{}, 10), make(chan struct{})
	consumer.answer = func(w http.ResponseWriter, _ *http.Request) {
		got <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusNoContent)
	}
	cfg := config(t, pool, relayURL)
	cfg.Webhooks = webhook.NewClient(webhook.Config{Timeout: patience, AllowNetworks: loopback})
	t.Cleanup(cfg.Webhooks.Close)
	w := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	track(t, admin, "images/generations", consumer.URL, "quick-1")
	<-got
	dbtest.SetReadOnly(t, admin, true)
	close(answer)
	await(t, "the worker sees it", func() bool { return !w.Working() })
	await(t, "it has let go", func() bool { return number(t, admin, `select count(*) from pg_locks where locktype = 'advisory'`) == 0 })
	dbtest.SetReadOnly(t, admin, false)
	await(t, "the delivery is done", func() bool {
		return number(t, admin, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == 1
	})
	if n := len(got); n != 0 {
		t.Errorf("the receiver got it %d times more", n)
	}
	if n := number(t, admin, `select count(*) from klingwatch.delivery_attempts`); n != 1 {
		t.Errorf("%d attempts are written", n)
	}
}
