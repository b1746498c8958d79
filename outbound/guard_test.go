package outbound_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/klingwatch/klingwatch/outbound"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// judge asks the guard as a dialer would, but dials nothing.
func judge(allowed []netip.Prefix, address string) error {
	network := "tcp6"
	if addr, err := netip.ParseAddr(address); err == nil && addr.Is4() {
		network = "tcp4"
	}
	return outbound.Guard(allowed)(network, net.JoinHostPort(address, "443"), nil)
}

// The reasons are in the registries of IANA for special addresses and multicast, or
// in the documentation of a cloud.
var refused = []string{
	// this host
	"127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::",
	// private networks (RFC 1918, 6598, 4193)
	"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1", "100.127.255.255", "fc00::1", "fd12:3456::1",
	// link-local and site-local
	"169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1",
	// secrets of clouds: AWS, ECS, AWS by IPv6, Google, Azure, Alibaba, Oracle
	"169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192",
	// IPv4 inside of IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo
	"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16", "::ffff:0.0.0.0",
	"::127.0.0.1", "::10.0.0.1", "::ffff:0:127.0.0.1",
	"64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff::a00:1",
	"2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:0:7f00:1::1",
	// protocol assignments, relays, AS112
	"192.0.0.1", "192.0.0.8", "192.0.0.170", "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1", "2001:1::1", "2001:4:112::1",
	// ORCHID, segment routing, discard, dummy
	"2001:10::1", "2001:20::1", "2001:30::1", "5f00::1", "100::1", "100:0:0:1::1",
	// documentation and benchmarks
	"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1", "198.18.0.1", "198.19.255.255", "2001:2::1",
	// multicast, reserved, broadcast
	"224.0.0.1", "239.255.255.255", "233.252.0.1", "ff02::1", "ff0e::1", "240.0.0.1", "255.255.255.255",
	// outside of 2000::/3 nothing is assigned
	"4000::1", "8000::1", "e000::1", "1fff::1",
}

func TestAddressesThatAreNotPublicAreRefused(t *testing.T) {
	t.Parallel()
	for _, address := range refused {
		if err := judge(nil, address); !errors.Is(err, outbound.ErrBlocked) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestPublicAddressesAreNotRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "168.63.129.17", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"} {
		if err := judge(nil, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAMappedAddressIsJudgedAsTheOneInIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		mapped := netip.AddrFrom16(plain.As16())
		if (judge(loopback, plain.String()) == nil) != (judge(loopback, mapped.String()) == nil) {
			t.Fatalf("%s and %s are judged differently", plain, mapped)
		}
	})
}

func TestAllowedNetworksAreLetThrough(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		allowed, address string
		through          bool
	}{
		{"127.0.0.0/8", "127.0.0.1", true},
		{"127.0.0.0/8", "::ffff:127.0.0.1", true},
		{"::ffff:127.0.0.0/104", "127.0.0.1", true},
		{"::ffff:127.0.0.0/104", "::ffff:127.0.0.1", true},
		{"127.0.0.0/8", "::1", false},
		{"127.0.0.0/8", "::127.0.0.1", false},
		{"127.0.0.0/8", "64:ff9b::7f00:1", false},
		{"127.0.0.0/8", "10.0.0.1", false},
		{"::1", "::1", true},
		{"::1", "127.0.0.1", false},
		{"10.1.0.0/16, 10.2.0.1", "10.2.0.1", true},
		{"10.1.0.0/16, 10.2.0.1", "10.2.0.2", false},
		{"fd00::/8", "fd12::1", true},
		{"168.63.129.16", "168.63.129.16", true}, // who names it means it
		{"64:ff9b::/96", "64:ff9b::808:808", true},
		{"::/0", "::1", true},
		{"::/0", "127.0.0.1", false},
	} {
		allowed, err := outbound.ParseNetworks(c.allowed)
		if err != nil {
			t.Fatal(err)
		}
		if err := judge(allowed, c.address); (err == nil) != c.through {
			t.Errorf("%s with %s allowed: %v", c.address, c.allowed, err)
		}
	}
}

// The check is made by the dialer, after DNS: the listener is there, and is not reached.
func TestADialerWithAGuardDoesNotReachLoopback(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1"} {
		guarded := net.Dialer{Control: outbound.Guard(nil)}
		if conn, err := guarded.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port)); !errors.Is(err, outbound.ErrBlocked) {
			t.Errorf("%s: %v, %v", host, conn, err)
		}
		allowing := net.Dialer{Control: outbound.Guard(loopback)}
		conn, err := allowing.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%s, allowed: %v", host, err)
			continue
		}
		conn.Close()
	}
}

func TestNetworksAreParsed(t *testing.T) {
	t.Parallel()
	networks, err := outbound.ParseNetworks(" 10.1.2.3/8, 127.0.0.1 ,, fd00::/8")
	if err != nil || fmt.Sprint(networks) != "[10.0.0.0/8 127.0.0.1/32 fd00::/8]" {
		t.Errorf("%v, %v", networks, err)
	}
	if _, err := outbound.ParseNetworks("10.0.0.0/33"); err == nil || !strings.Contains(err.Error(), "10.0.0.0/33") {
		t.Errorf("%v", err)
	}
}
