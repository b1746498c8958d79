package klingapi

import (
	"regexp"
	"strconv"
	"strings"
)

// durationOf returns the seconds that an object says of the file in one of its
// fields; "" where it says nothing.
func durationOf(o object, field string) string {
	keys := []string{"duration", "duration_seconds", "duration_s", "seconds", "video_duration", "audio_duration"}
	for _, format := range []string{"mp3", "wav"} {
		if strings.Contains(field, format) {
			keys = append([]string{"duration_" + format, format + "_duration"}, keys[:2]...)
		}
	}
	for _, key := range keys {
		if text := seconds(o.text(key)); text != "" {
			return text
		}
	}
	for _, key := range []string{"duration_ms", "duration_millis", "duration_in_ms"} {
		if text := o.text(key); text != "" {
			return seconds(text + "ms")
		}
	}
	if metadata, ok := o["metadata"].(object); ok { // OpenAI's form of a video, at new-api
		return durationOf(metadata, field)
	}
	return ""
}

var (
	durationForm = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,30})?)\s*(ms|s|sec|secs|seconds?)?$`)
	clockForm    = regexp.MustCompile(`^(?:([0-9]{1,2}):)?([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,9})?)$`)
)

// milliseconds from a thousand on: Kling's longest files take some minutes.
const millisecondsFrom = 1000

// seconds reads 5, "5.041", "5s", "5041ms", 5041 and "00:05".
func seconds(text string) string {
	text = strings.ToLower(text)
	if match := clockForm.FindStringSubmatch(text); match != nil {
		hours, _ := strconv.Atoi("0" + match[1])
		minutes, _ := strconv.Atoi(match[2])
		rest, _ := strconv.ParseFloat(match[3], 64)
		return decimalText(float64(hours*3600+minutes*60) + rest)
	}
	match := durationForm.FindStringSubmatch(text)
	if match == nil {
		return ""
	}
	if n, _ := strconv.ParseFloat(match[1], 64); match[2] == "ms" || match[2] == "" && n >= millisecondsFrom {
		return decimalText(n / 1000)
	}
	return match[1]
}

func decimalText(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
