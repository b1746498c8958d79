package klingsim

import (
	"net/http"
	"time"
)

// batch is one request for several tasks, as one query for each, in the order of the request.
//
// Each record is as its id says, and what the relay does not know is left out. What concerns the exchange as a whole
// happens if any id asks for it. The answer has the form of Kling's new family, whatever form the ids ask for.
type batch []*query

// answer answers a GET of several tasks.
func (b batch) answer() {
	for _, q := range b {
		q.begin()
	}
	lead := b.lead()
	lead.batch = b
	if !lead.wait(b.latency()) {
		return
	}
	if broken := lead.fault(); broken != nil {
		broken(lead)
		return
	}
	p := lead.reply()
	if b.has(groupTransport, "gzip") {
		p = p.compressed()
	}
	p.write(lead.w)
}

// refused reports whether the relay refuses a list of ids as a whole. It does that with a list without ids, and with one
// of more than it takes, or with a culprit in it.
func (to target) refused(limit int) bool {
	if !to.list || len(to.ids) == 1 {
		return false
	}
	for _, id := range to.ids {
		if behaviourOf(id)[groupBatch] == "culprit" {
			return true
		}
	}
	return len(to.ids) == 0 || len(to.ids) > limit
}

// lead returns the query that stands for the exchange: the first whose words spoil it, else the first of all, so that
// random faults are as frequent as in other exchanges.
func (b batch) lead() *query {
	for _, q := range b {
		if word := q.faultWord(); word != "" && word != "weird" {
			return q
		}
	}
	return b[0]
}

// latency is how long the slowest record takes.
func (b batch) latency() (longest time.Duration) {
	for _, q := range b {
		longest = max(longest, q.latency())
	}
	return longest
}

// has reports whether any of the ids has a word.
func (b batch) has(g group, word string) bool {
	for _, q := range b {
		if q.words[g] == word {
			return true
		}
	}
	return false
}

// reply returns the answer without faults.
func (b batch) reply() reply {
	records := []item{}
	for _, q := range b {
		switch {
		case q.task == nil, !q.known(): // the id is too long, or unknown
		case q.faultWord() == "weird":
			records = append(records, q.v3Record(q.weirdView()))
		default:
			records = append(records, q.v3Record(q.view()))
		}
	}
	return jsonReply(http.StatusOK, b[0].envelope(0, "SUCCEED", records))
}
