//go:build unix && !aix && !solaris

package embeddedpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheNewestInstalledVersionIsChosenForANewCluster(t *testing.T) {
	t.Parallel()
	root := newDataDir(t)
	for _, version := range []string{"9.6.24", "13.4", "14.18", "15.18 (Debian 15.18-0+deb12u1)", "17beta1"} {
		installFake(t, root, version)
	}
	for _, c := range []struct {
		cluster int // its major, 0 for none
		want    int
		err     error
	}{
		{cluster: 0, want: 17},
		{cluster: 14, want: 14},
		{cluster: 15, want: 15},
		{cluster: 16, err: ErrOtherMajor},
		{cluster: 13, err: ErrOtherMajor},
	} {
		who, err := serverAccount(root)
		check(t, err)
		s := &search{
			cfg:     Config{DataDir: "here", onlyIn: []string{filepath.Join(root, "pg-*", "bin")}},
			account: who,
			major:   c.cluster,
		}
		found, err := s.find(t.Context())
		if found.major != c.want || !errors.Is(err, c.err) {
			t.Errorf("for a cluster of %d: found %d, %v; want %d, %v", c.cluster, found.major, err, c.want, c.err)
		}
	}
}

// installFake installs programs that only print their version.
func installFake(t *testing.T, root, version string) {
	t.Helper()
	number, _, _ := strings.Cut(version, " ")
	bin := filepath.Join(root, "pg-"+number, "bin")
	check(t, os.MkdirAll(bin, 0o755))
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, name := range []string{"initdb", "postgres"} {
		check(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
}

func TestADirectoryWithoutBinariesIsRefused(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	_, err := Start(t.Context(), Config{DataDir: newDataDir(t), BinDir: empty})
	if err == nil || !strings.Contains(err.Error(), "there is no initdb") || !strings.Contains(err.Error(), empty) {
		t.Errorf("Start: %v", err)
	}
}
