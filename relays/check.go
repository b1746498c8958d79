package relays

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/klingwatch/klingwatch/klingapi"
)

// MaxTracked is how many tracked tasks Check asks about at most.
const MaxTracked = 5

// Finding is what is wrong with a relay, or nothing.
type Finding string

// The findings.
const (
	KeyRight    Finding = "key_right"    // it answers, and takes the key
	KeyRefused  Finding = "key_refused"  // it answers, and refuses the key on every path
	WrongPath   Finding = "wrong_path"   // it takes the key, but does not serve paths of tracked tasks, or refuses the key there
	WrongPrefix Finding = "wrong_prefix" // it does not serve the form of path; Verdict.Instead is one that it does
	WrongHost   Finding = "wrong_host"   // what answers there is no relay
	Unreachable Finding = "unreachable"  // nothing answers
	NotKnown    Finding = "not_known"    // it answers with trouble, and the key was neither taken nor refused
)

// Verdict is what Check found.
type Verdict struct {
	Finding Finding
	Kind    klingapi.ErrorKind // of the answer; "" where it was a good one
	Path    string             // the path that the finding is about, with an id in it
	Answer  string             // what the relay said there, one line
	Instead string             // the form of path that it does serve; "" for none
}

// Check asks a relay about tracked tasks, and where there are none, or it does not serve
// their paths, about one that does not exist on the documented paths in turn: a relay
// that does not know a task has taken the key. It returns an error only when ctx ends.
func Check(ctx context.Context, client *klingapi.Client, tracked []klingapi.Ref) (Verdict, error) {
	c := checking{client: client}
	c.ask(ctx, tracked, func() bool { return false })
	c.ask(ctx, unknownTasks(), func() bool { return c.taken != nil })
	if ctx.Err() != nil {
		return Verdict{}, ctx.Err()
	}
	if c.taken == nil && c.refused == nil && c.trouble == nil && c.unclear == nil && c.unserved != nil {
		return c.otherForms(ctx)
	}
	return c.verdict(), ctx.Err()
}

// checking is what the answers said so far, the first of each kind.
type checking struct {
	client            *klingapi.Client
	taken, refused    *Verdict
	unserved, unclear *Verdict
	trouble           *Verdict // of the relay as a whole: then no more is asked
}

// ask asks about each place once, until it is enough, or the relay is in trouble.
func (c *checking) ask(ctx context.Context, refs []klingapi.Ref, enough func() bool) {
	asked := map[string]bool{}
	for _, ref := range refs {
		if place := c.client.Place(ref); !asked[place] && !enough() && c.trouble == nil && ctx.Err() == nil {
			asked[place] = true
			c.askOne(ctx, ref)
		}
	}
}

func (c *checking) askOne(ctx context.Context, ref klingapi.Ref) {
	_, err := c.client.GetTask(ctx, ref)
	apiErr, ok := errors.AsType[*klingapi.Error](err)
	if ok && apiErr.Kind == klingapi.TokenTime {
		_, err = c.client.GetTask(ctx, ref) // by the relay's clock, as the service would
		apiErr, ok = errors.AsType[*klingapi.Error](err)
	}
	v := &Verdict{Path: c.client.Place(ref)}
	if err != nil {
		v.Answer = err.Error()
	}
	if ok {
		v.Kind = apiErr.Kind
	}
	note := func(of **Verdict, finding Finding) {
		if v.Finding = finding; *of == nil {
			*of = v
		}
	}
	switch {
	case err == nil || ok && apiErr.Kind == klingapi.NotFound:
		note(&c.taken, KeyRight)
	case !ok || apiErr.Kind == klingapi.Unreachable:
		note(&c.trouble, Unreachable)
	case apiErr.Kind == klingapi.Refused, apiErr.Kind == klingapi.TokenTime:
		note(&c.refused, KeyRefused)
	case apiErr.Kind == klingapi.Misconfigured:
		note(&c.unserved, WrongHost)
	case apiErr.Kind == klingapi.Rejected:
		note(&c.unclear, NotKnown)
	default:
		note(&c.trouble, NotKnown)
	}
}

