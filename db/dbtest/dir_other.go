//go:build !linux

package dbtest

// newDir makes the directory of the server.
func newDir() (dir string, unlock func(), err error) { return tempDir() }
