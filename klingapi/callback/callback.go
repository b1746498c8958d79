// Package callback reads what Kling posts to the callback_url of a task whenever its
// status changes, and verifies the signature that it has where the account has a secret.
//
//	if secret != "" && !callback.Verify(secret, r.Header, body, time.Now()) {
//		// 401
//	}
//	said := callback.Read(body) // without IDs: it is about no task
//
// Anybody can send such a body, so that nothing of it is believed: the relay is asked
// how the task is that it is about.
package callback

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// maxID is far longer than any id of a task, in bytes.
	maxID = 256
	// tolerance is by how much the time of a signature may differ from ours, as Standard
	// Webhooks has it.
	tolerance = 5 * time.Minute
)

// record is the body: that of the old API (task_id), or of the new family (id).
type record struct {
	TaskID         text `json:"task_id"`
	TaskStatus     text `json:"task_status"`
	Status         text `json:"status"`
	ID             text `json:"id"`
	ExternalTaskID text `json:"external_task_id"`
	ExternalID     text `json:"external_id"`
	TaskInfo       struct {
		ExternalTaskID text `json:"external_task_id"`
	} `json:"task_info"`
}

// text is a string, or a number, which may be too large for a float.
type text string

// UnmarshalJSON takes a string or a number; anything else is none.
func (t *text) UnmarshalJSON(value []byte) error {
	var s string
	var n json.Number
	switch {
	case json.Unmarshal(value, &s) == nil:
		*t = text(strings.TrimSpace(s))
	case json.Unmarshal(value, &n) == nil:
		*t = text(n)
	}
	return nil
}

// Said is what a body says of a task.
type Said struct {
	IDs  []string // the provider's, and the caller's own, since a task can be tracked by that, too; nil: the body is no record of a task
	Word string   // of the status, "" where there is none
}

// Read reads a body.
func Read(body []byte) Said {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var r record
	err := json.Unmarshal(body, &r)
	if _, odd := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !odd { // what has another type is left out
		return Said{}
	}
	task := cmp.Or(r.TaskID, r.ID)
	if task == "" {
		return Said{}
	}
	said := Said{Word: string(cmp.Or(r.TaskStatus, r.Status))}
	for _, one := range []text{task, r.ExternalTaskID, r.ExternalID, r.TaskInfo.ExternalTaskID} {
		// Postgres stores no NUL, so that no task has one
		if s := string(one); s != "" && len(s) <= maxID && !strings.Contains(s, "\x00") && !slices.Contains(said.IDs, s) {
			said.IDs = append(said.IDs, s)
		}
	}
	return said
}

// Verify reports whether a body was signed with the secret, whsec_ and base64, within
// five minutes of now: Kling signs by Standard Webhooks.
func Verify(secret string, header http.Header, body []byte, now time.Time) bool {
	seconds, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return false
	}
	at := time.Unix(seconds, 0)
	if at.Before(now.Add(-tolerance)) || at.After(now.Add(tolerance)) {
		return false
	}
	right, err := webhook.Sign([]string{secret}, header.Get("webhook-id"), at, body)
	if err != nil {
		return false
	}
	for given := range strings.FieldsSeq(header.Get("webhook-signature")) {
		if subtle.ConstantTimeCompare([]byte(given), []byte(right)) == 1 {
			return true
		}
	}
	return false
}

// CheckSecret returns an error for what cannot be a secret of Kling.
func CheckSecret(secret string) error {
	if strings.HasPrefix(secret, "whsk_") {
		return webhook.ErrInvalidKey // that one signs, and Kling keeps it to itself
	}
	_, err := webhook.Sign([]string{secret}, "", time.Time{}, nil)
	return err
}
