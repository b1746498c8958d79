package webhook_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

// Response codes and record types of RFC 1035 and RFC 3596.
const (
	noError, serverFailure, nameError = 0, 2, 3
	typeA, typeAAAA                   = 1, 28
)

// answers are the addresses of a name at one question for A or AAAA.
type answers func(name string) (code byte, addresses []netip.Addr)

func always(addresses ...string) answers {
	parsed := make([]netip.Addr, len(addresses))
	for i, address := range addresses {
		parsed[i] = netip.MustParseAddr(address)
	}
	return func(string) (byte, []netip.Addr) { return noError, parsed }
}

func fails(code byte) answers {
	return func(string) (byte, []netip.Addr) { return code, nil }
}

// resolver is a name server of its own, without sockets.
func resolver(answer answers) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serveDNS(server, answer)
		return client, nil
	}}
}

// serveDNS answers in the framing of DNS over TCP until the resolver hangs up.
func serveDNS(conn net.Conn, answer answers) {
	defer conn.Close()
	for {
		var length uint16
		if binary.Read(conn, binary.BigEndian, &length) != nil {
			return
		}
		query := make([]byte, length)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := dnsReply(query, answer)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func dnsReply(query []byte, answer answers) []byte {
	const headerSize = 12
	var labels []string
	end := headerSize
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		labels = append(labels, string(query[end+1:next]))
		end = next
	}
	end++
	kind := binary.BigEndian.Uint16(query[end:])
	code, addresses := answer(strings.Join(labels, "."))

	reply := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0}, query[headerSize:end+4]...)
	for _, address := range addresses {
		if address.Is4() != (kind == typeA) || kind != typeA && kind != typeAAAA {
			continue
		}
		reply[7]++                                                                // count of answers
		reply = append(reply, 0xc0, headerSize, 0, byte(kind), 0, 1, 0, 0, 0, 60) // the name of the question, class IN, a minute
		reply = binary.BigEndian.AppendUint16(reply, uint16(address.BitLen()/8))
		reply = append(reply, address.AsSlice()...)
	}
	return reply
}

func TestNamesThatCannotBeResolved(t *testing.T) {
	t.Parallel()
	unreachable := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, os.ErrDeadlineExceeded }}
	silent := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		context.AfterFunc(t.Context(), func() { _ = server.Close() }) // at the end of the test
		go func() { _, _ = io.Copy(io.Discard, server) }()
		return client, nil
	}}
	for name, c := range map[string]struct {
		resolver *net.Resolver
		timeout  time.Duration
		reason   string
	}{
		"no such name":            {resolver(fails(nameError)), 0, "does not exist"},
		"a name without address":  {resolver(always()), 0, "does not exist"},
		"a failing resolver":      {resolver(fails(serverFailure)), 0, "could not find"},
		"an unreachable resolver": {unreachable, 0, "the resolver does not answer"},
		"a silent resolver":       {silent, 200 * time.Millisecond, "the resolver does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, webhook.Config{Resolver: c.resolver, Timeout: c.timeout})
			result := client.Send(t.Context(), message("http://receiver.example/?secret=1"))
			if result.Error != webhook.ErrorDNS || !strings.Contains(result.Reason(), c.reason) || strings.Contains(result.Reason(), "secret") || result.RemoteAddr != "" {
				t.Errorf("%+v", result)
			}
		})
	}
}

// A name that was public when somebody looked may be private when it is dialed.
func TestARebindingNameIsRefusedAtDialTime(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	port := port(receiver(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	var asked atomic.Int32
	rebinding := resolver(func(name string) (byte, []netip.Addr) {
		if asked.Add(1) == 1 {
			return always("93.184.215.14")(name)
		}
		return always("127.0.0.1")(name)
	})
	before, err := rebinding.LookupNetIP(t.Context(), "ip4", "receiver.example")
	if err != nil || len(before) != 1 || !before[0].IsGlobalUnicast() || before[0].IsPrivate() {
		t.Fatalf("%v, %v", before, err)
	}
	client := newClient(t, webhook.Config{AllowNetworks: []netip.Prefix{}, Resolver: rebinding})
	result := client.Send(t.Context(), message("http://receiver.example:"+port+"/"))
	if result.Error != webhook.ErrorBlockedAddress || result.RemoteAddr != "" || reached.Load() {
		t.Errorf("%+v, reached %v", result, reached.Load())
	}
}

// Only this machine's addresses: were one let through, nothing would leave it.
func TestPrivateAnswersAreRefused(t *testing.T) {
	t.Parallel()
	for _, addresses := range [][]string{{"127.0.0.1"}, {"::1"}, {"::ffff:127.0.0.1"}, {"0.0.0.0"}, {"127.0.0.2", "127.0.0.1", "::1"}} {
		client := newClient(t, webhook.Config{AllowNetworks: []netip.Prefix{}, Resolver: resolver(always(addresses...))})
		if result := client.Send(t.Context(), message("http://receiver.example/")); result.Error != webhook.ErrorBlockedAddress || result.RemoteAddr != "" {
			t.Errorf("%v: %+v", addresses, result)
		}
	}
}
