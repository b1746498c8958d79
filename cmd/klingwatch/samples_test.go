package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// Texts of a relay are printed like those of any stranger.
func TestSampleTasksCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	d := &devStack{database: &database{Pool: dbtest.New(t)}, receiver: &receiver{}}
	var task sampleTask
	task.sample = sample{path: "videos/text2video", words: "fail", expect: db.Failed}
	err := d.database.QueryRow(t.Context(), `
		insert into klingwatch.tasks (task_id, action, action2) values ('fail'||U&'\202E', 'videos', 'text2video') returning id, task_id`).Scan(&task.id, &task.taskID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.database.Exec(t.Context(), `update klingwatch.tasks set status = 'failed', finished_at = now(), status_message = U&'no\000Droom\202E\0007' where id = $1`, task.id); err != nil {
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	if _, err := d.follow(t.Context(), &console{out: &out, err: &progress}, []sampleTask{task}); err != nil {
		t.Fatal(err)
	}
	if printed := progress.String() + out.String(); !strings.Contains(printed, "no room") || strings.ContainsAny(printed, "\u202e\r\a") {
		t.Errorf("printed %q", printed)
	}
}
