package klingapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
)

// Answer is what one answer says of one of several tasks: either Reply or Err is set.
type Answer struct {
	Reply *Reply // its Body holds the envelope and the record of this task only
	Err   error  // an *Error about this task alone
}

// GetTasks asks for several tasks of one Place in one request: their ids, each once,
// separated by commas. It returns an Answer for each ref, in their order. A record
// belongs to the ref whose id it bears, also as external id; what a good answer leaves
// out is NotFound. A record that failed is a Reply, as with GetTask.
//
// It returns an *Error for all where the answer reports an error or cannot be read, and
// the error of ctx when ctx ends. How many ids the relay takes is for the caller to
// know (Kling: 20). The task path must take several ids, unless all refs have one id.
func (c *Client) GetTasks(ctx context.Context, refs []Ref) ([]Answer, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	ids, err := c.idsOf(refs)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, refs[0], ids...)
	if err != nil {
		return nil, err
	}
	defer a.forget()
	p, err := decode(string(a.body))
	if err != nil {
		return nil, unreadable(a.Response, a.body, err)
	}
	answers, err := newBatch(p, ids...).read(refs, *errorOf(a.Response), c.host)
	if err != nil {
		c.learn(a.Response, err)
		return nil, err
	}
	return answers, nil
}

// idsOf lists the ids of refs that can be asked for together. An empty id, which would
// spoil the request of the others, is left out.
func (c *Client) idsOf(refs []Ref) ([]string, error) {
	place := c.Place(refs[0])
	var ids []string
	for _, ref := range refs {
		if c.Place(ref) != place {
			return nil, &Error{Kind: Rejected, Message: "tasks of different paths cannot be asked for in one request"}
		}
		if ref.TaskID != "" && !slices.Contains(ids, ref.TaskID) {
			ids = append(ids, ref.TaskID)
		}
	}
	switch {
	case len(ids) == 0:
		return []string{""}, nil // refused as it is for one
	case len(ids) > 1 && !c.path.batches:
		return nil, &Error{Kind: Rejected, Message: "the task path takes one id: several need {task_ids}"}
	}
	return ids, nil
}

// batch is one answer about several tasks.
type batch struct {
	parsed
	wanted map[string]bool // the ids that were asked for
	shelf
}

func newBatch(p parsed, ids ...string) *batch {
	b := &batch{parsed: p, wanted: set(ids...)}
	b.shelf = b.search(p.tree, nil)
	return b
}

// read makes an Answer for each ref, or an *Error for all. answer has the status and the
// headers.
func (b *batch) read(refs []Ref, answer Error, relay string) ([]Answer, error) {
	// a lone record is read as that of GetTask, which counts more than HTTP status and code
	alone := b.lone && len(b.found) == 1 && len(b.wanted) == 1
	missing, err := b.judge(refs[slices.IndexFunc(refs, func(ref Ref) bool { return ref.TaskID != "" })], answer)
	if err != nil && !alone {
		return nil, err
	}
	shares, err := b.split()
	if err != nil {
		answer.Kind, answer.Message = Unreadable, line(err.Error())
		return nil, &answer
	}
	answers := make([]Answer, len(refs))
	for i, ref := range refs {
		share, found := shares[ref.TaskID]
		own := answer
		switch {
		case ref.TaskID == "":
			answers[i].Err = &Error{Kind: Rejected, Message: misfit + ": a task id is empty"}
		case !found:
			own = *missing
			answers[i].Err = &own
		default:
			answers[i].Reply, answers[i].Err = read(ref, &own, share.tree, share.stored, relay)
			if alone && answers[i].Err != nil {
				return nil, answers[i].Err
			}
		}
	}
	return answers, nil
}

// judge returns the error of a task without a record, or an *Error for all where the
// answer is no good one.
func (b *batch) judge(ref Ref, answer Error) (*Error, error) {
	around := b.envelopes(ref)
	var root any
	if len(around) > 0 {
		root = around[0]
	}
	said := readEnvelopes(root, around, answer.HTTPStatus)
	answer.take(said, root, ref)
	trouble := troubleOf(answer.HTTPStatus, said)
	if trouble != "" || len(b.found) == 0 && !b.others && !b.isEmpty(around, answer.HTTPStatus) {
		return nil, answer.describe(around, trouble)
	}
	missing := &answer
	missing.Kind, missing.Message = NotFound, "the answer has no record of it"
	switch {
	case said.wrong:
		missing.Kind, missing.Message = Unreadable, cmp.Or(said.message, "the answer reports an error, and has no record of it")
	case b.lone:
		missing.Kind, missing.Message = Unreadable, "the answer is one record of another task: check whether the relay takes several ids"
	case b.isCut(around):
		missing.Kind, missing.Message = Unreadable, "the answer is one page of a longer list, and has no record of it"
	}
	if missing.Kind != NotFound && len(b.found) == 0 {
		return nil, missing
	}
	return missing, nil
}

// envelopes lists the objects around the records, outermost first, or all that there
// are where there is no record.
func (b *batch) envelopes(ref Ref) []object {
	if len(b.found) == 0 && !b.others {
		return envelopes(snakeCase(b.tree), ref) // nothing will be stored of it
	}
	var around []object
	for _, s := range b.around {
		around = append(around, b.small(s.object))
	}
	if holder, ok := b.holder.(object); ok && !b.lone {
		around = append(around, b.small(holder))
	}
	return around
}

// isEmpty reports whether an answer without records is a good one: the relay knows none
// of the ids.
func (b *batch) isEmpty(around []object, status int) bool {
	if list, ok := embedded(b.tree).([]any); ok {
		return len(list) == 0 && status == http.StatusOK
	}
	return reportsNoTask(around, status) ||
		len(around) > 1 && len(around[len(around)-1]) == 0 && saysNothing(around, status) // no record by any id
}

// isCut reports whether the envelopes say that there are more records than are here.
func (b *batch) isCut(around []object) bool {
	list, isList := b.holder.([]any)
	return isList && slices.ContainsFunc(around, func(o object) bool { return hasMore(o, len(list)) })
}

func hasMore(o object, here int) bool {
	for _, key := range []string{"pagination", "paging", "meta"} {
		if inner, ok := o[key].(object); ok && hasMore(inner, here) {
			return true
		}
	}
	more, _ := o["has_more"].(bool)
	total, err := strconv.Atoi(o.firstText("total", "total_count"))
	return more || err == nil && total > here || o.firstText("next", "next_cursor", "next_page") != ""
}

// share is the answer with the record of one task only, to read and to store.
type share struct {
	tree   any
	stored json.RawMessage
}

// split returns the share of each id with a record.
func (b *batch) split() (map[string]share, error) {
	shares := make(map[string]share, len(b.found))
	for id, at := range b.found {
		record, held := b.pick(at)
		stored, err := b.encode(b.around.holding(held))
		if err != nil {
			return nil, err
		}
		// read without its list: the envelopes may say that there are more records
		shares[id] = share{tree: b.around.holding(record), stored: stored}
	}
	if b.capitals { // only now, since the trees share their envelopes
		for _, share := range shares {
			snakeCase(share.tree)
		}
	}
	return shares, nil
}

// pick returns the record at a spot, and the holder with no other.
func (b *batch) pick(at spot) (record, held any) {
	switch holder := b.holder.(type) {
	case []any:
		return holder[at.index], []any{holder[at.index]}
	case object:
		if !b.lone {
			held = without(holder, func(key string) bool { return key != at.key })
			if at.worth == worthKey { // nothing else may say whose it is
				return held, held
			}
			return holder[at.key], held
		}
	}
	return b.holder, b.holder
}
