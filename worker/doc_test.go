package worker

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The walk of a task and of a delivery is told by file names: each must exist.
// A name without a folder is in the folder that its line named last, or here.
func TestTheFilesOfTheStoryExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`[\w/]+\.(go|sql)|worker/(poll|deliver)\b`)
	named := 0
	for line := range strings.Lines(string(text)) {
		folder := "worker"
		for _, name := range path.FindAllString(line, -1) {
			switch {
			case !strings.Contains(name, "."):
				folder = name
				continue
			case strings.Contains(name, "/"):
				folder = filepath.Dir(name)
			default:
				name = filepath.Join(folder, name)
			}
			named++
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(line), err)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d files are named", named)
	}
}
