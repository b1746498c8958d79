package webhook

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// deniedBesides adds to what ssrf refuses: IPv4 as in
// https://www.iana.org/assignments/iana-ipv4-special-registry, and of IPv6 all
// that is not in 2000::/3 or is special there by
// https://www.iana.org/assignments/iana-ipv6-special-registry.
var deniedBesides = []netip.Prefix{
	// Azure's WireServer: a public address by the registry, but it serves
	// secrets to every virtual machine
	// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
	netip.MustParsePrefix("168.63.129.16/32"),
}

// guard returns the check of a net.Dialer.Control: it sees every address after
// DNS, before a packet is sent, and refuses those that are not public with
// ssrf.ErrProhibitedIP, unless they are in an allowed network. ::ffff:10.0.0.1
// is judged as 10.0.0.1: that is what would be dialed.
func guard(allowed []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	var v4, v6 []netip.Prefix
	for _, network := range allowed {
		if network = unmap(network); network.Addr().Is4() {
			v4 = append(v4, network)
		} else {
			v6 = append(v6, network)
		}
	}
	registries := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(deniedBesides...))
	return func(network, address string, conn syscall.RawConn) error {
		if target, err := netip.ParseAddrPort(address); err == nil {
			address = netip.AddrPortFrom(target.Addr().Unmap(), target.Port()).String()
		}
		return registries.Safe(network, address, conn)
	}
}

// unmap turns a network of IPv4-mapped addresses into the one of IPv4.
func unmap(network netip.Prefix) netip.Prefix {
	const mapped = 128 - 32 // bits of ::ffff:0:0/96
	if network.Addr().Is4In6() && network.Bits() >= mapped {
		return netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mapped)
	}
	return network
}

// ParseNetworks reads CIDRs separated by commas; a bare address is a network of
// one. "" gives none; the error names the item that is no network.
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
