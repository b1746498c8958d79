package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
)

// Page is a part of a list.
type Page[T any] struct {
	Data []T     `json:"data" nullable:"false" doc:"This part of the list."`
	Next *string `json:"next" doc:"Cursor of the next part; null: this is the last."`

	SearchedTo *time.Time `json:"searched_to,omitempty" doc:"What is older was not looked at yet: the filter has no index, and looking takes time. Go on with next, also where data is empty."`
}

// PageInput are the parameters of every list.
type PageInput struct {
	Cursor string `query:"cursor" maxLength:"100" doc:"The next of the part before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most entries of a part."`

	url url.URL
}

// Resolve notes the address, for the link to the next part.
func (p *PageInput) Resolve(ctx huma.Context) []error {
	p.url = ctx.URL()
	return nil
}

// cursorAt is the place in a list where those below an id come, bound to what the list
// chooses: base64url of the id and a hash of the choice.
func cursorAt(id int64, choice any) string {
	text := binary.BigEndian.AppendUint64(nil, uint64(id))
	return base64.RawURLEncoding.EncodeToString(append(text, hashOf(choice)...))
}

// place returns the id that a cursor stands for; 0: there is none. It returns a problem
// for a cursor of another list.
func (p PageInput) place(choice any) (int64, error) {
	if p.Cursor == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(text) != 8+hashLength || string(text[8:]) != string(hashOf(choice)) {
		return 0, problem(cursorMismatch, "").at("query.cursor", "does not belong to this list")
	}
	return int64(binary.BigEndian.Uint64(text)), nil
}

const hashLength = 8

// hashOf tells choices apart.
func hashOf(choice any) []byte {
	text, _ := json.Marshal(choice) // of our own types: it cannot fail
	sum := sha256.Sum256(append([]byte(fmt.Sprintf("%T", choice)), text...))
	return sum[:hashLength]
}

// lookBack is how long a list looks for what no index finds, before it answers with what
// it has.
const lookBack = 15 * time.Millisecond

// search is what a request asks of a list.
func (p PageInput) search(choice any) (lookback.Search, error) {
	before, err := p.place(choice)
	return lookback.Search{Before: before, Limit: p.Limit, Within: lookBack}, err
}

// listOf answers with a page of rows, as show shows them.
func listOf[From, To any](in PageInput, choice any, page db.Page[From], show func(From) To) *listOutput[To] {
	out := &listOutput[To]{Body: Page[To]{Data: each(page.Items, show)}}
	if page.Next != 0 {
		next := cursorAt(page.Next, choice)
		out.Body.Next, out.Link = &next, linkTo(in.url, next)
	}
	if page.Cut {
		out.Body.SearchedTo = &page.Since
	}
	return out
}

// each shows rows.
func each[From, To any](rows []From, show func(From) To) []To {
	shown := make([]To, len(rows))
	for i, row := range rows {
		shown[i] = show(row)
	}
	return shown
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// linkTo is the header Link of the next part.
func linkTo(u url.URL, next string) string {
	query := u.Query()
	query.Set("cursor", next)
	u.RawQuery = query.Encode()
	return "<" + u.RequestURI() + `>; rel="next"`
}
