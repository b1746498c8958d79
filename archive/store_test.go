package archive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/archive/archivetest"
)

const key = "default/2026/11/25/17/video-0-1f2e3d4c.mp4"

func TestMain(m *testing.M) {
	if os.Getenv("PUT_UNTIL_KILLED") != "" {
		putUntilKilled()
	}
	os.Setenv("AWS_ACCESS_KEY_ID", archivetest.AccessKey)
	os.Setenv("AWS_SECRET_ACCESS_KEY", archivetest.SecretKey)
	os.Unsetenv("AWS_SESSION_TOKEN")
	os.Exit(m.Run())
}

// stores runs a test on the disk and on a real S3 server.
func stores(t *testing.T, test func(t *testing.T, store archive.Store)) {
	t.Run("disk", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, "file:"))
	})
	t.Run("S3", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, archivetest.Start(t).Setting("some/prefix", "")))
	})
}

func open(t *testing.T, setting string) archive.Store {
	t.Helper()
	store, err := archive.Open(setting, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// file makes a file in the spool, and what is known of it.
func file(t *testing.T, store archive.Store, content []byte) (*os.File, archive.Info) {
	t.Helper()
	local, err := os.CreateTemp(store.Spool(), "video-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { local.Close() })
	if _, err := local.Write(content); err != nil {
		t.Fatal(err)
	}
	return local, about(content)
}

func about(content []byte) archive.Info {
	sum := sha256.Sum256(content)
	return archive.Info{Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), ContentType: "video/mp4"}
}

func put(t *testing.T, store archive.Store, key string, content []byte) error {
	t.Helper()
	local, info := file(t, store, content)
	defer os.Remove(local.Name())
	return store.Put(t.Context(), key, local, info)
}

func read(t *testing.T, store archive.Store, key string) []byte {
	t.Helper()
	content, err := store.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	all, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(all)) != content.Size {
		t.Errorf("Size is %d, and %d bytes came", content.Size, len(all))
	}
	return all
}

func random(size int) []byte {
	content := make([]byte, size)
	rand.Read(content)
	return content
}

func TestAFileComesBackByteForByte(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		for _, size := range []int{0, 1, 4096, 65_537, 3<<20 + 11} {
			key := key + "." + strconv.Itoa(size)
			content := random(size)
			if err := put(t, store, key, content); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, store, key), content) {
				t.Errorf("%d bytes came back as others", size)
			}
			info, err := store.Stat(t.Context(), key)
			if err != nil || info.Size != int64(size) {
				t.Errorf("Stat: %+v, %v; want %d bytes", info, err, size)
			}
			if info.SHA256 != "" && info != about(content) {
				t.Errorf("Stat: %+v, want what was put: %+v", info, about(content))
			}
		}
	})
}

func TestAFileIsNeverReplaced(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		content := random(70_000)
		for range 2 { // as after a crash between the store and the row
			if err := put(t, store, key, content); err != nil {
				t.Fatal(err)
			}
		}
		err := put(t, store, key, content[1:])
		if !errors.Is(err, archive.ErrTaken) || archive.Temporary(err) {
			t.Errorf("another size: %v, want ErrTaken", err)
		}
		if !bytes.Equal(read(t, store, key), content) {
			t.Error("the file was replaced")
		}
	})
}

func TestOfManyPutsAtOnceOneWins(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		content := random(200_000)
		var all sync.WaitGroup
		for range 8 {
			local, info := file(t, store, content)
			all.Go(func() {
				if err := store.Put(t.Context(), key, local, info); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if !bytes.Equal(read(t, store, key), content) {
			t.Error("the file is not what was put")
		}
	})
}

// Of two files with one key, which should not be, one is kept whole.
// oneWins puts two files of different sizes under one key at once.
func oneWins(t *testing.T, store archive.Store, contents ...[]byte) {
	t.Helper()
	errs := make([]error, len(contents))
	var all sync.WaitGroup
	for i, content := range contents {
		local, info := file(t, store, content)
		all.Go(func() { errs[i] = store.Put(t.Context(), key, local, info) })
	}
	all.Wait()
	winner := 0
	if errs[0] != nil {
		winner = 1
	}
	if errs[winner] != nil || !errors.Is(errs[1-winner], archive.ErrTaken) {
		t.Fatalf("errors: %v; want one ErrTaken", errs)
	}
	if !bytes.Equal(read(t, store, key), contents[winner]) {
		t.Error("the file is not the one whose Put went well")
	}
}

func TestOfTwoDifferentFilesAtOnceOneIsRefused(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		oneWins(t, store, random(300_000), random(200_000))
	})
}

func TestReadsMayJump(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		want := random(100_000)
		if err := put(t, store, key, want); err != nil {
			t.Fatal(err)
		}
		content, err := store.Open(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		if err := iotest.TestReader(content, want); err != nil {
			t.Error(err)
		}
		for _, from := range []int64{99_999, 0, 65_536, 100_000, 1} {
			if _, err := content.Seek(from, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(content); err != nil || !bytes.Equal(got, want[from:]) {
				t.Errorf("from byte %d: %d bytes, %v; want the last %d", from, len(got), err, len(want[from:]))
			}
		}
		if _, err := content.Seek(-1, io.SeekStart); err == nil {
			t.Error("it went to before the beginning")
		}
	})
}

