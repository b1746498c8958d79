// Package show makes words and pictures of values: times, sizes, charts.
package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/readable"
)

// None stands where there is no value.
const None = "–"

// timeOf returns the time in a value: a time.Time or a *time.Time; false: there is none.
func timeOf(value any) (time.Time, bool) {
	switch at := value.(type) {
	case time.Time:
		return at, !at.IsZero()
	case *time.Time:
		if at != nil {
			return *at, true
		}
	}
	return time.Time{}, false
}

// Absolute is a time to the second, in UTC.
func Absolute(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }

// Ago is a time as seen from now, with the absolute time in its title. The script of the
// pages keeps it current.
func Ago(lang string, value any, now time.Time) template.HTML {
	at, known := timeOf(value)
	if !known {
		return None
	}
	return timeElement(at, Relative(lang, at.Sub(now)), "ago")
}

// At is a time to the second.
func At(value any) template.HTML {
	at, known := timeOf(value)
	if !known {
		return None
	}
	return timeElement(at, at.UTC().Format("01-02 15:04:05"), "at")
}

func timeElement(at time.Time, text, class string) template.HTML {
	return template.HTML(fmt.Sprintf(`<time class="%s" datetime="%s" title="%s">%s</time>`, class, at.UTC().Format(time.RFC3339Nano), Absolute(at), template.HTMLEscapeString(text)))
}

// units of relative times, the largest first, as the script of the pages has them.
var units = []struct {
	length   time.Duration
	one, zh  string
	many     string
	smallest bool
}{
	{24 * time.Hour, "day", "天", "days", false},
	{time.Hour, "h", "小时", "h", false},
	{time.Minute, "min", "分钟", "min", false},
	{time.Second, "s", "秒", "s", true},
}

// Relative is a distance in time from now: negative ones have passed.
func Relative(lang string, d time.Duration) string {
	if d.Abs() < time.Second {
		if lang == "zh" {
			return "刚刚"
		}
		return "now"
	}
	length := Took(lang, d.Abs())
	switch {
	case lang == "zh" && d < 0:
		return length + "前"
	case lang == "zh":
		return length + "后"
	case d < 0:
		return length + " ago"
	}
	return "in " + length
}

// Took is a length of time in its largest unit. It takes a time.Duration, seconds as
// float64, or a pointer to these.
func Took(lang string, value any) string {
	d, known := durationOf(value)
	if !known {
		return None
	}
	if d < time.Second {
		ms := float64(d) / float64(time.Millisecond)
		if ms < 10 {
			return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
		}
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	for _, u := range units {
		n := int64(d / u.length)
		switch {
		case n == 0:
			continue
		case u.smallest && n < 10 && d%u.length >= 100*time.Millisecond:
			return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " " + unit(lang, u.many, u.zh)
		case n == 1:
			return "1" + " " + unit(lang, u.one, u.zh)
		}
		return strconv.FormatInt(n, 10) + " " + unit(lang, u.many, u.zh)
	}
	return None
}

// Span is a length of time as settings are written, to the last second: 5s, 2m30s, 26h, 30d.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if cut, found := strings.CutSuffix(text, "m0s"); found {
		text = cut + "m"
	}
	if cut, found := strings.CutSuffix(text, "h0m"); found {
		text = cut + "h"
	}
	return text
}

func unit(lang, en, zh string) string {
	if lang == "zh" {
		return zh
	}
	return en
}

func durationOf(value any) (time.Duration, bool) {
	switch d := value.(type) {
	case time.Duration:
		return d, true
	case *time.Duration:
		if d != nil {
			return *d, true
		}
	case float64:
		return time.Duration(d * float64(time.Second)), true
	case *float64:
		if d != nil {
			return time.Duration(*d * float64(time.Second)), true
		}
	}
	return 0, false
}

// Decimal is a number with all its decimals, as settings are written.
func Decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// Number is a whole number with its thousands apart.
func Number(value any) string {
	v := reflect.ValueOf(value)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return None
		}
		v = v.Elem()
	}
	digits := fmt.Sprint(v)
	if v.CanFloat() {
		digits = strconv.FormatFloat(v.Float(), 'f', 0, 64)
	}
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Bytes is a size in its largest unit; of nil there is none.
func Bytes(n *int64) string {
	if n == nil {
		return None
	}
	return readable.Bytes(*n)
}

// Percent is a part of a whole.
func Percent(part, whole float64) string {
	if whole == 0 {
		return None
	}
	return strconv.FormatFloat(100*part/whole, 'f', 0, 64) + "%"
}

// Rate is a number per second.
func Rate(n float64) string {
	if n > 0 && n < 10 {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return Number(n)
}

// Pretty indents JSON; what is none stays as it is.
func Pretty(value any) string {
	text := fmt.Sprintf("%s", value)
	var out bytes.Buffer
	if json.Indent(&out, []byte(text), "", "  ") != nil {
		return text
	}
	return out.String()
}

// Or is a text, or what a pointer points to, or None where there is none.
func Or(value any) any {
	v := reflect.ValueOf(value)
	switch {
	case !v.IsValid(), v.Kind() == reflect.Pointer && v.IsNil():
		return None
	case v.Kind() == reflect.Pointer:
		return Or(v.Elem().Interface())
	case v.Kind() == reflect.String && v.Len() == 0:
		return None
	}
	return value
}

// Deref is what a pointer points to; the zero value for nil.
func Deref(value any) any {
	v := reflect.ValueOf(value)
	switch {
	case !v.IsValid() || v.Kind() != reflect.Pointer:
		return value
	case v.IsNil():
		return reflect.Zero(v.Type().Elem()).Interface()
	}
	return v.Elem().Interface()
}

// Dict makes a map of names with their values, to hand several things to a template.
func Dict(pairs ...any) map[string]any {
	made := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		made[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return made
}
