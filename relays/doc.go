// Package relays makes clients of the rows of klingwatch.relays, and finds their keys: in
// a file of this machine, or in the row, encrypted.
//
//	client, err := relays.Open(row, relays.Options{Keyring: keyring, Timeout: 15 * time.Second})
package relays
