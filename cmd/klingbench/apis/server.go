package apis

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// start runs a server on a database, and returns where it serves: at the address.
func start(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service, address string) (string, error) {
	if err := c.Run(ctx, b.DefaultPlan(d)); err != nil {
		return "", err
	}
	return c.Serve(ctx, address)
}

// addKeys makes keys for the API.
func addKeys(ctx context.Context, d *bench.Database, n int) ([]string, error) {
	keys := make([]string, n)
	for i := range keys {
		var err error
		if _, keys[i], err = operate.AddAPIKey(ctx, d.Pool, operate.NewAPIKey{Name: "bench", Scope: db.ScopeWrite}); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// client calls the API with a key.
type client struct {
	address, key string
}

// open starts a server and returns a client of it.
func open(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service) (client, error) {
	address, err := start(ctx, b, d, c, contender.AnyPort)
	if err != nil {
		return client{}, err
	}
	return newClient(ctx, d, address)
}

func newClient(ctx context.Context, d *bench.Database, address string) (client, error) {
	keys, err := addKeys(ctx, d, 1)
	if err != nil {
		return client{}, err
	}
	return client{address, keys[0]}, nil
}

// call sends a request, with in as its body unless it is nil, and reads the answer into
// out unless that is nil. Each answer but a 2xx is an error.
func (c client) call(ctx context.Context, method, target string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	answer, err := c.send(ctx, method, target, body)
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	return err
}

// send sends a request, and returns the body of the answer.
func (c client) send(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("calling the API: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("calling the API: %s %s: %s %s", method, target, response.Status, answer)
	}
	return answer, err
}

// lookEvery is how often the metrics of a server are read, which cost it something.
const lookEvery = 200 * time.Millisecond

// listeners returns how many listen to the feed of a server, of a kind.
func listeners(address, kind string) func(context.Context) (int, error) {
	line := regexp.MustCompile(`klingwatch_feed_listeners\{kind="` + kind + `"\} (\d+)`)
	return func(ctx context.Context) (int, error) {
		if err := bench.Pause(ctx, lookEvery); err != nil {
			return 0, err
		}
		text, err := client{address: address}.send(ctx, http.MethodGet, "/metrics", nil)
		if err != nil {
			return 0, err
		}
		found := line.FindSubmatch(text)
		if found == nil {
			return 0, fmt.Errorf("reading the metrics of the server: no listeners of the kind %s", kind)
		}
		return strconv.Atoi(string(found[1]))
	}
}
