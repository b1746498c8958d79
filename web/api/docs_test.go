package api

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json and the contract")

// specificationFile is the specification for those who generate clients.
const specificationFile = "openapi.json"

func TestTheSpecificationIsWhatIsServed(t *testing.T) {
	t.Parallel()
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(specificationFile, a.Spec(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(specificationFile)
	if err != nil || !bytes.Equal(committed, a.Spec()) {
		t.Errorf("%s is out of date, run make generate: %v", specificationFile, err)
	}
}
