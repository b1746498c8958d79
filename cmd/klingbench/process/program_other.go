//go:build !linux

package process

import (
	"errors"
	"os/exec"
	"syscall"
)

var errNeedsLinux = errors.New("starting other programs needs Linux, where none outlives its parent")

func detach(*exec.Cmd, syscall.Signal) error { return errNeedsLinux }

// RunAsOwner always fails here.
func RunAsOwner(*exec.Cmd, string) error { return errNeedsLinux }

// Freeze always fails here.
func (p *Program) Freeze() error { return errNeedsLinux }

// Thaw always fails here.
func (p *Program) Thaw() error { return errNeedsLinux }
