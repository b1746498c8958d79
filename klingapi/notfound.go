package klingapi

import (
	"regexp"
	"strings"
)

// unknownTask matches what relays say of an id that they do not know. It takes a
// word for the task: "not found" alone is said of paths, keys and models as well.
var unknownTask = regexp.MustCompile(`(?i)\b(task|job|record|generation|prediction|entity)(_?id)?\b[^.;]{0,80}?(not[ _-]?(found|exists?)|does ?n[o']t exist|no longer (exists|available)|was removed|been removed|been deleted|unknown)` +
	`|\b(video|request|id)\b['"]?\s+((with|id|was|is|has|been|\S*[0-9]\S*|'[^']*'|"[^"]*")\s+){0,4}(not[ _-]?(found|exists?)|does ?n[o']t exist)` +
	`|\b(no such|unknown|non-?existent|invalid|cannot find|can't find|could not find|couldn't find|did not find)( the| this| any)? ?(task|job|record|generation|prediction)\b` +
	`|\bno (task|job|record|generation)s? (was |were )?(found|match)` +
	`|\bnot found by id` +
	`|\bno query results for \S+ \S*(task|job|record|generation|video)` + // Laravel
	`|(任务|记录|作业|数据|任務|記錄)[^。；，]{0,40}?(不存在|未找到|找不到|没有找到|已过期|已删除|已被删除|無法找到)|(不存在|未找到|找不到|没有找到|查无)[^。；，]{0,20}?(任务|记录|作业|任務|記錄)` +
	`|タスク.{0,20}(見つかりません|存在しません)|작업.{0,20}(찾을 수 없|존재하지 않)|задач\S{0,3}.{0,40}не (найден|существует)` +
	`|(tarea|trabajo).{0,40}no (existe|encontrad|se encontr)|tarefa.{0,40}não (existe|encontrad|foi encontrad)|t[âa]che.{0,40}(introuvable|n'existe pas|non trouvée)|(aufgabe|auftrag).{0,40}nicht (gefunden|vorhanden)`)

// otherThing matches what else may be missing, in a sentence with the word for the
// task.
var otherThing = regexp.MustCompile(`(?i)\b(model|user|account|token|key|channel|group|path|route|url|endpoint|page|type|file|template|voice|element|provider|plan|project|organi[sz]ation|app|queue|` +
	`webhook|callback|source|input|origin|original|reference|image|audio|field|parameter)s?\b|模型|用户|账号|渠道|令牌|密钥|接口|路径|图片`)

// saysUnknownTask reports whether a message says that the task is not there, and not
// something else that belongs to it.
func saysUnknownTask(message string) bool {
	for _, at := range unknownTask.FindAllStringIndex(message, -1) {
		begin := strings.LastIndexAny(message[:at[0]], ".:;!?,。；：，！\n") + 1
		if clause := message[begin:at[1]]; strings.Contains(clause, "query results") || !otherThing.MatchString(clause) {
			return true
		}
	}
	return false
}

// saysNoTask reports the same of a text that is no JSON: a message, or a bare code.
func saysNoTask(text string) bool {
	return saysUnknownTask(text) || isUnknownWord(strings.TrimSpace(text))
}

// unknownWords match codes and status words of the same meaning.
var unknownWords = regexp.MustCompile(`^(task|job|record|video|generation|prediction)_?(id_)?(is_)?(not_?found|not_?exists?|does_not_exist|unknown|missing|gone)(_error)?$|^(no_such|unknown|missing)_(task|job|record)$`)

// notFoundCodes match codes that leave open what is not found.
var notFoundCodes = regexp.MustCompile(`^(resource_?|entity_?)?(not_?found|not_?exists?)(_error)?$`)

// isUnknownWord reports whether a code or a status word says that the task is not
// known.
func isUnknownWord(word string) bool {
	return unknownWords.MatchString(separators.Replace(strings.ToLower(word)))
}

// isLostWord reports the same of a word in the status of a record.
func isLostWord(word string) bool {
	return isUnknownWord(word) || notFoundCodes.MatchString(separators.Replace(strings.ToLower(word)))
}

// noModel matches what new-api says of an id that it does not know to a token with
// model limits: the model's name is empty.
var noModel = regexp.MustCompile(`(?i)(no access to model|无权(访问|使用)模型)[：:\s]*(\(|（|$)`)

// unrouted matches what gateways say of a path that they do not serve: new-api
// ("Invalid URL (GET /v1/x)"), Express, Fastify, Gin, Laravel, Spring, AWS.
var unrouted = regexp.MustCompile(`(?i)invalid url \(|no route|route (\S+ )?(was |is |could )?not (be )?found|path not found|no handler|cannot get /|unknown (path|route|endpoint|url)|` +
	`(endpoint|api|page|url|path|route) (was |is )?not found|no static resource|no message available|^missing authentication token$`)

// bareNotFound matches the same without a word more: FastAPI, net/http.
var bareNotFound = regexp.MustCompile(`(?i)^\s*(404:? )?(page )?not found\.?\s*$`)
