// Package keyring encrypts the secrets that klingwatch stores, so that a dump of the
// database does not reveal them.
//
//	keys, err := keyring.Parse(os.Getenv("KLINGWATCH_ENCRYPTION_KEY"))
//	stored := keys.Seal(secret)      // enc_<key id>_<base64url>
//	secret, err = keys.Open(stored)  // ErrMissingKey, ErrTampered
//
// To rotate a key, put the new one in front of the old one, seal and store again
// every secret that is not Current, then remove the old key.
package keyring
