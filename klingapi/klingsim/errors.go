package klingsim

import "net/http"

// The codes that the simulator itself answers with.
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

// notFoundMessage is what Kling says of an id that it does not know; the id follows.
const notFoundMessage = "Task not found by id/external id: "

// apiError is one row of Kling's error table.
type apiError struct {
	code    int
	status  int // HTTP
	message string
}

// errorTable is Kling's, from its page on error codes.
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

// codeByStatus returns the code that Kling gives with an HTTP status of its own trouble, or 0.
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
