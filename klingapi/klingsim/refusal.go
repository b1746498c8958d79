package klingsim

import (
	"encoding/json"
	"net/http"
)

// unknown is the answer for an id that the relay does not know, in the form that the words choose.
func (q *query) unknown() reply {
	say := func(status int, body any) reply { return jsonReply(status, body) }
	switch q.words[groupVisibility] {
	case "unknown1203":
		return q.errorReply(http.StatusNotFound, codeNoResource, errorByCode(codeNoResource).message)
	case "unknowncode":
		return flatNotFound(q)
	case "unknownopenai":
		return say(http.StatusNotFound, item{"error": item{"message": "No such task: " + q.id, "type": "invalid_request_error", "param": nil, "code": nil}})
	case "unknowntext":
		return say(http.StatusNotFound, item{"error": "Task not found"})
	case "unknowndetail":
		return say(http.StatusNotFound, item{"detail": "Task " + q.id + " does not exist"})
	case "unknown404":
		return say(http.StatusOK, item{"code": http.StatusNotFound, "msg": "not found", "data": nil})
	case "unknownzh":
		return say(http.StatusInternalServerError, item{"code": http.StatusInternalServerError, "message": "任务不存在或已过期"})
	case "unknownempty":
		return say(http.StatusOK, item{"code": 0, "message": "SUCCEED", "data": []item{}})
	case "unknownnull":
		return say(http.StatusOK, item{"code": "success", "message": "", "data": nil})
	case "unknownmodel":
		text := "This token has no access to model  (request id: " + q.requestID() + ")"
		return say(http.StatusForbidden, item{"error": item{"code": "", "message": text, "type": "new_api_error"}})
	case "gone":
		return say(http.StatusGone, item{"message": "task expired and was removed"})
	}
	return q.unknownByForm()
}

// unknownByForm is the answer of the relay whose form the words choose, or else of the dialect.
func (q *query) unknownByForm() reply {
	switch {
	case q.newAPI():
		return newAPINotFound(q)
	case q.words[groupForm] == "v3", q.words[groupForm] == "v3object":
		return jsonReply(http.StatusOK, item{"code": 0, "message": "SUCCEED", "request_id": q.requestID(), "data": []item{}})
	}
	return q.relay.speech.notFound(q)
}

func officialNotFound(q *query) reply {
	return q.errorReply(http.StatusBadRequest, codeNotFound, notFoundMessage+q.id)
}

func newAPINotFound(q *query) reply {
	message := "task_not_exist"
	return jsonReply(http.StatusBadRequest, envelope{Code: message, Message: &message, Data: json.RawMessage("null")}).
		with("X-Oneapi-Request-Id", q.requestID())
}

func flatNotFound(*query) reply {
	return jsonReply(http.StatusNotFound, item{"code": "task_not_found", "message": "task not found"})
}

// officialRefusal answers with a row of the error table.
func officialRefusal(q *query, code int) reply {
	e := errorByCode(code)
	return q.errorReply(e.status, e.code, e.message)
}

// flatRefusal writes the HTTP status into the body, under HTTP 200.
func flatRefusal(_ *query, code int) reply {
	e := errorByCode(code)
	return jsonReply(http.StatusOK, item{"code": e.status, "msg": e.message, "data": nil})
}

// missingPage is what stands where no API is: a page of nginx, or new-api's front end.
func missingPage(r *Relay, _ string) reply {
	if r.config.FrontEnd {
		return frontEndPage
	}
	return notFoundPage
}

// turnAway answers with an error of the dialect. retryAfter is the value of a header, empty: none.
func (q *query) turnAway(code int, retryAfter string) {
	p := q.relay.speech.refusal(q, code)
	if retryAfter != "" {
		p = p.with("Retry-After", retryAfter)
	}
	p.write(q.w)
}

// outage answers for a relay that is down.
func (q *query) outage(status int) {
	switch code := codeByStatus(status); {
	case status < 200 || status > 599: // Unreachable, or not an HTTP status
		q.hangUp("")
	case code != 0:
		p := q.relay.speech.refusal(q, code)
		p.status = status
		p.write(q.w)
	default:
		page(status, statusHTML(status)).write(q.w)
	}
}
