package pages

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/lookback"
	"github.com/klingwatch/klingwatch/readable"
)

const (
	// galleryTasks is how many tasks a part of the gallery has: all their files are in it.
	galleryTasks = 40
	// expiresSoon is how long before the provider deletes a file a person is warned.
	expiresSoon = 24 * time.Hour
)

var (
	fileKinds  = []string{"image", "video", "audio"}
	fileStates = append(slices.Clone(db.ArchiveStates), db.ArchiveNone)
)

// galleryFilter is what the gallery is asked for, by its parameters in the address.
type galleryFilter struct {
	Kind       string
	Archive    string // one of fileStates
	Expiring   string // a length of time: the provider deletes it within
	Relay      string
	App        string
	ExternalID string
	Action     string // action, or action/action2
	Since      string // as in a taskFilter
}

func readGalleryFilter(form url.Values) galleryFilter {
	f := galleryFilter{
		Kind: form.Get("kind"), Archive: form.Get("archive"), Expiring: form.Get("expiring"), Relay: form.Get("relay"), App: form.Get("app"),
		ExternalID: form.Get("external_id"), Action: form.Get("action"), Since: form.Get("since"),
	}
	if !slices.Contains(fileKinds, f.Kind) {
		f.Kind = ""
	}
	if !slices.Contains(fileStates, f.Archive) {
		f.Archive = ""
	}
	return f
}

// Values are the parameters of the filter; what chooses nothing is left out.
func (f galleryFilter) Values() url.Values {
	return given(map[string]string{
		"kind": f.Kind, "archive": f.Archive, "expiring": f.Expiring, "relay": f.Relay, "app": f.App, "external_id": f.ExternalID, "action": f.Action, "since": f.Since,
	})
}

// Narrow tells whether the filter chooses anything beside a kind and a state.
func (f galleryFilter) Narrow() bool {
	f.Kind, f.Archive = "", ""
	return f != galleryFilter{}
}

// choice is what the filter chooses, of what a person meets.
func (f galleryFilter) choice(app string) (c db.OutputChoice, err error) {
	c = db.OutputChoice{Kind: f.Kind, Archive: f.Archive, Tasks: db.TaskChoice{Path: f.Action, Relay: f.Relay, App: f.App, ExternalID: f.ExternalID}}
	if app != "" {
		c.Tasks.App = app
	}
	if f.Expiring != "" {
		within, err := readable.ParseDuration(f.Expiring)
		if err != nil {
			return c, &refusal{http.StatusUnprocessableEntity, "error.time"}
		}
		c.Expiring = time.Now().Add(within)
	}
	c.Tasks.Since, err = readTime(f.Since)
	return c, err
}

