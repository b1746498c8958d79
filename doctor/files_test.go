package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/archive"
)

func TestAStoreIsJudgedByItsRoomAndItsClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		health archive.Health
		state  State
		found  string
	}{
		"all is well":           {archive.Health{Free: 100 << 30}, OK, "100.0 GB are free"},
		"it does not tell":      {archive.Health{Free: -1}, OK, "takes files"},
		"some gigabytes":        {archive.Health{Free: 5 << 30}, Warn, "5.0 GB are free"},
		"nearly full":           {archive.Health{Free: 100 << 20}, Bad, "100 MB are free"},
		"its clock is far away": {archive.Health{Free: -1, ClockAway: -20 * time.Minute}, Warn, "20m"},
	} {
		if got := judgeArchive("disk /srv", c.health); got.State != c.state || !strings.Contains(got.Found, c.found) || !strings.HasPrefix(got.Found, "disk /srv ") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTheStoreIsTried(t *testing.T) {
	t.Parallel()
	store, err := archive.Open("file:"+t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg   Config
		state State
		films State
	}{
		"files are not kept":      {Config{}, OK, OK},
		"the setting is wrong":    {Config{StoreErr: errors.New("no bucket")}, Bad, OK},
		"on disk, without ffmpeg": {Config{Store: store}, OK, Warn},
		"on disk, with ffmpeg":    {Config{Store: store, FilmTools: "7.1"}, OK, OK},
	} {
		x := &examination{Config: c.cfg}
		if got, err := x.checkArchive(t.Context()); err != nil || got.State != c.state && got.State != Warn { // the disk of a test may be small
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if got, err := x.checkFilms(t.Context()); err != nil || got.State != c.films {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
