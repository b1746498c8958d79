package chaos

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A minute is what CI has.
var lengths = []time.Duration{time.Minute, 5 * time.Minute, time.Hour}

func TestTheSameSeedIsTheSamePlan(t *testing.T) {
	t.Parallel()
	one, again, other := makePlan(7, time.Minute, kinds), makePlan(7, time.Minute, kinds), makePlan(8, time.Minute, kinds)
	if !reflect.DeepEqual(one, again) {
		t.Errorf("seed 7 makes two plans:\n%v\n%v", one, again)
	}
	if reflect.DeepEqual(one, other) {
		t.Error("seeds 7 and 8 make the same plan")
	}
}

func TestEveryKindOccursWithinTheTime(t *testing.T) {
	t.Parallel()
	for _, length := range lengths {
		for seed := range uint64(500) {
			plan := makePlan(seed, length, kinds)
			for _, k := range kinds {
				i := slices.IndexFunc(plan, func(o occurrence) bool { return o.kind.name == k.name })
				switch {
				case i < 0:
					t.Fatalf("seed %d, %s: there is no %s", seed, length, k.name)
				case plan[i].lasts < k.least || plan[i].lasts > k.most:
					t.Fatalf("seed %d, %s: %s lasts %s", seed, length, k.name, plan[i].lasts)
				}
			}
			for _, o := range plan {
				if o.at+o.lasts > length {
					t.Fatalf("seed %d, %s: %s ends after %s", seed, length, o.kind.name, o.at+o.lasts)
				}
			}
		}
	}
}

func TestNoFaultRepairsAnother(t *testing.T) {
	t.Parallel()
	overlaps := 0
	for seed := range uint64(500) {
		plan := makePlan(seed, 5*time.Minute, kinds)
		for i, o := range plan {
			for _, later := range plan[i+1:] {
				if later.at < o.at {
					t.Fatalf("seed %d: %s is out of order", seed, later.kind.name)
				}
				if later.at >= o.at+o.lasts {
					continue
				}
				overlaps++
				if o.kind == later.kind || o.kind.server && later.kind.server {
					t.Fatalf("seed %d: %s begins during %s", seed, later.kind.name, o.kind.name)
				}
			}
		}
	}
	if overlaps == 0 {
		t.Error("no two faults ever overlap")
	}
}

func TestChosenKindsFillTheTime(t *testing.T) {
	t.Parallel()
	chosen, err := kindsNamed([]string{workerKill, sessions})
	if err != nil {
		t.Fatal(err)
	}
	plan := makePlan(1, time.Minute, chosen)
	if len(plan) < 8 {
		t.Errorf("only %d faults in a minute", len(plan))
	}
	for _, o := range plan {
		if o.kind.name != workerKill && o.kind.name != sessions {
			t.Errorf("%s was not chosen", o.kind.name)
		}
	}
	if _, err := kindsNamed([]string{"earthquake"}); err == nil || !strings.Contains(err.Error(), "worker-kill, worker-stop") {
		t.Errorf("an unknown kind: %v", err)
	}
}
