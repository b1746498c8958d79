// Package batch lets many goroutines share few statements: a Batcher writes
// items many at once, a Loader reads rows many at once.
//
//	w := batch.NewBatcher(func(items []item) { ... one transaction for all of them ... })
//	w.Start()
//	defer w.Close() // writes what was added
//	w.Add(item)
//
//	l := batch.NewLoader(func(ctx context.Context, ids []int64) (map[int64]row, error) { ... one query ... })
//	row, found, err := l.Load(ctx, 42)
package batch
