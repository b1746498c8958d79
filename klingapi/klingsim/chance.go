package klingsim

import (
	"encoding/base64"
	"encoding/binary"
)

// chance returns a random number that depends only on seed, name, purpose and number. Without the state of a generator,
// the order of requests changes nothing.
func (r *Relay) chance(name, purpose string, number uint64) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset) ^ mix(r.config.Seed)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	h = mix(h)
	for i := range len(purpose) {
		h = (h ^ uint64(purpose[i])) * prime
	}
	return mix(h + number)
}

// mix is the finalizer of SplitMix64: FNV alone gives similar numbers to ids that differ only at the end.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// share maps a random number to [0, 1).
func share(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// opaqueID returns a random number as an id of 22 characters like those of Kling. It begins with "Cj", which is no word
// of the vocabulary.
func opaqueID(h uint64) string {
	var raw [15]byte
	binary.BigEndian.PutUint64(raw[:], h)
	binary.BigEndian.PutUint64(raw[7:], mix(h))
	return "Cj" + base64.RawURLEncoding.EncodeToString(raw[:])
}

// numericID returns a random number as an id of 18 digits, which is above 2^53.
func numericID(h uint64) uint64 { return 100_000_000_000_000_000 + h%900_000_000_000_000_000 }
