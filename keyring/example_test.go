package keyring_test

import (
	"fmt"
	"log"

	"github.com/klingwatch/klingwatch/keyring"
)

// To replace a key, put the new one in front, and store again what the old one
// encrypted.
func Example() {
	const oldKey, newKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	before, err := keyring.Parse(oldKey)
	if err != nil {
		log.Fatal(err)
	}
	stored := before.Seal("whsec_example")

	keys, err := keyring.Parse(newKey + "," + oldKey)
	if err != nil {
		log.Fatal(err)
	}
	secret, err := keys.Open(stored)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(secret, keys.Current(stored))
	stored = keys.Seal(secret)
	fmt.Println(stored[:len("enc_00000000_")], keys.Current(stored))
	// Output:
	// whsec_example false
	// enc_72cd6e84_ true
}
