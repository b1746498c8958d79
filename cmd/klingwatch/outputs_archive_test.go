package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// Who says what is kept sees what was said; and who asks for files is told that nobody
// fetches them.
func TestWhatIsKeptIsChosenAndShown(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.NewURL(t)
	env := append(slices.Clone(anyRelay), "DATABASE_URL="+databaseURL)
	for _, step := range []struct {
		line string
		has  []string
	}{
		{"relays add second https://relay.example --key-file /run/key --archive on", nil},
		{"relays list --json", []string{`"archive":true`}},
		{"relays edit second --archive off", nil},
		{"relays list", []string{"ARCHIVE", " off "}},
		{"relays edit second --archive default", nil},
		{"relays list --json", []string{`"archive":null`}},
		{"track videos/text2video t1 --archive --callback-url https://app.example/hook --callback-events task.archived,task.processing", nil},
		{"show 1", []string{"keep files", "on", "callback for", "task.archived, task.processing"}},
		{"track videos/text2video t2 --no-archive", nil},
		{"show 2 --json", []string{`"archive":false`, `"callback_events":[]`}},
		{"track videos/text2video t3", nil},
		{"show 3 --json", []string{`"archive":null`}},
	} {
		out := klingwatch(t, env, strings.Fields(step.line)...)
		for _, want := range step.has {
			if !strings.Contains(strings.ReplaceAll(out, `": `, `":`), want) {
				t.Errorf("%s: no %q in\n%s", step.line, want, out)
			}
		}
	}
	launch(t, env, "relays", "edit", "second", "--archive", "maybe").answer(t).failsWith(t, exitUsage, `"maybe" is not on, off or default`)
	launch(t, env, "outputs", "archive").answer(t).failsWith(t, exitError, "choose whose files to keep by flags, like --since and --relay")

	pool := open(t, databaseURL)
	for _, sql := range []string{
		`update klingwatch.tasks set status = 'succeeded', finished_at = now() where id > 1`,
		`insert into klingwatch.outputs (task, kind, position, url) select id, 'video', 0, 'https://cdn.example/' from klingwatch.tasks where id > 1`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	launch(t, serveEnv(databaseURL, "http://127.0.0.1:1"), "serve").ready(t)
	const warning = "no klingwatch serve keeps files now"
	if out := klingwatch(t, env, "outputs", "archive", "--since", "1d", "--dry-run"); !strings.Contains(out, "1 task is chosen") || !strings.Contains(out, warning) {
		t.Errorf("a dry run says\n%s", out)
	}
	if out := klingwatch(t, env, "outputs", "archive", "--since", "1d", "--yes", "--wait"); !strings.Contains(out, "1 task is asked for files") {
		t.Errorf("it says\n%s", out)
	}
	var waiting int
	if err := pool.QueryRow(t.Context(), `select count(*) from klingwatch.outputs where task = 3 and archive_state = 'pending'`).Scan(&waiting); err != nil || waiting != 1 {
		t.Errorf("%d files of the task that leaves it to others are asked for, %v", waiting, err)
	}
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.river_queue (name, updated_at) values ('archive', now())`); err != nil {
		t.Fatal(err)
	}
	if out := klingwatch(t, env, "outputs", "archive", "--since", "1d", "--dry-run"); strings.Contains(out, warning) || !strings.Contains(out, "0 tasks are chosen") {
		t.Errorf("where files are kept, and all are asked for, a dry run says\n%s", out)
	}
}
