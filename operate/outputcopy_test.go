package operate_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

// kept is a database with files in a store on the disk.
type kept struct {
	*testing.T
	pool  *pgxpool.Pool
	dir   string // of the store
	store archive.Store
}

func newKept(t *testing.T) kept {
	t.Helper()
	dir := t.TempDir()
	store, err := archive.Open("file:"+dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return kept{t, dbtest.New(t), dir, store}
}

func (k kept) exec(sql string, args ...any) {
	k.Helper()
	if _, err := k.pool.Exec(k.Context(), sql, args...); err != nil {
		k.Fatal(err)
	}
}

// add stores a file of a new task with an external id; "": none.
func (k kept) add(taskID, externalID, content string) (key string) {
	k.Helper()
	sum := sha256.Sum256([]byte(content))
	key = fmt.Sprintf("default/%x.mp4", sum[:8])
	local, err := os.CreateTemp(k.store.Spool(), "")
	if err == nil {
		_, err = local.WriteString(content)
	}
	if err == nil {
		err = k.store.Put(k.Context(), key, local, archive.Info{Size: int64(len(content))})
	}
	if err != nil {
		k.Fatal(err)
	}
	k.exec(`
		with task as (
			insert into klingwatch.tasks (task_id, action, action2, external_id) values ($1, 'videos', 'text2video', nullif($2, '')) returning id
		)
		insert into klingwatch.outputs (task, kind, position, url, archive_id, archive_state, archive_key, bytes, sha256, content_type, archived_at)
		select id, 'video', 0, 'https://x.example', nextval('klingwatch.archive_ids'), 'stored', $3, $4, $5, 'video/mp4', now() from task`,
		taskID, externalID, key, len(content), hex.EncodeToString(sum[:]))
	return key
}

// copy copies all, and returns what it told of failures.
func (k kept) copy(dir string) (so operate.Copies, told []string, err error) {
	so, err = operate.CopyFiles(k.Context(), k.pool, k.store, db.OutputChoice{}, dir, func(name string, _ operate.Copies, err error) {
		if err != nil {
			told = append(told, name+": "+err.Error())
		}
	})
	return so, told, err
}

// contents are the files of a directory, as "name=content".
func contents(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, _ := os.ReadFile(name)
			name, _ = filepath.Rel(dir, name)
			files = append(files, name+"="+string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestKeptFilesAreCopiedUnderReadableNamesOnce(t *testing.T) {
	t.Parallel()
	k, dir := newKept(t), filepath.Join(t.TempDir(), "new", "clips")
	k.add("t-1", "order 17", "first")
	k.add("t-2", "order 17", "second")
	k.add("t-3", "../../etc/passwd", "third")
	k.add("t-4", "", "fourth")
	k.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('t-5', 'videos', 'text2video')`)
	k.exec(`insert into klingwatch.outputs (task, kind, position, url) values (5, 'video', 0, 'https://x.example')`)
	so, told, err := k.copy(dir)
	if err != nil || so.Fetched != 4 || so.Files != 4 || so.Bytes != so.FetchedBytes || so.Lacking[db.ArchiveNone] != 1 || told != nil {
		t.Fatalf("%+v, %q, %v", so, told, err)
	}
	want := []string{"_.._etc_passwd-3/video-0.mp4=third", "order 17-1/video-0.mp4=first", "order 17-2/video-0.mp4=second", "t-4-4/video-0.mp4=fourth"}
	if got := contents(t, dir); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}

	// one has lost its end, one has other content of the same length, one is gone
	for name, text := range map[string]string{"order 17-1": "firs", "order 17-2": "SECOND"} {
		if err := os.WriteFile(filepath.Join(dir, name, "video-0.mp4"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "t-4-4")); err != nil {
		t.Fatal(err)
	}
	so, told, err = k.copy(dir)
	if err != nil || so.Fetched != 3 || so.There != 1 || told != nil {
		t.Errorf("again: %+v, %q, %v", so, told, err)
	}
	if got := contents(t, dir); !slices.Equal(got, want) {
		t.Errorf("again: %q, want %q", got, want)
	}
}

func TestNothingWrongComesUnderAFinalName(t *testing.T) {
	t.Parallel()
	k, dir, outside := newKept(t), t.TempDir(), t.TempDir()
	gone, altered, shorter := k.add("gone", "", "gone"), k.add("altered", "", "altered"), k.add("shorter", "", "shorter")
	k.add("outside", "", "outside")
	for key, text := range map[string]string{altered: "ALTERED", shorter: "short"} {
		if err := os.WriteFile(filepath.Join(k.dir, key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := os.Remove(filepath.Join(k.dir, gone))
	if err == nil {
		err = os.Symlink(outside, filepath.Join(dir, "outside-4")) // somebody's, who wants the file elsewhere
	}
	if err != nil {
		t.Fatal(err)
	}
	so, told, err := k.copy(dir)
	if err != nil || so.Failed != 4 || so.Fetched != 0 {
		t.Errorf("%+v, %v", so, err)
	}
	for i, want := range []string{"outside-4/video-0.mp4: ", "other content", "other content", "no such file"} {
		if i >= len(told) || !strings.Contains(told[i], want) {
			t.Fatalf("told %q, want %q", told, want)
		}
	}
	if got := append(contents(t, dir), contents(t, outside)...); len(got) != 1 { // the link itself
		t.Errorf("there is %q", got)
	}
}

func TestCopyingGivesUpAfterTenFailuresInARow(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	for i := range 12 {
		if err := os.Remove(filepath.Join(k.dir, k.add(fmt.Sprint("t-", i), "", fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	so, told, err := k.copy(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "10 failures in a row") || so.Failed != 10 || len(told) != 10 {
		t.Errorf("%+v, %q, %v", so, told, err)
	}
}

func TestCopyingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	k, dir := newKept(t), t.TempDir()
	k.add("t-1", "", "first")
	k.add("t-2", "", "second")
	ctx, cancel := context.WithCancel(t.Context())
	so, err := operate.CopyFiles(ctx, k.pool, k.store, db.OutputChoice{}, dir, func(string, operate.Copies, error) { cancel() })
	if err == nil || so.Fetched != 1 || len(contents(t, dir)) != 1 {
		t.Errorf("%+v, %v, %q", so, err, contents(t, dir))
	}
}

func TestNamesOfFilesAreSafeEverywhere(t *testing.T) {
	t.Parallel()
	for external, want := range map[string]string{
		"order-17":                    "order-17-video-0.mp4",
		"Bestellung Nr. 5 \u00e4":     "Bestellung Nr. 5 \u00e4-video-0.mp4",
		`a/b\c:d*e?f"g<h>i|j`:         "a_b_c_d_e_f_g_h_i_j-video-0.mp4",
		"..":                          "task-video-0.mp4",
		".hidden. ":                   "hidden-video-0.mp4",
		"con.txt":                     "_con.txt-video-0.mp4",
		"a\nb\u202e\x00":              "a b-video-0.mp4",
		strings.Repeat("\u00e4", 120): strings.Repeat("\u00e4", 50) + "-video-0.mp4",
	} {
		got := operate.FileName(db.ListedOutput{Output: db.Output{Kind: "video", KeptFile: db.KeptFile{ArchiveKey: new("x/y.mp4")}}, ExternalID: &external})
		if got != want {
			t.Errorf("%q becomes %q, want %q", external, got, want)
		}
	}
}
