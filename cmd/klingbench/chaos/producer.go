package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/chaos/cluster"
	"github.com/klingwatch/klingwatch/db"
)

const (
	// batches of up to largestBatch tasks: about 600 tasks per minute.
	batchEvery   = second / 2
	largestBatch = 9
	// insertLimit bounds one attempt to insert a batch.
	insertLimit = 5 * second
	retryWait   = second / 3
)

// script is what can become of a task: the relay goes by the words in front of an
// id.
type script struct{ words, action, action2, expect string }

// scripts are drawn from; those that are in the list more often are drawn more often.
var scripts = []script{
	{"ok", "videos", "text2video", db.Succeeded},
	{"ok", "videos", "text2video", db.Succeeded},
	{"ok", "images", "generations", db.Succeeded},
	{"ok", "images", "generations", db.Succeeded},
	{"ok", "audio", "text-to-audio", db.Succeeded},
	{"newapi", "videos", "image2video", db.Succeeded},
	{"flat", "general", "ai-multi-shot", db.Succeeded},
	{"v3", "videos", "omni-video", db.Succeeded},
	{"cut", "videos", "lip-sync", db.Succeeded},
	{"error500", "videos", "effects", db.Succeeded},
	{"truncated", "images", "omni-image", db.Succeeded},
	{"fail", "videos", "text2video", db.Failed},
	{"fail", "images", "kolors-virtual-try-on", db.Failed},
	{"fail-newapi", "videos", "video-extend", db.Failed},
	{"never", "videos", "avatar/image2video", db.Canceled}, // a person cancels it
}

// order is a task as the app knows it.
type order struct {
	id       string
	script   script
	callback bool
}

// producer is a backend app: it inserts tasks in transactions of its own, a new
// connection for each, and repeats what was not committed, or may not have been.
type producer struct {
	databaseURL string
	callbackURL string
	random      *rand.Rand

	mu     sync.Mutex       // held during an attempt
	orders map[string]order // committed, as far as the app knows
	next   int
	tries  int // attempts that failed
}

func newProducer(seed uint64, databaseURL, callbackURL string) *producer {
	return &producer{databaseURL: databaseURL, callbackURL: callbackURL, random: rand.New(rand.NewPCG(seed, 1)), orders: map[string]order{}}
}

// run inserts until ctx ends; the last batch is repeated until patience does.
func (p *producer) run(ctx, patience context.Context) error {
	for bench.Pause(ctx, batchEvery) == nil {
		if err := p.insert(patience, p.draw()); err != nil {
			return err
		}
	}
	return nil
}

// draw makes up the next batch.
func (p *producer) draw() []order {
	batch := make([]order, 1+p.random.IntN(largestBatch))
	for i := range batch {
		p.next++
		s := scripts[p.random.IntN(len(scripts))]
		batch[i] = order{id: s.words + "-" + strconv.Itoa(p.next), script: s, callback: p.random.IntN(2) == 0}
	}
	return batch
}

// insert tries until the batch is committed.
func (p *producer) insert(ctx context.Context, batch []order) error {
	for {
		err := p.attempt(ctx, batch)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("inserting tasks: %w", err)
		}
		_ = bench.Pause(ctx, retryWait)
	}
}

// attempt inserts the batch in one transaction.
func (p *producer) attempt(ctx context.Context, batch []order) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, insertLimit)
	defer cancel()
	defer func() {
		if err != nil {
			p.tries++
		}
	}()
	conn, err := pgx.Connect(ctx, p.databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := insertOrders(ctx, conn, batch, p.callbackURL); err != nil {
		return err
	}
	for _, o := range batch {
		p.orders[o.id] = o
	}
	return nil
}

// insertLost inserts again what the app knows to be committed and the database does
// not have, as an app does that compares after a loss. It returns how many.
func (p *producer) insertLost(ctx context.Context, c *cluster.Cluster) (int, error) {
	var lost []order
	err := c.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		known := p.committed()
		there, err := taskIDs(ctx, conn)
		for id, o := range known {
			if !there[id] {
				lost = append(lost, o)
			}
		}
		return err
	})
	if err == nil && len(lost) > 0 {
		err = p.insert(ctx, lost)
	}
	if err != nil {
		return 0, fmt.Errorf("inserting what was lost: %w", err)
	}
	return len(lost), nil
}

// committed returns all tasks that the app knows to be committed.
func (p *producer) committed() map[string]order {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.orders)
}

// failures counts the attempts that failed.
func (p *producer) failures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// person cancels tasks that never end, with klingwatch's own command.
type person struct {
	binary  string
	env     []string
	cluster *cluster.Cluster
}

const (
	cancelEvery = 3 * second
	cancelLimit = 10 * second
)

// run cancels one task after the other until ctx ends.
func (p *person) run(ctx context.Context) {
	for bench.Pause(ctx, cancelEvery) == nil {
		_, _ = p.cancelOne(ctx) // the database may be away: again later
	}
}

// cancelAll cancels what is left.
func (p *person) cancelAll(ctx context.Context) error {
	for {
		if more, err := p.cancelOne(ctx); err != nil || !more {
			return err
		}
	}
}

// cancelOne cancels the oldest open task that never ends; false where there is none.
func (p *person) cancelOne(ctx context.Context) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, cancelLimit)
	defer cancel()
	var id int64
	err = p.cluster.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		id, err = endlessTask(ctx, conn)
		return err
	})
	if err != nil || id == 0 {
		return false, err
	}
	err = command(ctx, p.binary, p.env, "cancel", strconv.FormatInt(id, 10))
	return true, err
}
