package apis

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/reports"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// PagesCommand measures the pages.
type PagesCommand struct {
	bench.Options
	Only  []string `placeholder:"PART" help:"Parts to measure: time, live, idle; default: all."`
	Tasks int      `placeholder:"N" help:"Tasks that the pages show; default: 1000000, with --quick 5000."`
}

// Run measures.
func (cmd PagesCommand) Run(ctx context.Context, c *figures.Console) error {
	p := sight{tasks: 1_000_000, each: 40, tabs: 8, changes: 100, idle: time.Minute}
	if cmd.Quick {
		p = sight{tasks: 5000, each: 2, tabs: 2, changes: 5, idle: 2 * time.Second}
	}
	if cmd.Tasks > 0 {
		p.tasks = cmd.Tasks
	}
	return cmd.MeasureParts(ctx, c, "pages", []bench.Part{
		{Name: "time", Runs: 1, Measure: p.time},
		{Name: "live", Runs: 1, Measure: p.live},
		{Name: "idle", Runs: 1, Measure: p.rest},
	}, cmd.Only)
}

// sight is what people look at.
type sight struct {
	tasks   int
	each    int // requests of each page
	tabs    int // that are open
	changes int // of a task in a tab
	idle    time.Duration
}

// sightPaths are the pages. Where a list can be filtered there is a filter that finds much,
// one that finds a little, and one that finds nothing.
func sightPaths() []string {
	paths := []string{
		"/", "/tasks", "/tasks/1", "/tasks/1000", "/gallery", "/deliveries", "/deliveries/1", "/endpoints", "/relays", "/settings", "/actions",
		"/tasks?q=absent", "/deliveries?state=exhausted", "/deliveries?error=absent", "/gallery?kind=audio", "/gallery?app=absent",
		"/reports", "/reports/daily", "/reports/failures", "/reports/outputs", "/reports/webhooks", "/reports/throughput",
	}
	for _, query := range []string{
		"status=succeeded", "status=not_found", "status=canceled", "action=videos", "action=absent", "relay=rare", "app=rare", "external_id=rare",
		"metadata=customer%3Dc-7", "metadata=customer%3Drare", "metadata=customer%3Dabsent", "error=reason+A", "error=absent", "overdue=1", "since=24h", "until=2020-01-01",
	} {
		paths = append(paths, "/tasks?"+query)
	}
	return paths
}

// time asks for each page in turns.
func (p sight) time(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		b.Progress.Sayf("time: writing %d tasks", p.tasks)
		if err := reports.InsertHistory(ctx, d, p.tasks, listDays); err != nil {
			return err
		}
		if err := makeRare(ctx, d); err != nil {
			return err
		}
		b.Progress.Sayf("time: summarizing them")
		for days := 1; days > 0; {
			var err error
			if days, err = db.RefreshReports(ctx, d.Pool); err != nil {
				return err
			}
		}
		if err := b.Relay.Plan(ctx, standin.RelayPlan{}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
			person, err := logIn(ctx, b, d, server)
			if err != nil {
				return err
			}
			return p.ask(ctx, b, person, s)
		})
	})
}

func (p sight) ask(ctx context.Context, b *bench.Bench, person person, s *figures.Series) error {
	paths := sightPaths()
	took := make([][]float64, len(paths))
	for round := range p.each + 1 { // the first reads from disk, and does not count
		b.Progress.Sayf("time: round %d of %d", round, p.each)
		for i, path := range paths {
			begun := time.Now()
			if err := person.look(ctx, path); err != nil {
				return err
			}
			if round > 0 {
				took[i] = append(took[i], figures.Milliseconds(time.Since(begun)))
			}
		}
	}
	var all []float64
	worst := 0.0
	for _, times := range took {
		all, worst = append(all, times...), max(worst, figures.Percentile(times, 0.99))
	}
	s.Add("pages_p50", "any page, p50", "ms", figures.Percentile(all, 0.50), nil)
	s.Add("pages_p99", "the slowest page, p99", "ms", worst, figures.AtMost(50))
	s.Add("pages_max", "any page, the longest", "ms", figures.Percentile(all, 1), figures.AtMost(2000))
	for i, path := range paths {
		s.Add("pages_"+path, "  "+path+", p99", "ms", figures.Percentile(took[i], 0.99), nil)
	}
	return nil
}

// live measures from the commit that ends a task to the message in each of some tabs.
func (p sight) live(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := completions.Prepare(ctx, d, 1, p.changes, nil); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
			person, err := logIn(ctx, b, d, server)
			if err != nil {
				return err
			}
			ids := make([]string, p.changes)
			for i := range ids {
				ids[i] = fmt.Sprint(i + 1)
			}
			tabs := make([]*tab, p.tabs)
			for i := range tabs {
				if tabs[i], err = person.open(ctx, "/live?view=tasks&above=0&ids="+strings.Join(ids, ",")); err != nil {
					return err
				}
				defer tabs[i].body.Close()
			}
			return p.change(ctx, d, tabs, s)
		})
	})
}