func TestARemovedFileIsGone(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		neighbour := strings.Replace(key, "video-0", "video-1", 1)
		for _, key := range []string{key, neighbour} {
			if err := put(t, store, key, random(10)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := store.Remove(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Stat(t.Context(), key); !errors.Is(err, archive.ErrNotFound) || archive.Temporary(err) {
			t.Errorf("Stat: %v, want ErrNotFound", err)
		}
		if _, err := store.Open(t.Context(), key); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("Open: %v, want ErrNotFound", err)
		}
		if _, err := store.Stat(t.Context(), neighbour); err != nil {
			t.Errorf("its neighbour: %v", err)
		}
		if err := put(t, store, key, random(20)); err != nil {
			t.Errorf("the key is free again, but Put says %v", err)
		}
	})
}

func TestFoldersAreNoFiles(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		if err := put(t, store, key, random(10)); err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{"default", "default/2026/11"} {
			if _, err := store.Open(t.Context(), folder); !errors.Is(err, archive.ErrNotFound) {
				t.Errorf("Open %s: %v, want ErrNotFound", folder, err)
			}
			if err := store.Remove(t.Context(), folder); err != nil {
				t.Errorf("Remove %s: %v", folder, err)
			}
		}
		if _, err := store.Open(t.Context(), key+"/below"); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("below a file: %v, want ErrNotFound", err)
		}
		if _, err := store.Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	})
}

func TestNoKeyLeadsOutOfTheStore(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		for _, key := range []string{
			"", ".", "..", "../secret", "a/../../secret", "/etc/passwd", "a//b", "a/", "a/.hidden", ".spool/video-1",
			"a\\b", "a\x00b", "a b", "ä", "a?b", "a%2e", "a\n", strings.Repeat("a", 201), strings.Repeat("a/", 300) + "a",
		} {
			local, info := file(t, store, []byte("text"))
			_, openErr := store.Open(t.Context(), key)
			_, statErr := store.Stat(t.Context(), key)
			_, linkErr := store.Link(t.Context(), key, time.Minute, "", "")
			for _, err := range []error{store.Put(t.Context(), key, local, info), openErr, statErr, linkErr, store.Remove(t.Context(), key)} {
				if !errors.Is(err, archive.ErrKey) || archive.Temporary(err) {
					t.Errorf("%q: %v, want ErrKey", key, err)
				}
			}
		}
	})
}

func TestAFileThatIsNotWhatWasSaidIsRefused(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		local, info := file(t, store, random(100))
		info.Size++
		if err := store.Put(t.Context(), key, local, info); !errors.Is(err, archive.ErrAltered) || archive.Temporary(err) {
			t.Errorf("%v, want ErrAltered", err)
		}
		if _, err := store.Stat(t.Context(), key); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("it was kept: %v", err)
		}
	})
}

func TestAFileFromElsewhereIsCopied(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		content := random(50_000)
		local, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer local.Close()
		local.Write(content)
		if err := store.Put(t.Context(), key, local, about(content)); err != nil {
			t.Fatal(err)
		}
		local.Truncate(0)
		if !bytes.Equal(read(t, store, key), content) {
			t.Error("the file is not what was put")
		}
		if left, _ := os.ReadDir(store.Spool()); len(left) > 0 {
			t.Errorf("%d files are left in the spool", len(left))
		}
	})
}

func TestCheckLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		health, err := store.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if disk := strings.HasPrefix(store.String(), "file:"); disk != (health.Free > 0) || health.ClockAway != 0 {
			t.Errorf("%s: %+v", store, health)
		}
		if left, _ := os.ReadDir(store.Spool()); len(left) > 0 {
			t.Errorf("%d files are left in the spool", len(left))
		}
	})
}

func TestOnlyOldFilesOfTheSpoolAreRemoved(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		old, _ := file(t, store, []byte("left by a process that was killed"))
		young, _ := file(t, store, []byte("being fetched"))
		yesterday := time.Now().Add(-24 * time.Hour)
		if err := os.Chtimes(old.Name(), yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
		if removed, err := store.CleanSpool(t.Context(), time.Hour); removed != 1 || err != nil {
			t.Errorf("%d removed, %v; want 1", removed, err)
		}
		if _, err := os.Stat(young.Name()); err != nil {
			t.Error(err)
		}
	})
}

func TestACanceledCallDoesNothing(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, store archive.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		local, info := file(t, store, random(10))
		if err := store.Put(ctx, key, local, info); !errors.Is(err, context.Canceled) || !archive.Temporary(err) {
			t.Errorf("%v, want context.Canceled", err)
		}
		if _, err := store.Stat(t.Context(), key); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("it was kept: %v", err)
		}
	})
}
