package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strconv"
)

const (
	idPrefix  = "msg_"
	idLetters = 26 // 130 bits in base32, as in rand.Text
)

// NewEventID returns a fresh webhook-id: msg_ and 26 letters and digits.
func NewEventID() string { return idPrefix + rand.Text() }

// EventID returns the webhook-id of an event in the form of NewEventID, always the same
// for the same secret, type, number among the events of that type, and texts that say
// what the event is about: for a task relay, action, action2 and task_id.
func EventID(secret []byte, eventType string, number int, about ...string) string {
	mac := hmac.New(sha256.New, secret)
	for _, field := range slices.Concat([]string{eventType, strconv.Itoa(number)}, about) {
		_, _ = fmt.Fprintf(mac, "%d:%s,", len(field), field) // the length tells "a", "bc" from "ab", "c"
	}
	return idPrefix + base32.StdEncoding.EncodeToString(mac.Sum(nil))[:idLetters]
}
