package worker

import "regexp"

// urlQuery finds the query of a URL within a text: output URLs are signed by
// the provider, receivers' hold tokens.
var urlQuery = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)

// redact takes the queries out of the URLs in a text for the log.
func redact(text string) string { return urlQuery.ReplaceAllString(text, "$1?...") }
