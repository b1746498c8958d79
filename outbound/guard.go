package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// alsoDenied are refused in addition to what ssrf refuses: the IPv4 networks of
// https://www.iana.org/assignments/iana-ipv4-special-registry, all of IPv6 outside
// 2000::/3, and the networks within it that are special by
// https://www.iana.org/assignments/iana-ipv6-special-registry.
var alsoDenied = []netip.Prefix{
	// Azure's WireServer: public by the registry, but it serves secrets to every
	// virtual machine
	// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
	netip.MustParsePrefix("168.63.129.16/32"),
}

// ErrBlocked is the error of a dial to an address that Guard refuses.
var ErrBlocked = errors.New("the address is private or reserved")

// Guard returns a Control function for net.Dialer, which calls it with each address
// after DNS, before a packet is sent. It returns ErrBlocked for an address that is
// not public, unless an allowed network contains it. It treats ::ffff:10.0.0.1 as
// 10.0.0.1, which is what would be dialed.
func Guard(allowed []netip.Prefix) func(network, address string, conn syscall.RawConn) error {
	var v4, v6 []netip.Prefix
	for _, network := range allowed {
		if network = unmap(network); network.Addr().Is4() {
			v4 = append(v4, network)
		} else {
			v6 = append(v6, network)
		}
	}
	registries := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(alsoDenied...))
	return func(network, address string, conn syscall.RawConn) error {
		if target, err := netip.ParseAddrPort(address); err == nil {
			address = netip.AddrPortFrom(target.Addr().Unmap(), target.Port()).String()
		}
		if err := registries.Safe(network, address, conn); err != nil {
			return fmt.Errorf("%w: %w", ErrBlocked, err)
		}
		return nil
	}
}

// unmap turns a network of IPv4-mapped addresses into the network of IPv4.
func unmap(network netip.Prefix) netip.Prefix {
	const mapped = 128 - 32 // bits of ::ffff:0:0/96
	if network.Addr().Is4In6() && network.Bits() >= mapped {
		return netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mapped)
	}
	return network
}

// ParseNetworks reads networks in CIDR notation, separated by commas; an address
// alone is a network of one, and "" is no network. The error contains the item that
// is not a network.
func ParseNetworks(list string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if addr, err := netip.ParseAddr(item); err == nil {
			networks = append(networks, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network like 10.0.0.0/8", item)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}
