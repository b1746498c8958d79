package chaos

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
)

const (
	watchEvery = second / 4
	// watchLimit is more than /readyz takes where everything hangs.
	watchLimit = 5 * second
)

// sample is one answer of /readyz.
type sample struct {
	asked  time.Time
	status int // 0: no answer
}

// watch asks one service whether it is ready, again and again.
type watch struct {
	service *service

	mu      sync.Mutex
	samples []sample
}

// run asks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: watchLimit}
	for bench.Pause(ctx, watchEvery) == nil {
		w.service.measure()
		s := sample{asked: time.Now(), status: ask(ctx, client, w.service.book.address())}
		w.mu.Lock()
		w.samples = append(w.samples, s)
		w.mu.Unlock()
	}
	return nil
}

// ask returns the status of /readyz, 0 where there is none.
func ask(ctx context.Context, client *http.Client, addr string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return 0
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// seen returns all answers so far.
func (w *watch) seen() []sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.samples)
}

// status is the last answer.
func (w *watch) status() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.samples) == 0 {
		return 0
	}
	return w.samples[len(w.samples)-1].status
}

// ready reports whether the last answer was that it is.
func (w *watch) ready() bool { return w.status() == http.StatusOK }
