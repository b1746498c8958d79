package apis

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/reports"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// list is pages of very many tasks.
type list struct {
	tasks int
	each  int // requests per filter, and as many for what follows the first page
}

// listDays is over how many days the tasks are spread.
const listDays = 30

// listFilter chooses tasks.
type listFilter struct{ name, label, query string }

// listFilters are each filter alone with a frequent, a rare and an absent value, where it
// has such. The rare ones are the five oldest tasks; see makeRare.
func listFilters(now time.Time) []listFilter {
	at := func(d time.Duration) string { return url.QueryEscape(now.Add(d).Format(time.RFC3339)) }
	const day = 24 * time.Hour
	return []listFilter{
		{"none", "no filter", ""},
		{"status_succeeded", "status, 95 %", "status=succeeded"},
		{"status_failed", "status, 5 %", "status=failed"},
		{"status_processing", "status, 0.1 %, the newest", "status=processing"},
		{"status_rare", "status, rare", "status=not_found"},
		{"status_absent", "status, absent", "status=canceled"},
		{"action", "action, 67 %", "action=videos"},
		{"action_rare", "action, rare", "action=rare"},
		{"action_absent", "action, absent", "action=absent"},
		{"action2", "action and action2, 33 %", "action=videos&action2=image2video"},
		{"action2_absent", "action and action2, absent", "action=videos&action2=absent"},
		{"relay", "relay, nearly all", "relay=default"},
		{"relay_rare", "relay, rare", "relay=rare"},
		{"relay_absent", "relay, absent", "relay=absent"},
		{"app_rare", "app, rare", "app=rare"},
		{"app_absent", "app, absent", "app=absent"},
		{"external_id_rare", "external id, rare", "external_id=rare"},
		{"external_id_absent", "external id, absent", "external_id=absent"},
		{"metadata", "metadata, 5 %", "metadata[customer]=c-7"},
		{"metadata_rare", "metadata, rare", "metadata[customer]=rare"},
		{"metadata_absent", "metadata, absent", "metadata[customer]=absent"},
		{"error", "error, 1 %", "error=reason+A"},
		{"error_rare", "error, rare", "error=rarely"},
		{"error_absent", "error, absent", "error=absent"},
		{"overdue", "overdue, 0.1 %", "overdue=true"},
		{"created_after", "created after yesterday", "created_after=" + at(-day)},
		{"created_after_absent", "created after tomorrow, absent", "created_after=" + at(day)},
		{"created_before", "created before half of the time", "created_before=" + at(-listDays*day/2)},
		{"created_before_rare", "created before nearly all, rare", "created_before=" + at(-listDays*day+5*time.Minute)},
		{"created_before_absent", "created before all, absent", "created_before=" + at(-2*listDays*day)},
	}
}

func (l list) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		b.Progress.Sayf("list: writing %d tasks", l.tasks)
		if err := reports.InsertTasks(ctx, d, l.tasks, listDays); err != nil {
			return err
		}
		if err := makeRare(ctx, d); err != nil {
			return err
		}
		if err := b.Relay.Plan(ctx, standin.RelayPlan{}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
			c, err := open(ctx, b, d, server)
			if err != nil {
				return err
			}
			return l.request(ctx, b, c, s)
		})
	})
}

// request asks for pages with each filter, in turns, so that no filter has a bad time alone.
func (l list) request(ctx context.Context, b *bench.Bench, c client, s *figures.Series) error {
	filters := listFilters(time.Now())
	took := make([][]float64, len(filters))
	for round := range l.each + 1 { // the first opens connections and reads from disk, and does not count
		b.Progress.Sayf("list: round %d of %d", round, l.each)
		for i, f := range filters {
			times, err := pages(ctx, c, f)
			if err != nil {
				return err
			}
			if round > 0 {
				took[i] = append(took[i], times...)
			}
		}
	}
	var all []float64
	worst := 0.0
	for _, times := range took {
		all, worst = append(all, times...), max(worst, figures.Percentile(times, 0.99))
	}
	s.Add("list_p50", fmt.Sprintf("page of %d tasks, any filter, p50", l.tasks), "ms", figures.Percentile(all, 0.50), nil)
	s.Add("list_p99", "that of the slowest filter, p99", "ms", worst, figures.AtMost(25))
	s.Add("list_max", "any filter, the longest", "ms", figures.Percentile(all, 1), figures.AtMost(2000))
	for i, f := range filters {
		s.Add("list_"+f.name, "  "+f.label+", p99", "ms", figures.Percentile(took[i], 0.99), nil)
	}
	return nil
}

// pages asks for the first page and the one after it, and returns how long each took.
func pages(ctx context.Context, c client, f listFilter) (took []float64, err error) {
	cursor := ""
	for range 2 {
		var page struct {
			Next *string `json:"next"`
		}
		begun := time.Now()
		if err := c.call(ctx, http.MethodGet, "/v1/tasks?"+f.query+cursor, nil, &page); err != nil {
			return nil, err
		}
		took = append(took, figures.Milliseconds(time.Since(begun)))
		if page.Next == nil {
			break
		}
		cursor = "&cursor=" + *page.Next
	}
	return took, nil
}
