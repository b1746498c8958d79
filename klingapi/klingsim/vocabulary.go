package klingsim

import (
	"fmt"
	"slices"
	"strings"
)

// Word is one word in task ids that the simulator understands.
type Word struct {
	Text    string // as in the id, like "fail"
	Group   string // like "outcome"; of several words of a group the last one counts
	Meaning string // one line for people
}

// The groups of the vocabulary.
type group int

const (
	groupOutcome    group = iota // how the task ends
	groupVisibility              // whether the relay knows the task
	groupLifetime                // how long it takes
	groupFault                   // what goes wrong with the first answers
	groupRepeat                  // whether faults end
	groupLatency                 // how long an answer takes
	groupForm                    // the envelope of the answer
	groupSpelling                // details of the form, from here on
	groupID
	groupTimes
	groupCode
	groupData
	groupTypes
	groupFields
	groupCount // how many
)

var groupNames = [groupCount]string{"outcome", "visibility", "lifetime", "fault", "repeat", "latency", "form", "spelling", "id",
	"times", "code", "data", "types", "fields"}

// How many queries these words affect.
const (
	faultyQueries = 3 // fault words
	lateQueries   = 2 // `late`
	bareSuccesses = 2 // `nourl`
)

type entry struct {
	text    string
	group   group
	meaning string
}

// vocabulary is the closed list of words, in the order of the help text. The codes of the error table follow it.
var vocabulary = slices.Concat([]entry{
	{"ok", groupOutcome, "succeeds, like every id without one of these words"},
	{"fail", groupOutcome, "fails; HTTP 200, code 0, SUCCEED, and the reason only in task_status_msg"},
	{"canceled", groupOutcome, "ends as canceled, a word of flat relays"},
	{"never", groupOutcome, "is processing forever"},
	{"nourl", groupOutcome, "succeeds, but the first 2 answers have no URL; with always: none has"},

	{"unknown", groupVisibility, "HTTP 400, code 1201, Task not found by id/external id (new-api forms: task_not_exist)"},
	{"unknown1203", groupVisibility, "HTTP 404, code 1203, as from some relays"},
	{"late", groupVisibility, "unknown for the first 2 queries"},
	{"flicker", groupVisibility, "unknown in two of three queries"},

	{"quick", groupLifetime, "has ended by the first query"},
	{"slow", groupLifetime, "takes ten times as long"},

	{"throttle", groupFault, "HTTP 429, code 1302, Retry-After: 1"},
	{"throttledate", groupFault, "HTTP 429, code 1302, Retry-After as a date in 2 seconds"},
	{"throttleodd", groupFault, "HTTP 429, code 1303, Retry-After negative, absurd, or no number"},
	{"error500", groupFault, "HTTP 500, code 5000"},
	{"badgateway", groupFault, "HTTP 502, nginx page"},
	{"garbage", groupFault, "HTTP 200, Cloudflare page"},
	{"htmlnotfound", groupFault, "HTTP 404, nginx page, as from a wrong base URL"},
	{"blank", groupFault, "HTTP 200, empty body"},
	{"truncated", groupFault, "half of the JSON"},
	{"trailing", groupFault, "the JSON, then something else"},
	{"cut", groupFault, "the connection is closed before the answer, then in the middle of it, in turn"},
	{"hang", groupFault, "no answer for 30 seconds, then HTTP 504"},
	{"huge", groupFault, "64 MiB of JSON string"},
	{"redirect", groupFault, "HTTP 302 to another path, which must not receive the key"},
	{"mislabelled", groupFault, "the correct answer with HTTP 500 as text/plain"},
	{"weird", groupFault, "an unknown status word"},
	{"gateway", groupFault, "HTTP 503, OpenAI-shaped error of new-api, model_not_found"},
	{"gatewaykey", groupFault, "HTTP 401, OpenAI-shaped error, invalid key"},
	{"gatewayquota", groupFault, "HTTP 403, OpenAI-shaped error, no quota left"},
	{"denied", groupFault, "HTTP 403, code 1103"},
	{"arrears", groupFault, "HTTP 429, code 1101"},

	{"always", groupRepeat, "faults (and nourl) never end; without it they are the first 3 answers"},

	{"slowreply", groupLatency, "each answer takes 2 seconds"},

	{"newapi", groupForm, "new-api envelope: string code, upper-case words, unix seconds outside"},
	{"newapi2", groupForm, "new-api behind new-api"},
	{"newapiold", groupForm, "old new-api: the URL is in fail_reason"},
	{"disagree", groupForm, "new-api whose inner body says processing even when the task has ended"},
	{"flat", groupForm, "flat record in data, one url, many spellings of the status"},
	{"flatlist", groupForm, `flat {"id","status":"completed","data":[{"url"}]}`},

	{"succeeded", groupSpelling, "succeeded instead of succeed, as the new official API"},
	{"numericid", groupID, "task_id as a JSON number above 2^53"},
	{"seconds", groupTimes, "created_at and updated_at in unix seconds"},
	{"stringcode", groupCode, `code "0" instead of 0`},
	{"nocode", groupCode, "no code, no message"},
	{"arraydata", groupData, "data is an array with the record in it (not in new-api forms)"},
	{"swapped", groupTypes, "numbers as strings, decimal strings as numbers"},
	{"extra", groupFields, "undocumented fields"},
}, codeWords())

// codeWords returns a word for each row of the error table: e1302 answers with code 1302.
func codeWords() []entry {
	var words []entry
	for _, e := range errorTable {
		words = append(words, entry{fmt.Sprintf("e%d", e.code), groupFault, fmt.Sprintf("HTTP %d, code %d: %s", e.status, e.code, e.message)})
	}
	return words
}

var groupOf = func() map[string]group {
	byText := make(map[string]group, len(vocabulary))
	for _, e := range vocabulary {
		byText[e.text] = e.group
	}
	return byText
}()

// Vocabulary returns the words of task ids, group by group, for help texts.
func Vocabulary() []Word {
	words := make([]Word, len(vocabulary))
	for i, e := range vocabulary {
		words[i] = Word{Text: e.text, Group: groupNames[e.group], Meaning: e.meaning}
	}
	return words
}

// behaviour has the word that counts of each group; empty: none.
type behaviour [groupCount]string

// behaviourOf reads the words at the start of a task id, up to the first segment that is not a word.
func behaviourOf(id string) behaviour {
	var b behaviour
	for rest, more := id, true; more; {
		var text string
		text, rest, more = strings.Cut(rest, "-")
		g, known := groupOf[text]
		if !known {
			break
		}
		b[g] = text
	}
	return b
}

// wordsOf returns the part of the id that behaviourOf reads, with a "-" at its end if it is not empty.
func wordsOf(id string) string {
	var words strings.Builder
	for text := range strings.SplitSeq(id, "-") {
		if _, known := groupOf[text]; !known {
			break
		}
		words.WriteString(text + "-")
	}
	return words.String()
}
