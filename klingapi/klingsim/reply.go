package klingsim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// reply is one complete HTTP answer.
type reply struct {
	status  int
	headers [][2]string
	body    []byte
}

const jsonType = "application/json; charset=utf-8"

// jsonReply encodes a body. All values are ours, so that it cannot fail.
func jsonReply(status int, value any) reply {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // as relays send URLs
	_ = encoder.Encode(value)
	return reply{status, [][2]string{{"Content-Type", jsonType}}, bytes.TrimRight(body.Bytes(), "\n")}
}

// with adds a header, which replaces an earlier one of the same name.
func (p reply) with(name, value string) reply {
	p.headers = append(p.headers, [2]string{name, value})
	return p
}

// compressed returns the reply in gzip.
func (p reply) compressed() reply {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	_, _ = zip.Write(p.body) // a buffer accepts everything
	_ = zip.Close()
	p.body = b.Bytes()
	return p.with("Content-Encoding", "gzip")
}

func (p reply) write(w http.ResponseWriter) {
	for _, h := range p.headers {
		w.Header().Set(h[0], h[1])
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // it fails only when the caller has gone
}

// addSlash redirects to the same path with a slash at its end, as routers do.
func (q *query) addSlash() {
	page(http.StatusMovedPermanently, statusHTML(http.StatusMovedPermanently)).with("Location", q.req.URL.EscapedPath()+"/").write(q.w)
}

// Pages that a client gets instead of the API: of a CDN, a login, a proxy.
const (
	cloudflareHTML = "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>Just a moment...</title>" +
		"<meta name=\"robots\" content=\"noindex,nofollow\"></head>\n" +
		"<body><noscript>Enable JavaScript and cookies to continue</noscript></body></html>\n"
	loginHTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form method=\"post\"></form></body></html>\n"
)

// frontEndHTML is what new-api serves for any path that it does not route.
const frontEndHTML = "<!doctype html>\n<html lang=\"en\"><head><title>New API</title></head><body><div id=\"root\"></div></body></html>\n"

var (
	frontEndPage   = page(http.StatusOK, frontEndHTML)
	badGatewayHTML = statusHTML(http.StatusBadGateway)
	notFoundPage   = page(http.StatusNotFound, statusHTML(http.StatusNotFound))
)

// statusHTML is nginx's page for a status.
func statusHTML(status int) string {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
		"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
}

// page returns a reply with HTML.
func page(status int, html string) reply {
	return reply{status, [][2]string{{"Content-Type", "text/html"}}, []byte(html)}
}

// Codes of the error table that the simulator uses by name.
const (
	codeAuthFailed  = 1000
	codeAuthEmpty   = 1001
	codeAuthInvalid = 1002
	codeBadRequest  = 1200
	codeNotFound    = 1201 // with the message of notFoundMessage
	codeBadMethod   = 1202
	codeNoResource  = 1203
	codeRateTooHigh = 1302
	codeInternal    = 5000
	codeMaintenance = 5001
	codeTimeout     = 5002
)

// notFoundMessage is Kling's answer to an unknown id; the id follows.
const notFoundMessage = "Task not found by id/external id: "

// apiError is one row of Kling's error table.
type apiError struct {
	code    int
	status  int // HTTP
	message string
}

// errorTable is the one of Kling's page on error codes.
var errorTable = []apiError{
	{codeAuthFailed, http.StatusUnauthorized, "Authentication failed"},
	{codeAuthEmpty, http.StatusUnauthorized, "Authorization is empty"},
	{codeAuthInvalid, http.StatusUnauthorized, "Authorization is invalid"},
	{1003, http.StatusUnauthorized, "Authorization is not yet valid"},
	{1004, http.StatusUnauthorized, "Authorization has expired"},
	{1100, http.StatusTooManyRequests, "Account exception"},
	{1101, http.StatusTooManyRequests, "Account in arrears"},
	{1102, http.StatusTooManyRequests, "Resource pack depleted or expired"},
	{1103, http.StatusForbidden, "Unauthorized access to requested resource"},
	{codeBadRequest, http.StatusBadRequest, "Invalid request parameters"},
	{codeNotFound, http.StatusBadRequest, "Invalid parameters, such as incorrect key or illegal value"},
	{codeBadMethod, http.StatusNotFound, "The requested method is invalid"},
	{codeNoResource, http.StatusNotFound, "The requested resource does not exist"},
	{1300, http.StatusBadRequest, "Trigger platform strategy"},
	{1301, http.StatusBadRequest, "Trigger the content security policy of the platform"},
	{codeRateTooHigh, http.StatusTooManyRequests, "The API request is too fast, exceeding the platform's rate limit"},
	{1303, http.StatusTooManyRequests, "Concurrency exceeds the limit of the resource pack"},
	{1304, http.StatusTooManyRequests, "Trigger the platform's IP whitelisting policy"},
	{codeInternal, http.StatusInternalServerError, "Server internal error"},
	{codeMaintenance, http.StatusServiceUnavailable, "Server temporarily unavailable, under maintenance"},
	{codeTimeout, http.StatusGatewayTimeout, "Server internal timeout"},
}

// errorByCode returns the row of a code; an unlisted code is an internal error.
func errorByCode(code int) apiError {
	for _, e := range errorTable {
		if e.code == code {
			return e
		}
	}
	return apiError{code, http.StatusInternalServerError, "Server internal error"}
}

// codeByStatus returns the code that Kling sends with an HTTP status when it fails, or 0.
func codeByStatus(status int) int {
	switch status {
	case http.StatusInternalServerError:
		return codeInternal
	case http.StatusServiceUnavailable:
		return codeMaintenance
	case http.StatusGatewayTimeout:
		return codeTimeout
	case http.StatusTooManyRequests:
		return codeRateTooHigh
	case http.StatusUnauthorized:
		return codeAuthInvalid
	case http.StatusForbidden:
		return 1103
	}
	return 0
}