// given are those parameters that have a value.
func given(parameters map[string]string) url.Values {
	query := url.Values{}
	for name, value := range parameters {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// galleryPage are files as tiles.
type galleryPage struct {
	shell
	Filter        galleryFilter
	Kinds, States []string
	Files         []file
	Next, Newest  string // as in a tasksPage
	SearchedTo    *time.Time
	Empty         bool // there is no file at all
	Keeps         bool // files are kept
}

// file is a file as it is shown.
type file struct{ db.ListedOutput }

// ID begins the ids of its elements.
func (f file) ID() string { return fmt.Sprintf("o%d-%s-%d", f.Task, f.Kind, f.Position) }

// Page is the path of its page.
func (f file) Page() string { return fmt.Sprintf("/gallery/%d/%s/%d", f.Task, f.Kind, f.Position) }

// State is the state of its copy.
func (f file) State() string {
	if f.ArchiveState == nil {
		return db.ArchiveNone
	}
	return *f.ArchiveState
}

// Kept tells whether there is a copy.
func (f file) Kept() bool { return f.ArchiveKey != nil }

// Gone tells whether the provider has deleted it, going by its word.
func (f file) Gone() bool { return f.ExpiresAt != nil && !f.ExpiresAt.After(time.Now()) }

// Soon tells whether it will be lost soon.
func (f file) Soon() bool {
	return !f.Kept() && f.ExpiresAt != nil && time.Until(*f.ExpiresAt) < expiresSoon
}

// Seconds is how long it plays; 0: that is not known, or a picture.
func (f file) Seconds() float64 {
	if f.DurationSeconds == nil {
		return 0
	}
	seconds, _ := f.DurationSeconds.Float64() // a number, by the database
	return seconds
}

func filesOf(outputs []db.ListedOutput) []file {
	files := make([]file, len(outputs))
	for i, o := range outputs {
		files[i] = file{o}
	}
	return files
}

func (p *Pages) showGallery(v *visit) error {
	f := readGalleryFilter(v.r.URL.Query())
	choice, err := f.choice(v.app())
	if err != nil {
		return err
	}
	ctx, cancel := v.within()
	defer cancel()
	before, _ := strconv.ParseInt(v.r.FormValue("before"), 10, 64)
	page, err := db.ListOutputs(ctx, p.Pool, choice, lookback.Search{Before: before, Limit: galleryTasks, Within: lookBack})
	if err != nil {
		return err
	}
	shown := galleryPage{shell: v.shell("gallery"), Filter: f, Kinds: fileKinds, States: fileStates, Files: filesOf(page.Items), Keeps: p.Archive != nil}
	shown.Next, shown.Newest = pagesAround("/gallery", f.Values(), before, page.Next)
	if page.Cut {
		shown.SearchedTo = &page.Since
	}
	shown.Empty = len(page.Items) == 0 && len(f.Values()) == 0 && before == 0
	shown.Live = liveAt("gallery", url.Values{"ids": {tasksOf(page.Items)}})
	return v.render(http.StatusOK, "gallery", shown)
}

// tasksOf are the ids of the tasks of files, as a live view is asked for them.
func tasksOf(outputs []db.ListedOutput) string {
	var ids []string
	for _, o := range outputs {
		ids = append(ids, strconv.FormatInt(o.Task, 10))
	}
	return strings.Join(slices.Compact(ids), ",")
}

// liveGallery renders what has become of the files of tasks.
func (p *Pages) liveGallery(ctx context.Context, v *visit, changed []int64) (map[string]string, time.Duration, error) {
	tasks, err := v.met(ctx, among(v.shownIDs(), changed))
	if err != nil || len(tasks) == 0 {
		return nil, 0, err
	}
	outputs, err := db.OutputsOfTasks(ctx, p.Pool, tasks)
	if err != nil {
		return nil, 0, err
	}
	parts := map[string]string{}
	for _, o := range outputs {
		f := file{db.ListedOutput{Output: o}}
		for _, name := range []string{"still", "kept"} {
			if parts[f.ID()+"-"+name], err = part(v.lang, "gallery", "part-"+name, f); err != nil {
				return nil, 0, err
			}
		}
	}
	return parts, 0, nil
}

// met returns those of the tasks that the person meets.
func (v *visit) met(ctx context.Context, ids []int64) ([]int64, error) {
	if v.app() == "" || len(ids) == 0 {
		return ids, nil
	}
	tasks, err := db.TasksOf(ctx, v.Pool, ids)
	ids = nil
	for _, task := range tasks {
		if task.App == v.app() {
			ids = append(ids, task.ID)
		}
	}
	return ids, err
}

// filePage is a file, large.
type filePage struct {
	shell
	file
	Address string // of its content: ours where it is kept, else the provider's
}

func (p *Pages) showFile(v *visit) error {
	task, err := strconv.ParseInt(v.r.PathValue("task"), 10, 64)
	position, notNumber := strconv.ParseInt(v.r.PathValue("position"), 10, 32)
	if err != nil || notNumber != nil {
		return db.ErrNotFound
	}
	ctx, cancel := v.within()
	defer cancel()
	o, err := db.GetOutput(ctx, p.Pool, task, v.r.PathValue("kind"), int(position))
	if err != nil {
		return err
	}
	if v.app() != "" && o.App != v.app() {
		return db.ErrNotFound
	}
	shown := filePage{shell: v.shell("gallery"), file: file{o}, Address: o.URL}
	if shown.Kept() {
		shown.Address = v.origin() + contentPath(o.Output)
	}
	return v.render(http.StatusOK, "file", shown)
}

// origin is where the browser reaches the pages.
func (v *visit) origin() string {
	if isSecure(v.r) {
		return "https://" + v.r.Host
	}
	return "http://" + v.r.Host
}
