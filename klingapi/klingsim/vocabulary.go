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
	groupTransport               // how it is sent
	groupBatch                   // what the id does to a batch
	groupLink                    // how the files are addressed
	groupCallback                // how changes of status are posted
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

var groupNames = [groupCount]string{"outcome", "visibility", "lifetime", "fault", "repeat", "latency", "transport", "batch", "link", "callback", "form", "spelling", "id",
	"times", "code", "data", "types", "fields"}

// How many queries these words affect.
const (
	faultyQueries = 3 // fault words
	lateQueries   = 2 // `late`
	bareSuccesses = 2 // `nourl`, `latefile`
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

	{"latefile", groupOutcome, `succeeds, but in the first 2 answers the first url is ""`},
	{"element", groupOutcome, "succeeds with an element_id instead of a file (official and new-api forms)"},
	{"voice", groupOutcome, "succeeds with a voice_id and a trial_url instead of a file (official and new-api forms)"},
	{"contradict", groupOutcome, "reports success without a file, and an error beside it: it has failed"},
	{"timeout", groupOutcome, "the gateway gives up: timeout; a lifetime later the success of the provider, with always: never"},
	{"expired", groupOutcome, "the gateway gives up: expired; then like timeout"},
	{"relaytimeout", groupOutcome, "new-api gives up: FAILURE around processing; then like timeout"},

	{"unknown", groupVisibility, "HTTP 400, code 1201, Task not found by id/external id (new-api forms: task_not_exist)"},
	{"unknown1203", groupVisibility, "HTTP 404, code 1203, as from some relays"},
	{"unknowncode", groupVisibility, `HTTP 404, {"code":"task_not_found"}`},
	{"unknownopenai", groupVisibility, "HTTP 404, OpenAI-shaped error, No such task"},
	{"unknowntext", groupVisibility, `HTTP 404, {"error":"Task not found"}`},
	{"unknowndetail", groupVisibility, `HTTP 404, {"detail":"Task ... does not exist"}`},
	{"unknown404", groupVisibility, "HTTP 200, code 404"},
	{"unknownzh", groupVisibility, "HTTP 500, in Chinese"},
	{"unknownempty", groupVisibility, "HTTP 200, code 0, data is an empty array"},
	{"unknownnull", groupVisibility, "HTTP 200, code success, data is null"},
	{"unknownmodel", groupVisibility, "HTTP 403 of new-api to a key with model limits: an error with an empty model name"},
	{"gone", groupVisibility, "HTTP 410"},
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

	{"weakerror", groupFault, `HTTP 200, {"status":"error"} about the request, with the task's id`},
	{"weakfail", groupFault, "HTTP 429, code 1302, around task_status failed without a reason"},
	{"body401", groupFault, "HTTP 200, code 401"},
	{"body402", groupFault, "HTTP 200, code 402"},
	{"body429", groupFault, "HTTP 200, code 429"},
	{"body500", groupFault, "HTTP 200, code 500"},
	{"frontend", groupFault, "HTTP 200, the front end of new-api, as for a path that it does not route"},
	{"invalidurl", groupFault, "HTTP 404, Invalid URL, as new-api for a path below /v1"},

	{"always", groupRepeat, "faults (and nourl, latefile) never end; without it they are the first 3 answers"},

	{"slowreply", groupLatency, "each answer takes 2 seconds"},

	{"gzip", groupTransport, "answers are compressed, although nobody asked"},
	{"slash", groupTransport, "HTTP 301 to the same path with a slash"},

	{"culprit", groupBatch, "HTTP 400, code 1201, for every batch that it is in; asked for alone it is answered"},

	{"inline", groupLink, "files are data: URLs"},
	{"inlinehuge", groupLink, "files are data: URLs of more than 64 kB"},
	{"s3", groupLink, "URLs expire after an hour, as S3 writes it: X-Amz-Date, X-Amz-Expires"},
	{"sas", groupLink, "URLs expire after an hour, as Azure writes it: se"},
	{"placeholder", groupLink, "new-api's own link in result_url, which needs the key; the file's URL is inside"},
	{"placeholderonly", groupLink, "new-api's own link, and no URL inside"},

	{"nocall", groupCallback, "no callbacks, as at relays that do not pass callback_url on"},
	{"calltwice", groupCallback, "each callback comes twice"},
	{"calllate", groupCallback, "callbacks come 2 seconds late"},
	{"callearly", groupCallback, "callbacks come half a second before the state can be read"},
	{"callforged", groupCallback, "before each callback comes an unsigned one that says succeeded"},

	{"newapi", groupForm, "new-api envelope: string code, upper-case words, unix seconds outside"},
	{"newapi2", groupForm, "new-api behind new-api"},
	{"newapiold", groupForm, "old new-api: the URL is in fail_reason"},
	{"disagree", groupForm, "new-api whose inner body says processing even when the task has ended"},
	{"flat", groupForm, "flat record in data, one url, many spellings of the status"},
	{"flatlist", groupForm, `flat {"id","status":"completed","data":[{"url"}]}`},

	{"v3", groupForm, "Kling's new family: data is an array, id, status, typed outputs"},
	{"v3object", groupForm, "the same, data is an object"},
	{"geekai", groupForm, "task_status success, video_result or image_result"},
	{"piapi", groupForm, "code 200, status completed, output.video or the like, the request in input"},
	{"works", groupForm, "the same with output.works, each file with and without a watermark"},
	{"openaivideo", groupForm, "OpenAI's video: id, status completed, metadata.url"},
	{"output", groupForm, "Replicate: output is a string, the request in input"},
	{"outputlist", groupForm, "Replicate: output is an array of strings"},
	{"kie", groupForm, "Kie: camel case, state, resultJson is JSON in a string"},

	{"succeeded", groupSpelling, "succeeded instead of succeed, as the new official API"},
	{"numericid", groupID, "task_id as a JSON number above 2^53"},
	{"seconds", groupTimes, "created_at and updated_at in unix seconds"},
	{"stringcode", groupCode, `code "0" instead of 0`},
	{"nocode", groupCode, "no code, no message"},
	{"arraydata", groupData, "data is an array with the record in it (not in new-api forms)"},
	{"stringdata", groupData, "data is JSON in a string (not in new-api forms)"},
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
