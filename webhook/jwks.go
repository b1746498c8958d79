package webhook

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// jwk is an ed25519 public key as RFC 8037 section 2 writes it.
type jwk struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"` // base64url without padding, of the 32 bytes
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"` // thumbprint
}

// JWKS returns whpk_ keys as a JSON Web Key Set (RFC 7517), in the order given;
// {"keys":[]} for none, ErrSecret for a malformed one.
func JWKS(publicKeys []string) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{make([]jwk, len(publicKeys))}
	for i, publicKey := range publicKeys {
		key, err := decode(publicPrefix, publicKey, ed25519.PublicKeySize, ed25519.PublicKeySize)
		if err != nil {
			return nil, err
		}
		x := base64.RawURLEncoding.EncodeToString(key)
		set.Keys[i] = jwk{KeyType: "OKP", Curve: "Ed25519", X: x, Use: "sig", Algorithm: "EdDSA", ID: thumbprint(x)}
	}
	return json.Marshal(set)
}

// thumbprint is that of RFC 7638: of the required members, in alphabetical
// order, without space.
func thumbprint(x string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, x))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
