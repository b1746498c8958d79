package klingsim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

const t2v = "videos/text2video/"

// cases shows what each word does.
var cases = map[string]func(*testing.T, *bench){
	"ok": func(t *testing.T, b *bench) { b.end(t2v + "ok-1").succeeds(t) },
	"fail": func(t *testing.T, b *bench) {
		p := b.end(t2v + "fail-1")
		p.has(t, "code", json.Number("0"))
		p.has(t, "message", "SUCCEED")
		p.has(t, "data.task_status", "failed")
		if reason, _ := p.at("data.task_status_msg").(string); reason == "" {
			t.Errorf("no reason in %s", p.body)
		}
	},
	"canceled": func(t *testing.T, b *bench) {
		b.end(t2v+"canceled-1").has(t, "data.task_status", "canceled")
	},
	"never": func(t *testing.T, b *bench) {
		b.ask(t2v+"never-1").has(t, "data.task_status", "submitted")
		b.clock.Advance(1000 * time.Hour)
		b.ask(t2v+"never-1").has(t, "data.task_status", "processing")
	},
	"nourl": func(t *testing.T, b *bench) {
		for range 2 {
			p := b.end(t2v + "quick-nourl-1")
			p.has(t, "data.task_status", "succeed")
		}
		b.ask(t2v + "quick-nourl-1").succeeds(t)
		for range 10 {
			p := b.ask(t2v + "quick-nourl-always-1")
			p.has(t, "data.task_status", "succeed")
			if url := p.at("data.task_result.videos.0.url"); url != nil && url != "" {
				t.Errorf("URL %v", url)
			}
		}
	},

	"nocall":     called("nocall-1", ""),
	"calltwice":  called("calltwice-1", "submitted submitted processing processing succeed succeed"),
	"calllate":   lag("calllate", 2*time.Second),
	"callearly":  lag("callearly", -500*time.Millisecond),
	"callforged": called("callforged-1", "(succeed) submitted (succeed) processing (succeed) succeed"),

	"unknown": func(t *testing.T, b *bench) {
		for range 5 {
			p := b.end(t2v + "unknown-1")
			p.code(t, http.StatusBadRequest, "1201")
			p.has(t, "message", "Task not found by id/external id: unknown-1")
		}
		p := b.ask(t2v + "unknown-newapi-1")
		p.has(t, "code", "task_not_exist")
	},
	"unknown1203": func(t *testing.T, b *bench) {
		b.end(t2v+"unknown1203-1").code(t, http.StatusNotFound, "1203")
	},
	"late": func(t *testing.T, b *bench) {
		b.ask(t2v+"late-quick-1").code(t, http.StatusBadRequest, "1201")
		b.ask(t2v+"late-quick-1").code(t, http.StatusBadRequest, "1201")
		b.ask(t2v + "late-quick-1").succeeds(t)
	},
	"flicker": func(t *testing.T, b *bench) {
		for range 2 {
			b.ask(t2v+"flicker-quick-1").code(t, http.StatusBadRequest, "1201")
			b.ask(t2v+"flicker-quick-1").code(t, http.StatusBadRequest, "1201")
			b.ask(t2v + "flicker-quick-1").succeeds(t)
		}
	},

	"quick": func(t *testing.T, b *bench) { b.ask(t2v + "quick-1").succeeds(t) },
	"slow": func(t *testing.T, b *bench) {
		b.ask(t2v + "slow-1")
		b.clock.Advance(2*lifetime + time.Second)
		b.ask(t2v+"slow-1").has(t, "data.task_status", "processing")
		b.clock.Advance(ages)
		b.ask(t2v + "slow-1").succeeds(t)
	},

	"throttle": func(t *testing.T, b *bench) {
		faulty(t, b, "throttle", func(p reply, _ int) {
			p.code(t, http.StatusTooManyRequests, "1302")
			header(t, p, "Retry-After", "1")
		})
	},
	"throttledate": func(t *testing.T, b *bench) {
		faulty(t, b, "throttledate", func(p reply, _ int) {
			p.code(t, http.StatusTooManyRequests, "1302")
			header(t, p, "Retry-After", b.clock.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))
		})
	},
	"throttleodd": func(t *testing.T, b *bench) {
		faulty(t, b, "throttleodd", func(p reply, i int) {
			p.code(t, http.StatusTooManyRequests, "1303")
			header(t, p, "Retry-After", []string{"-5", "99999999999", "soon"}[i%3])
		})
	},
	"error500":     code("error500", http.StatusInternalServerError, "5000"),
	"denied":       code("denied", http.StatusForbidden, "1103"),
	"arrears":      code("arrears", http.StatusTooManyRequests, "1101"),
	"badgateway":   html("badgateway", http.StatusBadGateway, "<center>nginx</center>"),
	"garbage":      html("garbage", http.StatusOK, "Just a moment"),
	"htmlnotfound": html("htmlnotfound", http.StatusNotFound, "404 Not Found"),
	"blank": func(t *testing.T, b *bench) {
		faulty(t, b, "blank", func(p reply, _ int) {
			if p.status != http.StatusOK || p.body != "" {
				t.Errorf("HTTP %d %q", p.status, p.body)
			}
		})
	},
	"truncated": func(t *testing.T, b *bench) {
		faulty(t, b, "truncated", func(p reply, _ int) {
			if json.Valid([]byte(p.body)) || !strings.HasPrefix(p.body, `{"code":0,`) {
				t.Errorf("body %q", p.body)
			}
			header(t, p, "Content-Length", strconv.Itoa(len(p.body)))
		})
	},
	"trailing": func(t *testing.T, b *bench) {
		faulty(t, b, "trailing", func(p reply, _ int) {
			p.succeeds(t) // the JSON in front is complete
			if json.Valid([]byte(p.body)) {
				t.Errorf("body %q", p.body)
			}
		})
	},
	"cut": func(t *testing.T, b *bench) {
		for i := range 3 {
			res, err := get(t, b, t2v+"cut-quick-1")
			if i == 1 { // in the middle
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("query %d: %v", i+1, err)
			}
		}
		b.ask(t2v + "cut-quick-1").succeeds(t)
	},
	"hang": func(t *testing.T, _ *bench) {
		synctest.Test(t, func(t *testing.T) {
			b, start := newBench(), time.Now()
			if p := b.ask(t2v + "hang-quick-1"); p.status != http.StatusGatewayTimeout {
				t.Errorf("HTTP %d", p.status)
			}
			if took := time.Since(start); took != 30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	},
	"huge": func(t *testing.T, b *bench) {
		res, err := get(t, b, t2v+"huge-quick-1")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n>>20 != 64 {
			t.Errorf("%d bytes, %v", n, err)
		}
	},
	"redirect": func(t *testing.T, b *bench) {
		faulty(t, b, "redirect", func(p reply, _ int) {
			if p.status != http.StatusFound || !strings.HasPrefix(p.header.Get("Location"), "/moved/") {
				t.Errorf("HTTP %d to %q", p.status, p.header.Get("Location"))
			}
		})
	},
	"mislabelled": func(t *testing.T, b *bench) {
		faulty(t, b, "mislabelled", func(p reply, _ int) {
			header(t, p, "Content-Type", "text/plain")
			p.has(t, "data.task_status", "succeed")
			if p.status != http.StatusInternalServerError {
				t.Errorf("HTTP %d", p.status)
			}
		})
	},
	"weird": func(t *testing.T, b *bench) {
		faulty(t, b, "weird", func(p reply, _ int) { p.has(t, "data.task_status", "reviewing") })
		b.ask(t2v+"weird-newapi-quick-1").has(t, "data.status", "UNKNOWN")
	},
	"gateway":      gateway("gateway", http.StatusServiceUnavailable, "model_not_found"),
	"gatewaykey":   gateway("gatewaykey", http.StatusUnauthorized, ""),
	"gatewayquota": gateway("gatewayquota", http.StatusForbidden, "insufficient_user_quota"),

	"always": func(t *testing.T, b *bench) {
		for range 20 {
			b.ask(t2v+"error500-always-quick-1").code(t, http.StatusInternalServerError, "5000")
		}
	},
	"slowreply": func(t *testing.T, _ *bench) {
		synctest.Test(t, func(t *testing.T) {
			b, start := newBench(), time.Now()
			b.ask(t2v + "slowreply-quick-1").succeeds(t)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	},

	"newapi": func(t *testing.T, b *bench) {
		p := b.end(t2v + "newapi-1")
		p.has(t, "code", "success")
		p.has(t, "data.task_id", "newapi-1")
		p.has(t, "data.status", "SUCCESS")
		p.has(t, "data.submit_time", json.Number("1774805076"))
		p.has(t, "data.data.data.task_status", "succeed")
		p.has(t, "data.data.data.created_at", json.Number("1774805076166"))
		p.has(t, "data.data.data.task_result.videos.0.url", p.at("data.result_url"))
		if p.header.Get("X-Oneapi-Request-Id") == "" {
			t.Error("no request id")
		}
		p = b.end(t2v + "fail-newapi-1")
		p.has(t, "data.status", "FAILURE")
		p.has(t, "data.fail_reason", p.at("data.data.data.task_status_msg"))
	},
	"newapi2": func(t *testing.T, b *bench) {
		p := b.end(t2v + "newapi2-1")
		p.has(t, "data.status", "SUCCESS")
		p.has(t, "data.data.data.status", "SUCCESS")
		p.has(t, "data.data.data.data.data.task_status", "succeed")
	},
	"newapiold": func(t *testing.T, b *bench) {
		p := b.end(t2v + "newapiold-1")
		p.has(t, "data.result_url", nil)
		p.has(t, "data.fail_reason", p.at("data.data.data.task_result.videos.0.url"))
	},
	"disagree": func(t *testing.T, b *bench) {
		p := b.end(t2v + "disagree-fail-1")
		p.has(t, "data.status", "FAILURE")
		p.has(t, "data.data.data.task_status", "processing")
	},
	"flat": func(t *testing.T, b *bench) {
		p := b.end(t2v + "flat-1")
		p.has(t, "data.task_id", "flat-1")
		if !slices.Contains([]any{"succeeded", "success", "completed"}, p.at("data.status")) || p.at("data.url") == "" {
			t.Errorf("body %s", p.body)
		}
		if p := b.end(t2v + "fail-flat-1"); p.at("data.error.message") == nil {
			t.Errorf("body %s", p.body)
		}
	},
	"flatlist": func(t *testing.T, b *bench) {
		p := b.end(t2v + "flatlist-1")
		p.has(t, "id", "flatlist-1")
		p.has(t, "status", "completed")
		if p.at("data.0.url") == nil {
			t.Errorf("body %s", p.body)
		}
	},

	"succeeded": func(t *testing.T, b *bench) {
		b.end(t2v+"succeeded-1").has(t, "data.task_status", "succeeded")
	},
	"numericid": func(t *testing.T, b *bench) {
		id, ok := b.ask(t2v + "numericid-1").at("data.task_id").(json.Number)
		if n, err := id.Int64(); !ok || err != nil || n <= 1<<53 {
			t.Errorf("task_id %v", id)
		}
	},
	"seconds": func(t *testing.T, b *bench) {
		b.ask(t2v+"seconds-1").has(t, "data.created_at", json.Number("1774805076"))
	},
	"stringcode": func(t *testing.T, b *bench) { b.ask(t2v+"stringcode-1").has(t, "code", "0") },
	"nocode": func(t *testing.T, b *bench) {
		p := b.end(t2v + "nocode-1")
		p.has(t, "code", nil)
		p.has(t, "data.task_status", "succeed")
	},
	"arraydata": func(t *testing.T, b *bench) {
		b.end(t2v+"arraydata-1").has(t, "data.0.task_status", "succeed")
	},
	"swapped": func(t *testing.T, b *bench) {
		p := b.end(t2v + "swapped-1")
		p.has(t, "data.created_at", "1774805076166")
		p.has(t, "data.final_unit_deduction", json.Number("2.5"))
		p.has(t, "data.task_result.videos.0.duration", json.Number("2.0"))
	},
	"extra": func(t *testing.T, b *bench) {
		p := b.end(t2v + "extra-1")
		p.has(t, "data.relay_note.channel", json.Number("7"))
		p.has(t, "relay_note.channel", json.Number("7"))
	},
}

// faulty fails unless the first three answers are faults and the next is a success, and with `always` all are faults.
func faulty(t *testing.T, b *bench, word string, broken func(p reply, i int)) {
	t.Helper()
	for i := range 3 {
		broken(b.ask(t2v+word+"-quick-1"), i)
	}
	b.ask(t2v + word + "-quick-1").succeeds(t)
	for i := range 5 {
		broken(b.ask(t2v+word+"-always-quick-1"), i)
	}
}

func code(word string, status int, code string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		faulty(t, b, word, func(p reply, _ int) { p.code(t, status, code) })
	}
}

func html(word string, status int, text string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		faulty(t, b, word, func(p reply, _ int) {
			header(t, p, "Content-Type", "text/html")
			if p.status != status || !strings.Contains(p.body, text) {
				t.Errorf("HTTP %d %s", p.status, p.body)
			}
		})
	}
}

func gateway(word string, status int, code string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		faulty(t, b, word, func(p reply, _ int) {
			if p.status != status {
				t.Errorf("HTTP %d", p.status)
			}
			p.has(t, "error.type", "new_api_error")
			p.has(t, "error.code", code)
			if message, _ := p.at("error.message").(string); !strings.Contains(message, "(request id: "+p.header.Get("X-Oneapi-Request-Id")+")") {
				t.Errorf("message %q", message)
			}
		})
	}
}

