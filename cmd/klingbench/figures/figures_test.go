package figures

import "testing"

func TestPercentilesLieBetweenValues(t *testing.T) {
	t.Parallel()
	values := []float64{4, 1, 3, 2}
	for _, test := range []struct{ p, want float64 }{{0, 1}, {0.5, 2.5}, {1, 4}} {
		if got := Percentile(values, test.p); got != test.want {
			t.Errorf("percentile %v is %v, want %v", test.p, got, test.want)
		}
	}
	if got := Percentile(nil, 0.5); got != 0 {
		t.Errorf("the median of no values is %v, want 0", got)
	}
}

func TestNumbersShowThreeDigits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		v    float64
		want string
	}{{0, "0"}, {50_000, "50000"}, {123.4, "123"}, {1.25, "1.25"}, {0.6, "0.6"}, {0.06329, "0.0633"}, {99.96, "100"}} {
		if got := Number(test.v); got != test.want {
			t.Errorf("%v is shown as %s, want %s", test.v, got, test.want)
		}
	}
}

func TestASeriesSummarizesItsRunsAndComparesThemWithTheTarget(t *testing.T) {
	t.Parallel()
	s := NewSeries(Median)
	for _, v := range []float64{5, 1, 9} {
		s.Add("late", "lateness", "ms", v, AtMost(5))
		s.Add("rate", "polls", "/s", v, AtLeast(6))
	}
	got := s.Result()
	if len(got) != 2 || got[0].Name != "late" || got[0].Value != 5 || !*got[0].Reached || len(got[0].Runs) != 3 {
		t.Errorf("the first figure is %+v, want late, 5 and reached", got[0])
	}
	if got[1].Value != 5 || *got[1].Reached {
		t.Errorf("the second figure is %+v, want 5 and missed", got[1])
	}
}
