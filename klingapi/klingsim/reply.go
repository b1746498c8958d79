package klingsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// reply is one HTTP answer, whole.
type reply struct {
	status  int
	headers [][2]string
	body    []byte
}

const jsonType = "application/json; charset=utf-8"

// jsonReply encodes a body. The values are ours, so encoding cannot fail.
func jsonReply(status int, value any) reply {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // as relays send URLs
	_ = encoder.Encode(value)
	return reply{status, [][2]string{{"Content-Type", jsonType}}, bytes.TrimRight(body.Bytes(), "\n")}
}

// with adds a header; a later one replaces an earlier one of its name.
func (p reply) with(name, value string) reply {
	p.headers = append(p.headers, [2]string{name, value})
	return p
}

func (p reply) write(w http.ResponseWriter) {
	for _, h := range p.headers {
		w.Header().Set(h[0], h[1])
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // a caller that has gone needs no answer
}

// The pages that stand in the way of an API: a proxy's, a CDN's, a login.
const (
	cloudflareHTML = "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>Just a moment...</title>" +
		"<meta name=\"robots\" content=\"noindex,nofollow\"></head>\n" +
		"<body><noscript>Enable JavaScript and cookies to continue</noscript></body></html>\n"
	loginHTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form method=\"post\"></form></body></html>\n"
)

var (
	badGatewayHTML = statusHTML(http.StatusBadGateway)
	notFoundPage   = page(http.StatusNotFound, statusHTML(http.StatusNotFound))
)

// statusHTML is nginx's page for a status.
func statusHTML(status int) string {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
		"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
}

// page is a reply of HTML.
func page(status int, html string) reply {
	return reply{status, [][2]string{{"Content-Type", "text/html"}}, []byte(html)}
}
