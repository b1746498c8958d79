// Package readable writes spans of time, sizes and numbers in the few characters that
// people need to compare them.
package readable

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration returns the size of d in its largest unit, rounded down: 3s, 5m, 47h,
// 4d. The sign is left out.
func Duration(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Count writes a number with the words for so many: 1 task is, 2 tasks are.
func Count[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// ParseDuration reads a duration as time.ParseDuration does, and days of 24 hours in front
// of the other units: 7d, 1d12h, 0.5d.
func ParseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	number, err := strconv.ParseFloat(days, 64)
	if err != nil || strings.ContainsAny(days, "eExXpP_") || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") || !(math.Abs(number) <= maxDays) {
		return 0, fmt.Errorf("%q is not a duration", text)
	}
	d := time.Duration(number * float64(24*time.Hour))
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more.Abs() > maxDays*24*time.Hour {
		return 0, fmt.Errorf("%q is not a duration", text)
	}
	if number < 0 || strings.HasPrefix(days, "-") {
		more = -more
	}
	return d + more, nil
}

// maxDays is what can be added to another one within a time.Duration.
const maxDays = 50_000

// Bytes returns a size with its unit, of 1024 each: 5 kB (rounded up), 12 MB
// (rounded down), 1.5 GB.
func Bytes(n int64) string {
	const kilo = 1024
	switch {
	case n < kilo*kilo:
		return fmt.Sprintf("%d kB", (n+kilo-1)/kilo)
	case n < kilo*kilo*kilo:
		return fmt.Sprintf("%d MB", n/(kilo*kilo))
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(kilo*kilo*kilo))
}

// sizes are the units of ParseBytes.
var sizes = map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}

// ParseBytes reads a size like 500MB, 1.5 GiB or 4096.
func ParseBytes(text string) (int64, error) {
	text = strings.TrimSpace(text)
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit, known := sizes[strings.ToUpper(text[len(number):])]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !known || !(n >= 0 && n*float64(unit) < 1<<62) {
		return 0, fmt.Errorf("%q is not a size like 500MB or 2GiB", text)
	}
	return int64(n * float64(unit)), nil
}
