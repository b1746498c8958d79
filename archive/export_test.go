package archive

import "time"

// SetParts makes small files large ones.
func SetParts(store Store, single, part int64) { store.(*s3).single, store.(*s3).part = single, part }

// SetStall replaces the minute after which a connection counts as dead.
func SetStall(store Store, stall time.Duration) {
	store.(*s3).clock.RoundTripper = newTransport(stall)
}

// Parse reads a setting without making anything.
func Parse(setting string) error {
	_, err := parse(setting, "/data")
	return err
}
