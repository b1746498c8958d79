package figures

import (
	"math"
	"slices"
	"time"
)

// Median returns the median of the values, 0 if there are none.
func Median(values []float64) float64 { return Percentile(values, 0.5) }

// Worst returns the largest of the values, of which there must be one.
func Worst(values []float64) float64 { return slices.Max(values) }

// Percentile interpolates between the two values next to rank p (0 to 1). It
// returns 0 if there are no values.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := p * float64(len(sorted)-1)
	below := int(math.Floor(rank))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (rank-float64(below))*(sorted[above]-sorted[below])
}

// Milliseconds returns a duration in milliseconds, with fractions.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Microseconds returns a duration in microseconds, with fractions.
func Microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Ratio returns a / b, 0 if b is 0: nothing was measured.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
