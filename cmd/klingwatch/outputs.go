package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/readable"
)

type outputsCommand struct {
	List    outputsList    `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List the files of tasks, and what became of them."`
	Link    outputsLink    `cmd:"" help:"Make a link to a kept file for somebody without a key."`
	Fetch   outputsFetch   `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"Copy kept files from the archive into a directory."`
	Archive outputsArchive `cmd:"" may:"klingwatch_operator" help:"Keep the files of tasks that ended before keeping was switched on, or whose files were lost."`
}

// outputChoice is all that chooses files.
type outputChoice struct {
	givenFlags
	period
	Kind     string         `help:"Only files of this kind: image, video or audio." placeholder:"KIND"`
	Expiring *time.Duration `help:"Only files that the provider deletes within this time." placeholder:"DURATION"`
}

func (f outputChoice) choice() db.OutputChoice {
	c := db.OutputChoice{Kind: f.Kind, Tasks: f.givenFlags.choice()}
	c.Tasks.Since, c.Tasks.Until = f.Since.Time, f.Until.Time
	if f.Expiring != nil {
		c.Expiring = time.Now().Add(*f.Expiring)
	}
	return c
}

// kinds are what a file may be.
var kinds = []string{"image", "video", "audio"}

// check refuses what no file can be like.
func (f outputChoice) check(limit int) error {
	if f.Expiring != nil && *f.Expiring <= 0 {
		return fmt.Errorf("--expiring must be more than 0, not %s", *f.Expiring)
	}
	var named []string
	if f.Kind != "" {
		named = []string{f.Kind}
	}
	return checkListing("--kind", named, kinds, limit, f.period)
}

type outputsList struct {
	outputChoice
	State  string `help:"Only files in this state: pending, stored, lost, skipped, or none for those that were not asked for." placeholder:"STATE" predictor:"file-state"`
	Cursor int64  `help:"Go on behind this id of a task: what --limit left out." placeholder:"ID"`
	Limit  int    `help:"Show the files of at most this many tasks, newest first." default:"50"`
	JSON   bool   `help:"Print one JSON object per line."`
}

// fileStates are what --state takes.
var fileStates = append([]string{db.ArchiveNone}, db.ArchiveStates...)

// Run lists files.
func (l outputsList) Run(ctx context.Context, c *console) error {
	var states []string
	if l.State != "" {
		states = []string{l.State}
	}
	err := l.check(l.Limit)
	if err == nil {
		err = checkListing("--state", states, fileStates, l.Limit, l.period)
	}
	if err != nil {
		return err
	}
	return withDatabase(ctx, c, func(_ settings, d *database) error {
		if err := operate.KnowsRelay(ctx, d.Pool, l.Relay); err != nil {
			return err
		}
		choice := l.choice()
		choice.Archive = l.State
		page, err := db.ListOutputs(ctx, d.Pool, choice, lookback.Search{Before: l.Cursor, Limit: l.Limit, Within: lookTime})
		if err != nil {
			return fmt.Errorf("reading the outputs: %w", err)
		}
		hintMore(c, page)
		if len(page.Items) == 0 {
			if err := c.hintApp(ctx, d, l.App); err != nil {
				return err
			}
		}
		if l.JSON {
			return printLines(c.out, page.Items)
		}
		var rows [][]string
		for _, o := range page.Items {
			rows = append(rows, []string{
				strconv.FormatInt(o.Task, 10), o.TaskID, deref(o.ExternalID), fmt.Sprintf("%s %d", o.Kind, o.Position), deref(o.ArchiveState), sizeOf(o.Bytes),
				when(o.ExpiresAt), cut(deref(o.ArchiveError), 60),
			})
		}
		c.printTable([]string{"ID", "TASK", "EXTERNAL ID", "FILE", "STATE", "SIZE", "AT THE PROVIDER UNTIL", "WHY"}, rows)
		return nil
	})
}

func sizeOf(bytes *int64) string {
	if bytes == nil {
		return ""
	}
	return readable.Bytes(*bytes)
}

