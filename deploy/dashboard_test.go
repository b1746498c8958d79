package deploy_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// dashboard is the part of a Grafana dashboard that the tests read.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ H, W, X, Y int }
		Datasource               struct{ Type, UID string }
		Targets                  []struct{ RefID, Expr, LegendFormat string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "grafana/klingwatch.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// concrete replaces the variables of Grafana.
var concrete = strings.NewReplacer("$__rate_interval", "5m", "$job", "klingwatch")

func TestTheDashboardIsCompleteAndUsesMetricsThatExist(t *testing.T) {
	t.Parallel()
	metrics, d := readMetrics(t), readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Templating.List) != 2 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("an import needs uid, title, schemaVersion and the data source as a variable: %+v", d.Templating)
	}
	ids, taken, panels := map[int]bool{}, map[[2]int]string{}, 0
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has the id %d too", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[cell]; other != "" || cell[0] >= 24 {
					t.Fatalf("%s overlaps %q or the right edge", p.Title, other)
				}
				taken[cell] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		panels++
		if p.Datasource.UID != "${datasource}" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%s: needs the variable data source, a description and a query", p.Title)
		}
		for _, target := range p.Targets {
			if !strings.Contains(target.Expr, `job="$job"`) {
				t.Errorf("%s: %s does not choose the job", p.Title, target.Expr)
			}
			for _, problem := range queryProblems(metrics, concrete.Replace(target.Expr)) {
				t.Errorf("%s: %s: %s", p.Title, target.Expr, problem)
			}
			for _, name := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !strings.Contains(target.Expr, name[1]) && name[1] != "instance" {
					t.Errorf("%s: %s does not keep the label %s of its legend", p.Title, target.Expr, name[1])
				}
			}
		}
	}
	for name := range metrics {
		if strings.HasPrefix(name, "klingwatch_") && !strings.Contains(read(t, "grafana/klingwatch.json"), name) {
			t.Errorf("%s is on no panel", name)
		}
	}
	if panels < 20 {
		t.Errorf("only %d panels", panels)
	}
}

func TestEveryQueryOfTheDashboardShowsSomethingOfAHealthyDeployment(t *testing.T) {
	t.Parallel()
	h := healthy(t)
	h["process_cpu_seconds_total"] = growing
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			if result := ask(t, h, concrete.Replace(target.Expr)); len(result) == 0 {
				t.Errorf("%s: %s shows nothing", panel.Title, target.Expr)
			}
		}
	}
}
