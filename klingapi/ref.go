package klingapi

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Ref identifies one task at the relay.
type Ref struct {
	Action  string // first part of the path: images, videos, audio, general
	Action2 string // second part, as at creation; may contain slashes: avatar/image2video
	TaskID  string // the provider's id, or an external_task_id; opaque
}

const (
	// DefaultPathPrefix is the relay's prefix; Kling itself uses /v1.
	DefaultPathPrefix = "/kling/v1"
	// DefaultTaskPath is where most relays answer about a task.
	DefaultTaskPath = DefaultPathPrefix + underPrefix

	underPrefix = "/{action}/{action2}/{task_id}"
)

// PathUnder returns the template of a task's path below a prefix, like /v1. Slashes at
// the ends do not matter; "" is DefaultPathPrefix, "/" is none. CheckTaskPath finds
// what is wrong with the prefix.
func PathUnder(prefix string) string {
	if prefix == "" {
		return DefaultTaskPath
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix = "/" + prefix
	}
	return prefix + underPrefix
}

// CheckTaskPath reports what is wrong with a template of a task's path: see
// Config.TaskPath. The error is one line for the person who wrote the template.
func CheckTaskPath(template string) error {
	_, err := parseTaskPath(template)
	return err
}

// The placeholders of a template.
const (
	actionHole  = "action"
	action2Hole = "action2"
	idHole      = "task_id"
	idsHole     = "task_ids"
)

// taskPath is a template of the address of a task, below the base URL.
type taskPath struct {
	parts   []pathPart
	batches bool // it takes several ids
}

// pathPart is a placeholder, with the text in front of it.
type pathPart struct {
	text    string
	hole    string // "" at the end
	inQuery bool   // the placeholder stands behind the question mark
}

// parseTaskPath checks a template and takes it apart.
func parseTaskPath(template string) (taskPath, error) {
	var p taskPath
	var holes []string
	rest, inQuery, open := template, false, true
	for open {
		var part pathPart
		part.text, rest, open = strings.Cut(rest, "{")
		inQuery = inQuery || strings.Contains(part.text, "?")
		part.inQuery = inQuery
		if open {
			var closed bool
			if part.hole, rest, closed = strings.Cut(rest, "}"); !closed {
				return taskPath{}, badTaskPath("has a { without a }")
			}
			holes = append(holes, part.hole)
		}
		p.parts = append(p.parts, part)
	}
	p.batches = slices.Contains(holes, idsHole)
	if problem := problemOfText(template, p.parts); problem != "" {
		return taskPath{}, badTaskPath(problem)
	}
	if problem := problemOfHoles(holes); problem != "" {
		return taskPath{}, badTaskPath(problem)
	}
	return p, nil
}

func badTaskPath(problem string) error {
	return errors.New("the task path " + problem + "; write it like " + DefaultTaskPath + " or /tasks?task_ids={task_ids}")
}

// problemOfHoles says what is wrong with the placeholders; "" for nothing.
func problemOfHoles(holes []string) string {
	for i, hole := range holes {
		switch {
		case !slices.Contains([]string{actionHole, action2Hole, idHole, idsHole}, hole):
			return fmt.Sprintf("has the unknown placeholder %q: there are {action}, {action2}, {task_id} and {task_ids}", "{"+hole+"}")
		case slices.Contains(holes[:i], hole):
			return "has {" + hole + "} twice"
		}
	}
	one, several := slices.Contains(holes, idHole), slices.Contains(holes, idsHole)
	switch {
	case one && several:
		return "has both {task_id} and {task_ids}"
	case !one && !several:
		return "has neither {task_id} nor {task_ids}"
	}
	return ""
}

// plainInPath are the characters besides letters and digits that may stand in a path
// or a query as they are (RFC 3986), and the percent sign of escapes.
const plainInPath = "-._~!$&'()*+,;=:@/?%"

// problemOfText says what is wrong with the text around the placeholders; "" for
// nothing.
func problemOfText(template string, parts []pathPart) string {
	if !strings.HasPrefix(template, "/") {
		return "must begin with a slash"
	}
	var sketch strings.Builder // of an address, with an x for each placeholder
	for _, part := range parts {
		for _, r := range part.text {
			switch {
			case r == '#':
				return "must have no fragment (#)"
			case r == '}':
				return "has a } without a {"
			case !isLetterOrDigit(r) && !strings.ContainsRune(plainInPath, r):
				return fmt.Sprintf("has the character %q, which must be escaped with %%", r)
			}
		}
		sketch.WriteString(part.text)
		if part.hole != "" {
			sketch.WriteString("x")
		}
	}
	path, query, _ := strings.Cut(sketch.String(), "?")
	plain, err := url.PathUnescape(path)
	if _, queryErr := url.PathUnescape(query); err != nil || queryErr != nil {
		return "has a % that is no escape like %2F"
	}
	if hasDots(plain) {
		return "must have no segment . or .."
	}
	if strings.ContainsAny(query, "/?") { // likely a prefix that has a query
		return "has a / or ? behind the question mark: escape it with %"
	}
	return ""
}

func isLetterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// hasDots reports whether a path has a segment that leads elsewhere.
func hasDots(path string) bool {
	return strings.Contains(path, "/.") && slices.ContainsFunc(strings.Split(path, "/"), func(segment string) bool { return segment == "." || segment == ".." })
}

// usualPath is room for the usual path of one task, in bytes.
const usualPath = 96

// fill returns the text with its placeholders replaced, behind a base. No ids: the
// address without them, as Place has it.
func (p taskPath) fill(base string, ref Ref, ids ...string) string {
	var b strings.Builder
	b.Grow(len(base) + usualPath)
	b.WriteString(base)
	for _, part := range p.parts {
		b.WriteString(part.text)
		switch part.hole {
		case actionHole:
			b.WriteString(part.escape(ref.Action))
		case action2Hole:
			b.WriteString(part.escape(ref.Action2))
		case idHole, idsHole:
			for i, id := range ids {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(part.escape(id))
			}
		}
	}
	return b.String()
}

// escape writes a value so that it stays in its place: a segment of the path, or a
// value of the query. A slash is part of an action, but not of an id.
func (p pathPart) escape(value string) string {
	if p.inQuery {
		return strings.ReplaceAll(url.QueryEscape(value), "+", "%20") // not every server reads + as a space
	}
	escaped := url.PathEscape(value)
	if p.hole == actionHole || p.hole == action2Hole {
		escaped = strings.ReplaceAll(escaped, "%2F", "/")
	}
	return escaped
}

// address returns the URL that asks for ids in the place of a ref. It returns an error
// for an id that has no place there: none, or one that leads elsewhere although it is
// escaped, since servers resolve %2E%2E as well.
func (p taskPath) address(base string, ref Ref, ids ...string) (string, error) {
	if slices.Contains(ids, "") {
		return "", errors.New("a task id is empty")
	}
	address := p.fill(base, ref, ids...)
	path, _, _ := strings.Cut(address[len(base):], "?")
	if hasDots(path) {
		return "", errors.New("action, action2 or id is . or ..")
	}
	return address, nil
}

// NewFamily are the actions of Kling's new family of paths, whose action2 is a model like
// kling-3.0-turbo.
var NewFamily = []string{"text-to-video", "image-to-video", "text-to-image", "image-to-image"}

// IsDocumented reports whether the vendor or a relay documents the path of a task.
func (r Ref) IsDocumented() bool {
	return slices.Contains(NewFamily, r.Action) || slices.Contains(Documented, Ref{Action: r.Action, Action2: r.Action2})
}

// Documented has the pairs of action and action2 that the vendor or the relays
// document, without TaskID. Relays add pairs every few months, so a Client asks for
// others as well.
var Documented = []Ref{
	{Action: "images", Action2: "generations"},
	{Action: "images", Action2: "kolors-virtual-try-on"},
	{Action: "images", Action2: "omni-image"},
	{Action: "images", Action2: "multi-image2image"},
	{Action: "images", Action2: "editing/expand"},
	{Action: "videos", Action2: "text2video"},
	{Action: "videos", Action2: "text-to-video"}, // the new family, at some relays
	{Action: "videos", Action2: "image2video"},
	{Action: "videos", Action2: "lip-sync"},
	{Action: "videos", Action2: "multi-image2video"},
	{Action: "videos", Action2: "multi-elements"},
	{Action: "videos", Action2: "omni-video"},
	{Action: "videos", Action2: "motion-control"},
	{Action: "videos", Action2: "video-extend"},
	{Action: "videos", Action2: "advanced-lip-sync"},
	{Action: "videos", Action2: "effects"},
	{Action: "videos", Action2: "avatar/image2video"},
	{Action: "general", Action2: "ai-multi-shot"},
	{Action: "general", Action2: "advanced-custom-elements"},
	{Action: "general", Action2: "custom-voices"},
	{Action: "audio", Action2: "text-to-audio"},
	{Action: "audio", Action2: "video-to-audio"},
}

// String is the template that the path was made of.
func (p taskPath) String() string {
	template := ""
	for _, part := range p.parts {
		template += part.text
		if part.hole != "" {
			template += "{" + part.hole + "}"
		}
	}
	return template
}
