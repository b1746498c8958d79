package show_test

import (
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/web/pages/show"
)

func TestTimesAreToldAsSeenFromNow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		distance time.Duration
		en, zh   string
	}{
		{0, "now", "刚刚"}, {-900 * time.Millisecond, "now", "刚刚"}, {-90 * time.Second, "1 min ago", "1 分钟前"}, {-3 * time.Hour, "3 h ago", "3 小时前"},
		{-24 * time.Hour, "1 day ago", "1 天前"}, {30 * 24 * time.Hour, "in 30 days", "30 天后"}, {59 * time.Second, "in 59 s", "59 秒后"},
	} {
		for lang, want := range map[string]string{"en": test.en, "zh": test.zh} {
			got := string(show.Ago(lang, now.Add(test.distance), now))
			if !strings.Contains(got, ">"+want+"<") || !strings.Contains(got, "UTC") {
				t.Errorf("%s in %s: %s, want %s", test.distance, lang, got, want)
			}
		}
	}
	if got := show.Ago("en", (*time.Time)(nil), now); got != show.None {
		t.Errorf("no time: %s", got)
	}
}

func TestLengthsAreToldInTheirLargestUnit(t *testing.T) {
	t.Parallel()
	for value, want := range map[any]string{
		600 * time.Microsecond: "0.6 ms", 45 * time.Millisecond: "45 ms", 1500 * time.Millisecond: "1.5 s", 90 * time.Minute: "1 h", 0.25: "250 ms", "no length": show.None,
	} {
		if got := show.Took("en", value); got != want {
			t.Errorf("%v: %q, want %q", value, got, want)
		}
	}
}

func TestNumbersHaveTheirThousandsApart(t *testing.T) {
	t.Parallel()
	for value, want := range map[any]string{0: "0", 999: "999", int64(10000): "10,000", -1234567: "-1,234,567", 1e6: "1,000,000", (*int)(nil): show.None} {
		if got := show.Number(value); got != want {
			t.Errorf("%v: %q, want %q", value, got, want)
		}
	}
}

// A chart is drawn by hand: what it is told must not get out of it.
func TestChartsHoldTextsAsTexts(t *testing.T) {
	t.Parallel()
	const hostile = `"><script>alert(1)</script>`
	chart := show.Chart{Title: hostile, Labels: []string{hostile}, Unit: hostile, Series: []show.Series{{Name: hostile, Class: hostile, Values: []float64{3}}}}
	for _, drawn := range []string{string(show.Bars(chart)), string(show.Spark(hostile, hostile, []float64{1}))} {
		if strings.Contains(drawn, "<script>") {
			t.Error(drawn)
		}
	}
}

func TestChartsBearAnyValues(t *testing.T) {
	t.Parallel()
	for name, chart := range map[string]show.Chart{
		"nothing":         {},
		"no values":       {Labels: []string{"a", "b"}, Series: []show.Series{{Name: "n", Class: "c1"}}},
		"zeros":           {Labels: []string{"a"}, Series: []show.Series{{Values: []float64{0}}}},
		"less than zero":  {Labels: []string{"a"}, Series: []show.Series{{Values: []float64{-5}}}},
		"very many":       {Labels: make([]string, 1000), Series: []show.Series{{Values: make([]float64, 1000)}}},
		"far from others": {Labels: []string{"a", "b"}, Series: []show.Series{{Values: []float64{1e12, 1e-3}}}},
	} {
		if drawn := string(show.Bars(chart)); strings.Contains(drawn, "NaN") || strings.Contains(drawn, "Inf") || !strings.HasSuffix(drawn, "</svg>") {
			t.Errorf("%s: %s", name, drawn)
		}
	}
}
