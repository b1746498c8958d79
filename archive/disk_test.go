package archive_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/archive"
)

// putUntilKilled puts files of random sizes, each under a key that says what is in it,
// and prints a line for each that is kept.
func putUntilKilled() {
	store, err := archive.Open("file:"+os.Getenv("PUT_UNTIL_KILLED"), "")
	for n := 0; err == nil; n++ {
		content := random(1 + rand.IntN(300_000))
		var local *os.File
		if local, err = os.CreateTemp(store.Spool(), ""); err != nil {
			break
		}
		if _, err = local.Write(content); err != nil {
			break
		}
		info := about(content)
		name := fmt.Sprintf("%d/%d/%s", n%3, os.Getpid(), info.SHA256)
		if err = store.Put(context.Background(), name, local, info); err == nil {
			fmt.Println(name)
		}
		os.Remove(local.Name())
		local.Close()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestEveryFileIsWholeAfterKill9(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for range 10 {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "PUT_UNTIL_KILLED="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 2 + rand.IntN(6) {
			lines.Scan()
			kept = append(kept, lines.Text())
		}
		time.AfterFunc(time.Duration(rand.Int64N(int64(20*time.Millisecond))), func() { cmd.Process.Kill() })
		for lines.Scan() {
			kept = append(kept, lines.Text())
		}
		cmd.Wait()
	}

	whole := map[string]bool{}
	spooled := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.Contains(path, ".spool") {
			spooled++
			return nil
		}
		content, err := os.ReadFile(path)
		sum := sha256.Sum256(content)
		if hex.EncodeToString(sum[:]) != filepath.Base(path) {
			t.Errorf("%s has %d bytes, which are not what was put", path, len(content))
		}
		name, _ := filepath.Rel(dir, path)
		whole[filepath.ToSlash(name)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range kept {
		if !whole[name] {
			t.Errorf("%s was kept, and is gone", name)
		}
	}
	t.Logf("%d files kept, %d whole, %d left in the spool", len(kept), len(whole), spooled)

	store := open(t, "file:"+dir)
	if removed, err := store.CleanSpool(t.Context(), 0); removed != spooled || err != nil {
		t.Errorf("CleanSpool removed %d of %d, %v", removed, spooled, err)
	}
}

// Readers of other users have no business there.
func TestOnlyTheGroupMayRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "archive")
	store := open(t, "file:"+dir)
	if err := put(t, store, key, []byte("text")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o750, store.Spool(): 0o750, filepath.Join(dir, "default"): 0o750, filepath.Join(dir, key): 0o640} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&^want != 0 {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

func TestEmptyFoldersGoWithTheirLastFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := open(t, "file:"+dir)
	if err := put(t, store, key, []byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := store.Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "default")); !os.IsNotExist(err) {
		t.Errorf("its folders are still there: %v", err)
	}
}

// A folder may vanish between its making and the link.
func TestFilesAreKeptWhileTheirFoldersAreRemoved(t *testing.T) {
	t.Parallel()
	store := open(t, "file:"+t.TempDir())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			if err := put(t, store, "a/b/c/1", []byte("text")); err != nil {
				t.Error(err)
			}
			if err := store.Remove(t.Context(), "a/b/c/1"); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 300 {
		if err := put(t, store, "a/b/c/2", []byte("text")); err != nil {
			t.Error(err)
		}
		if err := store.Remove(t.Context(), "a/b/c/2"); err != nil {
			t.Error(err)
		}
	}
	<-done
}

// A link that somebody made within the archive may lead within it only.
func TestNoSymlinkLeadsOutOfTheArchive(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	store := open(t, "file:"+dir)
	if content, err := store.Open(t.Context(), "out/secret"); err == nil {
		content.Close()
		t.Error("the file outside was opened")
	}
	if err := put(t, store, "out/new", []byte("text")); err == nil {
		t.Error("a file was put outside")
	}
}

// A small file system needs rights that a namespace of its own gives on most machines.
func TestAFullDiskIsSaid(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("FULL_DISK"); dir != "" {
		store := open(t, "file:"+dir)
		local, err := os.CreateTemp("", "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(local.Name())
		local.Write(random(3 << 20))
		fmt.Println(store.Put(t.Context(), key, local, archive.Info{Size: 3 << 20}))
		left, _ := os.ReadDir(store.Spool())
		_, err = store.Stat(t.Context(), key)
		fmt.Println(len(left), "left;", err)
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", `mount -t tmpfs -o size=1m none "$FULL_DISK" && exec "$0" -test.run '^TestAFullDiskIsSaid$'`, program)
	cmd.Env = append(os.Environ(), "FULL_DISK="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("this machine makes no small file system for a test: %v, %s", err, out)
	}
	for _, want := range []string{
		"the archive in " + dir + " could not keep " + key + ": no space left on device; free some space there, or let KLINGWATCH_ARCHIVE name a larger place",
		"0 left; the archive has no such file",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
