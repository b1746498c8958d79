package apis

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
)

// cancelLimit bounds the wait for the bulk action.
const cancelLimit = 5 * time.Minute

// action is a bulk action as the API shows it.
type action struct {
	ID         int64      `json:"id"`
	Matched    int64      `json:"matched"`
	Done       int64      `json:"done"`
	FinishedAt *time.Time `json:"finished_at"`
}

// cancelAll cancels the open tasks of a path by one request after its dry run, and waits
// until they are canceled.
func cancelAll(ctx context.Context, d *bench.Database, server *contender.Service, path string, tasks int) error {
	address, err := server.Serve(ctx, contender.AnyPort)
	if err != nil {
		return err
	}
	c, err := newClient(ctx, d, address)
	if err != nil {
		return err
	}
	wanted := map[string]any{"action": "cancel", "filter": map[string]any{"action": path}, "dry_run": true}
	var dry, begun action
	if err := c.call(ctx, http.MethodPost, "/v1/actions", wanted, &dry); err != nil {
		return err
	}
	delete(wanted, "dry_run")
	wanted["expected"] = dry.Matched
	if err := c.call(ctx, http.MethodPost, "/v1/actions", wanted, &begun); err != nil {
		return err
	}
	look := func(ctx context.Context) (seen action, err error) {
		if err := bench.Pause(ctx, lookEvery); err != nil {
			return seen, err
		}
		err = c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/actions/%d", begun.ID), nil, &seen)
		return seen, err
	}
	seen, err := bench.Until(ctx, "all are canceled", cancelLimit, look, func(a action) bool { return a.FinishedAt != nil })
	if err == nil && seen.Done != int64(tasks) {
		err = fmt.Errorf("canceling: %d of %d were", seen.Done, tasks)
	}
	return err
}
