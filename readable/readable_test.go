package readable_test

import (
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/readable"
)

func TestDurationsHaveOneUnit(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 999 * time.Millisecond: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m", -5 * time.Minute: "5m",
		time.Hour: "1h", 48*time.Hour - time.Second: "47h", 48 * time.Hour: "2d", 80 * time.Hour: "3d",
	} {
		if got := readable.Duration(d); got != want {
			t.Errorf("%s is written %s, want %s", d, got, want)
		}
	}
}

func TestSizesHaveOneUnit(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 kB", 1: "1 kB", 5000: "5 kB", 1<<20 - 1: "1024 kB", 1 << 20: "1 MB", 12_900_000: "12 MB", 1 << 30: "1.0 GB", 3 << 29: "1.5 GB",
	} {
		if got := readable.Bytes(n); got != want {
			t.Errorf("%d bytes are written %s, want %s", n, got, want)
		}
	}
}

func TestDurationsAreReadWithDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1d": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute, "0.5d": 12 * time.Hour, "-1d2h": -26 * time.Hour, "0": 0,
	} {
		if got, err := readable.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "1", "1d1", "1dd", "d1h", "1d-2h", "1e9d", "NaNd", "Infd", "99999d", "1w"} {
		if got, err := readable.ParseDuration(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

func TestNumbersHaveTheWordsForSoMany(t *testing.T) {
	t.Parallel()
	for n, want := range []string{"0 tasks are", "1 task is", "2 tasks are"} {
		if got := readable.Count(n, "task is", "tasks are"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestSizesAreReadWithUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "500MB": 500e6, "1.5 GiB": 3 << 29, " 2gib ": 2 << 30, "1kB": 1000} {
		if got, err := readable.ParseBytes(text); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GB", "-1", "1XB", "1e30", "NaN", "ten"} {
		if got, err := readable.ParseBytes(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}
