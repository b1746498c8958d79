package klingapi

import (
	"maps"
	"slices"
)

// shelf is what holds the records in an answer: a list, an object with a record in each
// field, or a lone record.
type shelf struct {
	around steps           // the envelopes around it, outermost first
	holder any             // nil where the answer has no record
	lone   bool            // the holder is a record itself
	found  map[string]spot // by the id that was asked for
	others bool            // there are records that were not asked for
}

// step is an envelope, and its field that leads inwards.
type step struct {
	object object
	key    string
}

// steps are envelopes, outermost first.
type steps []step

// holding returns the envelopes around another value. Lists and objects beside it that
// may hold records are left out.
func (s steps) holding(v any) any {
	for _, s := range slices.Backward(s) {
		o := without(s.object, func(key string) bool { return isWrapper(key) || isWrapper(snake(key)) })
		o[s.key] = v
		v = o
	}
	return v
}

// without returns a copy of an object without the lists and objects in some fields.
func without(o object, some func(key string) bool) object {
	rest := make(object, len(o))
	for key, value := range o {
		switch embedded(value).(type) {
		case object, []any:
			if some(key) {
				continue
			}
		}
		rest[key] = value
	}
	return rest
}

// spot is where a record stands in the holder.
type spot struct {
	index int    // in a list
	key   string // in an object
	worth int    // of the field with its id; the lowest counts
}

// Where two records bear one id, the provider's own counts more than the caller's, and
// both more than that of a request.
const (
	worthKey      = -1 // the relay has put the record under the id
	worthExternal = 100
	worthRequest  = 200
)

// search looks for the records in a value. It returns the shelf with most of those that
// were asked for; without any, the first with records of others.
func (b *batch) search(v any, around steps) shelf {
	v = embedded(v)
	s := shelf{around: around, holder: v}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			b.noteItem(&s, item, spot{index: i}, maxNesting)
		}
	case object:
		return b.searchObject(v, around)
	}
	return s
}

// searchObject looks at an object as a record, as an object of records, and as an
// envelope, which may have a status and one of the ids as well.
func (b *batch) searchObject(o object, around steps) shelf {
	small := b.small(o)
	record := shelf{around: around, holder: o, lone: true}
	named, isOwn := b.noteIDs(&record, small, spot{}), isRecord(small)
	if named && isOwn && len(b.wanted) == 1 {
		return record
	}
	best := shelf{around: around, holder: o}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		b.noteField(&best, key, o[key])
	}
	for _, name := range wrappersIn(small) {
		if len(best.found) == len(b.wanted) || len(around) == maxNesting {
			break
		}
		key := originalKey(o, name)
		inner := b.search(o[key], append(slices.Clip(around), step{o, key}))
		if len(inner.found) > len(best.found) || inner.others && !best.others && len(best.found) == 0 {
			best = inner
		}
	}
	record.others = isOwn && !named && idOf(small) != ""
	switch {
	case named && isOwn && len(best.found) <= len(record.found): // what it wraps is the same task, at the provider
		return record
	case len(best.found) == 0 && (named || record.others && !best.others): // without a status it may say what is wrong
		return record
	}
	return best
}

// noteField notes a field that is named after the id of its record, or that holds one
// that was asked for.
func (b *batch) noteField(s *shelf, key string, v any) {
	record, ok := embedded(v).(object)
	if !ok || isWrapper(key) || isWrapper(snake(key)) {
		return
	}
	if b.wanted[key] {
		s.take(key, spot{key: key, worth: worthKey})
	}
	if own, ok := b.recordIn(record, maxNesting); ok && !b.noteIDs(s, own, spot{key: key}) && idOf(own) == key {
		s.others = true
	}
}

// recordIn returns the object, or what it wraps, that has both a status and an id.
func (b *batch) recordIn(o object, depth int) (object, bool) {
	small := b.small(o)
	if depth == 0 || isRecord(small) && idOf(small) != "" {
		return small, depth > 0
	}
	for _, key := range wrappersIn(small) {
		if inner, ok := embedded(small[key]).(object); ok {
			return b.recordIn(inner, depth-1)
		}
	}
	return small, isRecord(small)
}

// noteItem notes a record for each id that it bears. Where the item is but an envelope,
// the record is further in.
func (b *batch) noteItem(s *shelf, v any, at spot, depth int) {
	o, ok := embedded(v).(object)
	if !ok {
		return
	}
	small := b.small(o)
	switch {
	case b.noteIDs(s, small, at):
	case isRecord(small) && idOf(small) != "":
		s.others = true
	case depth > 0:
		for _, key := range wrappersIn(small) {
			b.noteItem(s, small[key], at, depth-1)
		}
	}
}

// noteIDs notes an object for the ids in its own fields, and reports whether one of them
// was asked for.
func (b *batch) noteIDs(s *shelf, o object, at spot) bool {
	noted := false
	try := func(o object, field string, worth int) {
		if id := o.text(field); b.wanted[id] {
			s.take(id, spot{at.index, at.key, worth})
			noted = true
		}
	}
	for worth, field := range idFields {
		if field == "request_id" {
			worth = worthRequest
		}
		try(o, field, worth)
	}
	info, _ := o["task_info"].(object)
	for _, field := range externalFields {
		try(o, field, worthExternal)
		try(info, field, worthExternal)
	}
	return noted
}

// take remembers the spot of an id unless a better one is known.
func (s *shelf) take(id string, at spot) {
	if s.found == nil {
		s.found = map[string]spot{}
	}
	if known, ok := s.found[id]; !ok || at.worth < known.worth {
		s.found[id] = at
	}
}

// small returns an object with its keys in small letters, as records are read. The tree
// keeps its own, since a record is stored as received.
func (b *batch) small(o object) object {
	if !b.capitals {
		return o
	}
	return snakeCase(copied(o)).(object)
}

func copied(v any) any {
	switch v := v.(type) {
	case object:
		c := make(object, len(v))
		for key, value := range v {
			c[key] = copied(value)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, value := range v {
			c[i] = copied(value)
		}
		return c
	}
	return v
}

// originalKey is the key in an object that snakeCase reads as name.
func originalKey(o object, name string) string {
	if o[name] == nil {
		for _, key := range capitalKeys(o) {
			if snake(key) == name {
				return key
			}
		}
	}
	return name
}