func (c *checking) verdict() Verdict {
	switch {
	case c.taken != nil && c.unserved != nil && c.unserved.Path != c.taken.Path:
		return Verdict{Finding: WrongPath, Kind: c.unserved.Kind, Path: c.unserved.Path, Answer: c.unserved.Answer}
	case c.taken != nil && c.refused != nil:
		return Verdict{Finding: WrongPath, Kind: c.refused.Kind, Path: c.refused.Path, Answer: c.refused.Answer}
	}
	for _, v := range []*Verdict{c.taken, c.trouble, c.refused, c.unclear, c.unserved} {
		if v != nil {
			return *v
		}
	}
	return Verdict{Finding: NotKnown, Answer: "the relay understood none of the questions"}
}

// forms are those that relays are known to have.
var forms = []string{
	klingapi.DefaultTaskPath, klingapi.PathUnder("/v1"), "/kling/tasks/{task_id}", "/tasks?task_ids={task_ids}", "/kling/tasks?task_ids={task_ids}", klingapi.PathUnder("/kling"),
}

// otherForms tells a wrong form of path from a host that is no relay.
func (c *checking) otherForms(ctx context.Context) (Verdict, error) {
	for _, form := range forms {
		other, err := c.client.At(form)
		if err != nil || form == c.client.TaskPath() {
			continue
		}
		o := checking{client: other}
		o.ask(ctx, unknownTasks()[:2], func() bool { return o.taken != nil || o.refused != nil })
		if o.taken != nil || o.refused != nil {
			return Verdict{Finding: WrongPrefix, Kind: c.unserved.Kind, Path: c.unserved.Path, Answer: c.unserved.Answer, Instead: form}, ctx.Err()
		}
	}
	return *c.unserved, ctx.Err()
}

// unknownTasks are tasks that do not exist, one on each documented path: those that most
// relays route come first. The simulated relay needs the first word of the id.
func unknownTasks() []klingapi.Ref {
	id := "unknown-klingwatch-" + rand.Text()
	refs := slices.Clone(klingapi.Documented)
	for i := range refs {
		refs[i].TaskID = id
	}
	slices.SortStableFunc(refs, func(a, b klingapi.Ref) int { return first(b) - first(a) })
	return refs
}

func first(r klingapi.Ref) int {
	if r.Action == "videos" && (r.Action2 == "text2video" || r.Action2 == "image2video") {
		return 1
	}
	return 0
}

// String says what was found, for people.
func (v Verdict) String() string {
	switch v.Finding {
	case KeyRight:
		return "it answers and accepts the key"
	case KeyRefused:
		return "it refuses the key: " + v.Answer
	case WrongPath:
		return fmt.Sprintf("it accepts the key, but not for %s: %s", v.Path, v.Answer)
	case WrongPrefix:
		return fmt.Sprintf("it does not serve %s, but it does serve %s (%s)", v.Path, v.Instead, v.Kind)
	case WrongHost:
		return fmt.Sprintf("what answers at %s is not a relay: %s", v.Path, v.Answer)
	case Unreachable:
		return "nothing answers: " + v.Answer
	}
	return "it answers, but that says nothing about the key: " + v.Answer
}

// Advice says what to do about it; "" where all is well.
func (v Verdict) Advice() string {
	switch v.Finding {
	case KeyRight:
		return ""
	case KeyRefused:
		return "check the key, the account's balance and the addresses it may be used from"
	case WrongPath:
		return "check action and action2 of the tasks there, and what the key may be used for"
	case WrongPrefix:
		return "set the path to " + v.Instead
	case WrongHost:
		return "check the address"
	case Unreachable:
		return "check the address, DNS, the network and firewalls on the way"
	}
	return "try again later"
}
