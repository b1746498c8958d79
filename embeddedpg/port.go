//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// Servers get a port below those that systems lend to outgoing connections
// (from 32768 on Linux, 49152 elsewhere). One of those could be lent while the
// server restarts, even to a client that keeps dialling this very port and then
// finds itself at the other end.
const (
	firstPort = 20000
	lastPort  = 29999
)

// portPatience is how long a restart waits for its port: clients know it.
const portPatience = 5 * time.Second

// choosePort returns the preferred port if it is or becomes free within the
// patience, else another free one.
func choosePort(ctx context.Context, preferred int, patience time.Duration) (int, error) {
	for end := time.Now().Add(patience); preferred != 0; {
		if portIsFree(preferred) {
			return preferred, nil
		}
		if time.Now().After(end) {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
	for range 1000 {
		if port := firstPort + rand.IntN(lastPort-firstPort+1); portIsFree(port) {
			return port, nil
		}
	}
	return 0, errors.New("choosing a port for the server: none between 20000 and 29999 is free on 127.0.0.1")
}

// portIsFree reports whether a server could listen on the port.
func portIsFree(port int) bool {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
