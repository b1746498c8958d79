package webhook_test

import (
	"regexp"
	"testing"

	"github.com/klingwatch/klingwatch/webhook"
)

var idSecret = []byte("a secret of thirty-two bytes 1234")

// The value is that of another program:
//
//	printf '14:task.succeeded,1:1,7:default,6:videos,10:text2video,1:t,' |
//		openssl dgst -sha256 -hmac 'a secret of thirty-two bytes 1234' -binary | base32 | cut -c 1-26
func TestTheIDOfAnEventIsTheSameForEver(t *testing.T) {
	t.Parallel()
	const want = "msg_CMM3WXAJWR275FHZ56FH4JA7WV"
	if got := webhook.EventID(idSecret, webhook.TaskSucceeded, 1, "default", "videos", "text2video", "t"); got != want {
		t.Errorf("the id is %s, was %s", got, want)
	}
}

func TestIDsHaveOneForm(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^msg_[A-Z2-7]{26}$`)
	for _, id := range []string{webhook.NewEventID(), webhook.EventID(idSecret, webhook.TaskFailed, 7, "default", "a", "b", "c"), webhook.EventID(nil, "", 0)} {
		if !form.MatchString(id) {
			t.Errorf("%s", id)
		}
	}
	if webhook.NewEventID() == webhook.NewEventID() {
		t.Error("two fresh ids are the same")
	}
}

func TestDifferentEventsHaveDifferentIDs(t *testing.T) {
	t.Parallel()
	type event struct {
		secret, eventType string
		number            int
		about             []string
	}
	seen := map[string]event{}
	for _, e := range []event{
		{"s", "task.failed", 1, []string{"default", "a", "b/c", "d"}},
		{"s", "task.failed", 1, []string{"default", "a/b", "c", "d"}},
		{"s", "task.failed", 1, []string{"default", "a", "b", "c/d"}},
		{"s", "task.failed", 1, []string{"default", "a", "b", "c,1:d"}},
		{"s", "task.failed", 1, []string{"default", "a", "b", "c", "d"}},
		{"s", "task.failed", 1, []string{"default", "a", "b/cd"}},
		{"s", "task.failed", 1, []string{"default", "a", "b/cd", ""}},
		{"s", "task.failed", 1, []string{"defaulta", "", "b/c", "d"}},
		{"s", "task.failed", 1, []string{"second", "a", "b/c", "d"}},
		{"s", "task.failed", 1, []string{"default", "A", "b/c", "d"}},
		{"s", "task.failed", 2, []string{"default", "a", "b/c", "d"}},
		{"s", "task.failed", 11, []string{"default", "a", "b/c", "d"}},
		{"s", "task.failed1", 1, []string{"default", "a", "b/c", "d"}},
		{"s", "task.succeeded", 1, []string{"default", "a", "b/c", "d"}},
		{"t", "task.failed", 1, []string{"default", "a", "b/c", "d"}},
	} {
		id := webhook.EventID([]byte(e.secret), e.eventType, e.number, e.about...)
		if other, found := seen[id]; found {
			t.Errorf("%v and %v have the id %s", other, e, id)
		}
		seen[id] = e
	}
}