func header(t *testing.T, p reply, name, want string) {
	t.Helper()
	if got := p.header.Get(name); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// get sends a request over a new connection.
func get(t *testing.T, b *bench, path string) (*http.Response, error) {
	t.Helper()
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/kling/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	return server.Client().Do(req)
}

func TestEveryWordDoesWhatItSays(t *testing.T) {
	t.Parallel()
	for _, word := range klingsim.Vocabulary() {
		t.Run(word.Text, func(t *testing.T) {
			t.Parallel()
			if word.Group == "" || word.Meaning == "" {
				t.Errorf("not documented: %+v", word)
			}
			show := cases[word.Text]
			var status, number int // the rows of the error table describe themselves
			if n, _ := fmt.Sscanf(word.Text+" "+word.Meaning, "e%d HTTP %d,", &number, &status); n == 2 {
				show = code(word.Text, status, strconv.Itoa(number))
			}
			if show == nil && len(asked[word.Text]) == 0 {
				t.Fatal("no case for this word")
			}
			if show != nil {
				show(t, newBench())
			}
		})
	}
}

func TestWordsEndAtTheFirstSegmentThatIsNone(t *testing.T) {
	t.Parallel()
	b := newBench()
	for id, want := range map[string]string{
		"fail":               "failed",
		"fail-ok":            "succeed", // the last word of a group counts
		"ok-fail":            "failed",
		"job-fail":           "succeed",
		"fail-job-ok":        "failed",
		"Fail-1":             "succeed",
		"failing-1":          "succeed",
		"867283741759111202": "succeed",
		"-fail":              "succeed",
		"fail-":              "failed",
	} {
		b.end(t2v+id).has(t, "data.task_status", want)
	}
}