type outputsLink struct {
	Task      string        `arg:"" help:"The task's id: ours, the provider's or an external one."`
	Kind      string        `arg:"" enum:"image,video,audio" help:"image, video or audio."`
	Position  int           `arg:"" optional:"" help:"Which of its kind, from 0."`
	Expires   time.Duration `help:"How long the link works, at most 366d; it cannot be taken back." default:"7d"`
	Thumbnail bool          `help:"A link to the small picture of the file."`
}

// Run makes a link.
func (l outputsLink) Run(ctx context.Context, c *console) error {
	return withDatabase(ctx, c, func(s settings, d *database) error {
		task, err := operate.FindTask(ctx, d.Pool, l.Task)
		if err != nil {
			return err
		}
		link, err := operate.LinkOutput(ctx, d.Pool, task.ID, l.Kind, l.Position, l.Thumbnail, l.Expires)
		if err != nil {
			return err
		}
		base := s.publicURL()
		if base == "" {
			if base, err = localURL(s.ListenAddr); err != nil {
				return fmt.Errorf("KLINGWATCH_PUBLIC_URL is not set, and KLINGWATCH_LISTEN_ADDR (%s) is no address for a link: set one of them", s.ListenAddr)
			}
		}
		fmt.Fprintln(c.out, base+link.Path)
		c.remark("whoever has it can get the file, until " + when(&link.Expires))
		if s.PublicURL == "" {
			c.remark("KLINGWATCH_PUBLIC_URL is not set: the link works on this machine only")
		}
		if link.Output.ArchiveKey == nil {
			c.remark("the file is still being fetched: the link works when it is stored")
		}
		return nil
	})
}

type outputsFetch struct {
	outputChoice
	To string `required:"" help:"Directory for the files; what is there already is not copied again." placeholder:"DIR"`
}

// Run copies kept files.
func (f outputsFetch) Run(ctx context.Context, c *console) error {
	if err := f.check(1); err != nil {
		return err
	}
	return withDatabase(ctx, c, func(s settings, d *database) error {
		if err := operate.KnowsRelay(ctx, d.Pool, f.Relay); err != nil {
			return err
		}
		store, err := s.store()
		if err != nil {
			return err
		}
		if store == nil {
			return errors.New("KLINGWATCH_ARCHIVE is not set: give the place where klingwatch serve keeps the files")
		}
		var bar *progress
		so, err := operate.CopyFiles(ctx, d.Pool, store, f.choice(), f.To, func(name string, so operate.Copies, failed error) {
			if bar == nil {
				bar = c.newProgress(int(so.Files), "")
			}
			if failed != nil {
				bar.line("%s: %s", clean(name), clean(failed.Error()))
			}
			bar.set(int(so.Done()), fmt.Sprintf("%s of %s", readable.Bytes(so.FetchedBytes), readable.Bytes(so.Bytes)))
		})
		if bar != nil {
			bar.end()
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out, copiesText(so))
		if so.Failed > 0 {
			return quietError{}
		}
		return nil
	})
}

// copiesText tells what became of the chosen files.
func copiesText(so operate.Copies) string {
	text := fmt.Sprintf("%s fetched (%s), %d there already, %d failed", readable.Count(so.Fetched, "file", "files"), readable.Bytes(so.FetchedBytes), so.There, so.Failed)
	var lacking []string
	total := int64(0)
	for _, state := range []struct{ name, words string }{
		{db.ArchivePending, "still being fetched"}, {db.ArchiveLost, "lost"}, {db.ArchiveSkipped, "too large"}, {db.ArchiveNone, "not asked for"},
	} {
		if n := so.Lacking[state.name]; n > 0 {
			total += n
			lacking = append(lacking, fmt.Sprintf("%d %s", n, state.words))
		}
	}
	if total > 0 {
		text += fmt.Sprintf("; %d not kept: %s", total, strings.Join(lacking, ", "))
	}
	return text
}
