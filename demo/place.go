package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// Place is the directory of a demo: its database, its log, and what the next run on it
// must know.
type Place struct {
	Dir    string
	Run    int               // number of this run on the directory, from 1
	Addrs  map[string]string // where the servers listened last, by name
	APIKey string            // of scope admin, for whoever looks around

	kept bool
}

// thrownAway begins the names of directories that are thrown away at the end.
const thrownAway = "klingwatch-dev-"

// leftAge is the age from which a directory may be one that was left: a younger one may
// not have its database yet.
const leftAge = time.Hour

// RemoveLeftPlaces removes the directories in temp that runs left which were killed: those
// that are old, and whose database nobody runs any more, as idle says.
func RemoveLeftPlaces(temp string, idle func(postgres string) bool) {
	found, _ := filepath.Glob(filepath.Join(temp, thrownAway+"*"))
	for _, dir := range found {
		place := &Place{Dir: dir}
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && time.Since(info.ModTime()) > leftAge && idle(place.Postgres()) {
			_ = place.Close() // another user's stays
		}
	}
}

// Postgres is where the database of the demo is.
func (p *Place) Postgres() string { return filepath.Join(p.Dir, "postgres") }

// placeFile holds a Place within its directory.
const placeFile = "dev.json"

// NewPlace makes a directory that is thrown away at the end.
func NewPlace() (*Place, error) {
	dir, err := os.MkdirTemp("", thrownAway)
	if err == nil {
		err = os.Chmod(dir, 0o755) // the server's user enters it
	}
	if err != nil {
		return nil, fmt.Errorf("making a directory for the database: %w", err)
	}
	return &Place{Dir: dir, Run: 1, Addrs: map[string]string{}}, nil
}

// KeptPlace opens a directory that stays, or makes it.
func KeptPlace(dir string) (*Place, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("making the directory to keep: %w", err)
	}
	p := &Place{}
	text, err := os.ReadFile(filepath.Join(dir, placeFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading what an earlier run left: %w", err)
	default:
		if err := json.Unmarshal(text, p); err != nil {
			return nil, fmt.Errorf("reading what an earlier run left: %s in %s: %w; remove it, or choose another directory", placeFile, dir, err)
		}
	}
	if p.Addrs == nil {
		p.Addrs = map[string]string{}
	}
	p.Dir, p.kept = dir, true
	p.Run++
	return p, nil
}

// Save writes down what the next run must know.
func (p *Place) Save() error {
	if !p.kept {
		return nil
	}
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.Dir, placeFile), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing down what the next run must know: %w", err)
	}
	return nil
}

// Close removes the directory, unless it is kept.
func (p *Place) Close() error {
	if p.kept {
		return nil
	}
	return os.RemoveAll(p.Dir)
}

// APIKey returns a key of the HTTP API for whoever looks around: the one of the run
// before while it is valid, or a new one.
func APIKey(ctx context.Context, pool *pgxpool.Pool, before string) (string, error) {
	if _, err := operate.UseAPIKey(ctx, pool, before); err == nil {
		return before, nil
	}
	_, text, err := operate.AddAPIKey(ctx, pool, operate.NewAPIKey{Name: "dev", Scope: db.ScopeAdmin})
	return text, err
}
