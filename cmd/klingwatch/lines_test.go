package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// answer is what a command line came to.
type answer struct {
	Line     string
	Code     int
	Out, Err string
}

// answerLines is klingwatch for lines that all have the same environment: it reads them from
// stdin and answers each, without a start of its own.
func answerLines() {
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var out, errOut strings.Builder
		code := run(strings.Fields(lines.Text()), strings.NewReader(""), &out, &errOut)
		_ = answers.Encode(answer{lines.Text(), code, out.String(), strings.TrimSuffix(errOut.String(), "\n")})
	}
}

// lineReader is a process that answers lines.
type lineReader struct {
	*exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	said strings.Builder // what is no answer
}

// readLines starts a process that answers lines until the test ends.
func readLines(t *testing.T, env []string) *lineReader {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &lineReader{Cmd: exec.Command(exe)}
	r.Args = []string{lineReaderName}
	r.Env = append(os.Environ(), env...)
	r.Stderr = &r.said
	if r.in, err = r.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = json.NewDecoder(out)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.in.Close()
		_ = r.Wait()
		if r.said.Len() > 0 {
			t.Errorf("beside its answers it said:\n%s", r.said.String())
		}
	})
	return r
}

// ask sends a line; answer waits for what it comes to.
func (r *lineReader) ask(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(r.in, line+"\n"); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

func (r *lineReader) answer(t *testing.T) (a answer) {
	t.Helper()
	late := time.AfterFunc(answerLimit, func() { _ = r.Process.Kill() })
	defer late.Stop()
	if err := r.out.Decode(&a); err != nil {
		t.Fatalf("no answer within %s: %v", answerLimit, err)
	}
	a.mustBeSafe(t)
	return a
}

// answerTo asks and waits.
func (r *lineReader) answerTo(t *testing.T, line string) answer {
	t.Helper()
	r.ask(t, line)
	return r.answer(t)
}

// mustBeSafe fails where what was said holds a secret or a stack trace.
func (a answer) mustBeSafe(t *testing.T) {
	t.Helper()
	for _, forbidden := range []string{"sk-secret-key", "pass-secret", "goroutine ", "panic: "} {
		if strings.Contains(a.Err+a.Out, forbidden) {
			t.Errorf("%s shows %q:\n%s\n%s", a.Line, forbidden, a.Err, a.Out)
		}
	}
}

// failsWith fails unless the line ends with a code and one line that contains a text and
// that klingwatch wrote.
func (a answer) failsWith(t *testing.T, code int, text string) {
	t.Helper()
	if a.Code != code || !strings.HasPrefix(a.Err, "klingwatch: ") || strings.Contains(a.Err, "\n") || !strings.Contains(a.Err, text) {
		t.Errorf("%s: exit code %d, want %d and one line with %q:\n%s", a.Line, a.Code, code, text, a.Err)
	}
}

// fails is failsWith(1), or for the doctor a finding on stdout.
func (a answer) fails(t *testing.T, text, finding string) {
	t.Helper()
	if a.Line != "doctor" {
		a.failsWith(t, exitError, text)
		return
	}
	if a.Code != exitError || a.Err != "" || !strings.Contains(a.Out, finding) {
		t.Errorf("doctor: exit code %d, want 1 and a finding with %q:\n%s\n%s", a.Code, finding, a.Out, a.Err)
	}
}
