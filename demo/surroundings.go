package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// Where the parts listen, so that they are found again.
const (
	serviceAddr  = "127.0.0.1:8080"
	relayAddr    = "127.0.0.1:8090"
	receiverAddr = "127.0.0.1:8070"
	anyAddr      = "127.0.0.1:0"
)

// SurroundConfig says where the parts of a demo listen, and how its relay behaves.
type SurroundConfig struct {
	Relay       klingsim.Config
	ServiceAddr string       // of the service, if it can be had; "": that of the run before, or the usual one
	AnyPorts    bool         // take free ones
	Notify      func(string) // is told which port was taken
}

// Surroundings is what a service needs around it, and the port for its own HTTP server.
type Surroundings struct {
	Service     net.Listener
	Relay       *klingsim.Relay
	RelayURL    string
	Receiver    *Receiver
	ReceiverURL string

	servers []*http.Server
}

// Surround opens the ports, where the run before had them if it can, and serves the relay
// and the receiver until Close.
func (p *Place) Surround(ctx context.Context, cfg SurroundConfig) (s *Surroundings, err error) {
	s = &Surroundings{Relay: klingsim.New(cfg.Relay), Receiver: &Receiver{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Service, err = p.listen(ctx, cfg, "service", cmp.Or(cfg.ServiceAddr, p.Addrs["service"], serviceAddr)); err != nil {
		return s, fmt.Errorf("the service: %w", err)
	}
	if s.RelayURL, err = p.serve(ctx, cfg, s, "relay", relayAddr, s.Relay); err != nil {
		return s, err
	}
	s.ReceiverURL, err = p.serve(ctx, cfg, s, "receiver", receiverAddr, s.Receiver)
	return s, err
}

// serve serves on a port of its own, that of the run before or the given one, and returns
// the base URL.
func (p *Place) serve(ctx context.Context, cfg SurroundConfig, s *Surroundings, name, addr string, handler http.Handler) (url string, err error) {
	listener, err := p.listen(ctx, cfg, name, cmp.Or(p.Addrs[name], addr))
	if err != nil {
		return "", fmt.Errorf("the %s: %w", name, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	s.servers = append(s.servers, server)
	return "http://" + listener.Addr().String(), nil
}

// listen opens an address for the named part, or a free port where another program has it.
func (p *Place) listen(ctx context.Context, cfg SurroundConfig, name, addr string) (net.Listener, error) {
	if cfg.AnyPorts {
		addr = anyAddr
	}
	listener, err := listen(ctx, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		if listener, err = listen(ctx, anyAddr); err == nil {
			cfg.Notify(fmt.Sprintf("%s is in use by another program: the %s listens on %s", addr, name, listener.Addr()))
		}
	}
	if err == nil {
		p.Addrs[name] = listener.Addr().String()
	}
	return listener, err
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", addr, err)
	}
	return listener, nil
}

// Close ends relay and receiver, and closes the service's port.
func (s *Surroundings) Close() (err error) {
	if s.Service != nil {
		_ = s.Service.Close() // the service has done so, where it ran
	}
	for _, server := range s.servers {
		err = errors.Join(err, server.Close())
	}
	return err
}
