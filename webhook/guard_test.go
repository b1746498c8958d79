package webhook_test

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/klingwatch/klingwatch/webhook"
)

// The guard checks every dial, whatever the spelling of the address; the test dials
// only spellings of this machine.
func TestPrivateAddressesAreRefusedAtDialTime(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	port := port(receiver(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	// as the C library resolves unusual spellings
	client := newClient(t, webhook.Config{AllowNetworks: []netip.Prefix{}, Resolver: resolver(always("127.0.0.1"))})
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "2130706433", "0x7f000001", "127.1", "017700000001", "127.0.0.1.", "localhost.", "receiver.example"} {
		for _, scheme := range []string{"http://", "https://"} {
			result := client.Send(t.Context(), message(scheme+host+":"+port+"/"))
			// unusual spellings are names for Go's resolver: they fail there or at the guard
			if result.Error != webhook.ErrorBlockedAddress && result.Error != webhook.ErrorDNS || result.RemoteAddr != "" {
				t.Errorf("%s: %+v", host, result)
			}
		}
	}
	if reached.Load() {
		t.Error("the receiver on loopback was reached")
	}
}

func TestAnAllowedReceiverIsReachedByAMappedAddress(t *testing.T) {
	t.Parallel()
	port := port(receiver(t, status(204)))
	client := newClient(t, webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if result := client.Send(t.Context(), message("http://[::ffff:127.0.0.1]:"+port)); !result.Delivered() {
		t.Errorf("%+v", result)
	}
}
