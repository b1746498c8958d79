package klingapi

import (
	"slices"
	"strings"
)

// snakeCase returns a tree whose keys are written like task_id where the relay wrote
// taskId. A tree without capitals is returned as it is.
func snakeCase(v any) any {
	switch v := v.(type) {
	case object:
		for key, value := range v {
			v[key] = snakeCase(value)
		}
		for _, key := range capitalKeys(v) {
			if name := snake(key); v[name] == nil {
				v[name] = v[key]
			}
		}
		return v
	case []any:
		for i, value := range v {
			v[i] = snakeCase(value)
		}
	}
	return v
}

// capitalKeys lists the keys with capitals, sorted.
func capitalKeys(o object) []string {
	var keys []string
	for key := range o {
		if strings.ContainsFunc(key, isCapital) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func isCapital(r rune) bool { return r >= 'A' && r <= 'Z' }

// snake writes resultUrls, ResultURLs or RESULT_URLS as result_urls.
func snake(key string) string {
	var b strings.Builder
	for i, r := range key {
		if isCapital(r) {
			afterSmall := i > 0 && key[i-1] >= 'a' && key[i-1] <= 'z'
			beforeSmall := i > 0 && isCapital(rune(key[i-1])) && i+1 < len(key) && key[i+1] >= 'a' && key[i+1] <= 'z' && key[i+1:] != "s"
			if afterSmall || beforeSmall {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
