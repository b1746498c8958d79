package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// dialLimit bounds a connection to a server that is next door.
const dialLimit = 3 * time.Second

// proxy is the address of Postgres for one client. New connections go to where it
// points now; those that are open stay where they are.
type proxy struct {
	listener net.Listener

	mu     sync.Mutex
	target string // host:port
	links  map[*link]struct{}
	closed bool
}

// link is one connection through a proxy.
type link struct {
	client, server net.Conn
	done           chan struct{} // closed with the link
	closing        sync.Once

	mu   sync.Mutex
	flow chan struct{} // closed while bytes flow
}

// newProxy begins to listen.
func newProxy(target string) (*proxy, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening an address for Postgres: %w", err)
	}
	p := &proxy{listener: listener, target: target, links: map[*link]struct{}{}}
	go p.accept()
	return p, nil
}

// addr is where clients connect.
func (p *proxy) addr() string { return p.listener.Addr().String() }

// point sends connections elsewhere from now on.
func (p *proxy) point(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// swallow makes the connections that are open now go dead: they stay open, but no
// byte gets through, until the returned function is called.
func (p *proxy) swallow() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var dead []*link
	for l := range p.links {
		if l.stop() {
			dead = append(dead, l)
		}
	}
	return func() {
		for _, l := range dead {
			l.resume()
		}
	}
}

// close ends everything.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for l := range p.links {
		l.close()
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go p.serve(client)
		}
	}
}

// serve carries bytes until one side ends.
func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	dialer := net.Dialer{Timeout: dialLimit}
	server, err := dialer.DialContext(context.Background(), "tcp4", target)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server, done: make(chan struct{}), flow: make(chan struct{})}
	close(l.flow)
	if !p.add(l) {
		l.close()
		return
	}
	defer p.remove(l)
	var carrying sync.WaitGroup
	carrying.Go(func() { l.carry(server, client) })
	carrying.Go(func() { l.carry(client, server) })
	carrying.Wait()
}

func (p *proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.links[l] = struct{}{}
	}
	return !p.closed
}

func (p *proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// carry copies one direction. Of a dead link, the end of a connection is as
// invisible to the other side as its bytes.
func (l *link) carry(to, from net.Conn) {
	defer l.close()
	buffer := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buffer)
		if !l.wait() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil || readErr != nil {
			return
		}
	}
}

// wait returns when bytes flow, or false when the link is closed.
func (l *link) wait() bool {
	l.mu.Lock()
	flow := l.flow
	l.mu.Unlock()
	select {
	case <-flow:
		return true
	case <-l.done:
		return false
	}
}

// stop makes the link dead; false where it is already.
func (l *link) stop() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.flow:
		l.flow = make(chan struct{})
		return true
	default:
		return false
	}
}

func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.flow)
}

func (l *link) close() {
	l.closing.Do(func() {
		close(l.done)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}