// change cancels one task after the other, and waits until each tab has been told.
func (p sight) change(ctx context.Context, d *bench.Database, tabs []*tab, s *figures.Series) error {
	var latencies []float64
	for id := int64(1); id <= int64(p.changes); id++ {
		tasks, err := db.TasksOf(ctx, d.Pool, []int64{id})
		if err != nil {
			return err
		}
		if err := operate.Cancel(ctx, d.Pool, tasks[0], time.Hour); err != nil {
			return err
		}
		begun := time.Now()
		for _, tab := range tabs {
			at, err := tab.until(fmt.Sprintf("t%d-status", id), "s-canceled")
			if err != nil {
				return err
			}
			latencies = append(latencies, figures.Milliseconds(at.Sub(begun)))
		}
		if err := bench.Pause(ctx, 300*time.Millisecond); err != nil { // a tab is told at most every 250 ms
			return err
		}
	}
	what := fmt.Sprintf("commit to the message in one of %d tabs", p.tabs)
	s.Add("pages_live_p50", what+", p50", "ms", figures.Percentile(latencies, 0.50), figures.AtMost(150))
	s.Add("pages_live_p99", what+", p99", "ms", figures.Percentile(latencies, 0.99), nil)
	return nil
}

// rest compares what the process asks the database with one idle tab and with more.
func (p sight) rest(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
			person, err := logIn(ctx, b, d, server)
			if err != nil {
				return err
			}
			var asked [2]float64
			for i := range asked {
				for range max(1, i*p.tabs) {
					tab, err := person.open(ctx, "/live?view=tasks&above=0&ids=1")
					if err != nil {
						return err
					}
					defer tab.body.Close()
				}
				if asked[i], err = p.transactions(ctx, d); err != nil {
					return err
				}
			}
			s.Add("pages_idle_tab", "transactions per minute of one more idle tab", "", max(0, (asked[1]-asked[0])/float64(p.tabs)), figures.AtMost(1))
			s.Add("pages_idle_process", "  of the whole process with one idle tab", "", asked[0], nil)
			return nil
		})
	})
}

// transactions counts those of the database in a minute.
func (p sight) transactions(ctx context.Context, d *bench.Database) (perMinute float64, err error) {
	if err := bench.Pause(ctx, 2*time.Second); err != nil { // what begins has begun
		return 0, err
	}
	before, err := transactionCount(ctx, d)
	if err != nil {
		return 0, err
	}
	if err := bench.Pause(ctx, p.idle); err != nil {
		return 0, err
	}
	after, err := transactionCount(ctx, d)
	return float64(after-before) * time.Minute.Seconds() / p.idle.Seconds(), err
}

// person is a browser that is logged in.
type person struct {
	address string
	client  *http.Client
}

func logIn(ctx context.Context, b *bench.Bench, d *bench.Database, server *contender.Service) (person, error) {
	address, err := start(ctx, b, d, server, contender.AnyPort)
	if err != nil {
		return person{}, err
	}
	_, key, err := operate.AddAPIKey(ctx, d.Pool, operate.NewAPIKey{Name: "bench", Scope: db.ScopeAdmin})
	if err != nil {
		return person{}, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return person{}, err
	}
	p := person{address, &http.Client{Jar: jar}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/login", strings.NewReader(url.Values{"key": {key}, "next": {"/login"}}.Encode()))
	if err != nil {
		return p, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := p.client.Do(r)
	if err != nil {
		return p, fmt.Errorf("logging in: %w", err)
	}
	return p, res.Body.Close()
}

func (p person) get(ctx context.Context, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(r)
	if err == nil && res.StatusCode != http.StatusOK {
		res.Body.Close()
		err = fmt.Errorf("looking at %s: %s", path, res.Status)
	}
	return res, err
}

// look asks for a page and reads it.
func (p person) look(ctx context.Context, path string) error {
	res, err := p.get(ctx, path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// tab is an open page, live.
type tab struct {
	body  io.ReadCloser
	lines *bufio.Scanner
}

// maxMessage is more than the largest message of a tab.
const maxMessage = 1 << 20

// open opens the stream of a page, and reads its first message.
func (p person) open(ctx context.Context, path string) (*tab, error) {
	res, err := p.get(ctx, path)
	if err != nil {
		return nil, err
	}
	t := &tab{res.Body, bufio.NewScanner(res.Body)}
	t.lines.Buffer(nil, maxMessage)
	_, err = t.until("new", "")
	return t, err
}

// until reads until a part holds a text, and returns when that came.
func (t *tab) until(id, text string) (time.Time, error) {
	for t.lines.Scan() {
		data, found := strings.CutPrefix(t.lines.Text(), "data: ")
		if !found {
			continue
		}
		at := time.Now()
		var parts map[string]string
		if err := json.Unmarshal([]byte(data), &parts); err != nil {
			return at, fmt.Errorf("reading a message of a page: %w", err)
		}
		if content, has := parts[id]; has && strings.Contains(content, text) {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("the stream of a page ended: %w", t.lines.Err())
}
