package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set at build time: -ldflags "-X main.release=v1.2.3".
var release string

// version is the release, else what the Go toolchain recorded.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// userAgent is how klingwatch introduces itself to relays and receivers.
func userAgent() string { return "klingwatch/" + version() }

type versionCommand struct{}

func (versionCommand) Run(c *console) error {
	_, err := fmt.Fprintf(c.out, "klingwatch %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
