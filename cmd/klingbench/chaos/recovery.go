package chaos

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
)

// window is the time of a fault.
type window struct {
	kind     kind
	from, to time.Time
}

// recovery is how long the work took to go on when a fault was over.
type recovery struct {
	window
	missing string // what did not go on within the limit, "" where all did
}

// progress is what the work has come to.
type progress struct{ ended, delivered int }

// recover waits until tasks end and webhooks are delivered again, and nobody says
// that it is not ready. out is when klingwatch was hindered.
func (st *stage) recover(ctx context.Context, out window) error {
	before, err := st.progress(ctx)
	if err != nil {
		return err
	}
	r := recovery{window: window{kind: out.kind, from: out.to}}
	for {
		now, err := st.progress(ctx)
		if err != nil {
			return err
		}
		r.missing = st.missing(before, now)
		if r.missing == "" || time.Since(r.from) > out.kind.backWithin {
			break
		}
		if err := bench.Pause(ctx, second/10); err != nil {
			return err
		}
	}
	r.to = time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.outages, st.recoveries = append(st.outages, out), append(st.recoveries, r)
	return nil
}

func (st *stage) progress(ctx context.Context) (p progress, err error) {
	err = st.cluster.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		p, err = readProgress(ctx, conn)
		return err
	})
	return p, err
}

// missing says what does not go on.
func (st *stage) missing(before, now progress) string {
	for _, w := range st.watches {
		if w.status() == http.StatusServiceUnavailable {
			return w.service.name + " was not ready"
		}
	}
	switch {
	case now.ended == before.ended:
		return "no task ended"
	case now.delivered == before.delivered:
		return "no webhook was delivered"
	}
	return ""
}

// disturbed reports whether another fault was there meanwhile, or its effects.
func (r recovery) disturbed(faults []window) bool {
	for _, f := range faults {
		if f.kind.name != r.kind.name && f.from.Before(r.to) && f.to.Add(f.kind.lingers).After(r.from) {
			return true
		}
	}
	return false
}

// judgeRecoveries: the work goes on soon where nothing else is wrong.
func judgeRecoveries(f facts) verdict {
	v := verdict{}
	judged, longest := 0, recovery{}
	for _, r := range f.recoveries {
		if r.disturbed(f.faults) {
			continue
		}
		judged++
		if r.to.Sub(r.from) > longest.to.Sub(longest.from) {
			longest = r
		}
		if r.missing != "" {
			v.addf("%s within %s after %s", r.missing, r.kind.backWithin, r.kind.name)
		}
	}
	v.what = fmt.Sprintf("the work went on soon after each of %d outages", judged)
	if judged > 0 {
		v.what += fmt.Sprintf(" (at the latest %s after %s)", longest.to.Sub(longest.from).Round(second/10), longest.kind.name)
	}
	return v
}
