package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
)

// maxReportRows bounds a report.
const maxReportRows = 10_000

func (a *API) registerReports() {
	register(a, operation{
		id: "get-report", method: http.MethodGet, path: "/v1/reports/{name}", tag: "reports", scope: db.ScopeRead, allApps: true,
		summary:     "Get a report, as JSON or CSV",
		description: "The rows of the view klingwatch.report_NAME; docs/sql.md describes its columns. At most 10,000 rows, the newest days first; narrow it by since and until.",
		errors:      []int{http.StatusNotFound},
		responses: map[string]*huma.Response{"200": {
			Description: "The rows.",
			Headers:     map[string]*huma.Param{"Link": {Schema: &huma.Schema{Type: huma.TypeString}}},
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: &huma.Schema{
					Type: huma.TypeObject, Required: []string{"data", "next"},
					Properties: map[string]*huma.Schema{
						"data": {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
						"next": {Type: "null", Description: "A report has one part."},
					},
				}},
				"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, a.getReport)
}

type reportInput struct {
	Name   string    `path:"name" enum:"daily,failures,in_flight,outputs,webhooks,deliveries,throughput,relays" doc:"Which report."`
	Format string    `query:"format" enum:"json,csv" default:"json" doc:"The form of the answer."`
	Since  time.Time `query:"since" doc:"Of reports with a day or a time: from then on."`
	Until  time.Time `query:"until" doc:"Of reports with a day or a time: before."`
}

func (a *API) getReport(ctx context.Context, in *reportInput) (*huma.StreamResponse, error) {
	report, err := db.ReadReport(ctx, a.Pool, in.Name, in.Since, in.Until, maxReportRows)
	if err != nil {
		return nil, fmt.Errorf("reading report_%s: %w", in.Name, err)
	}
	media, body, err := "application/json", []byte(nil), error(nil)
	if in.Format == "csv" {
		media, body = "text/csv; charset=utf-8", asCSV(report)
	} else {
		body, err = json.Marshal(Page[json.RawMessage]{Data: orNone(report.Rows)})
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", media)
		_, _ = ctx.BodyWriter().Write(body)
	}}, err
}

// asCSV writes a report with a line of names; null is empty.
func asCSV(report db.Report) []byte {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	_ = w.Write(report.Columns)
	for _, row := range report.Rows {
		var values map[string]json.RawMessage
		_ = json.Unmarshal(row, &values) // made by the database
		record := make([]string, len(report.Columns))
		for i, column := range report.Columns {
			record[i] = cell(values[column])
		}
		_ = w.Write(record)
	}
	w.Flush()
	return text.Bytes()
}

// cell is a value as text. One that a spreadsheet would take for a formula is quoted.
func cell(value json.RawMessage) string {
	if bytes.Equal(value, []byte("null")) {
		return ""
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	if strings.HasPrefix(text, "=") || strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") || strings.HasPrefix(text, "@") {
		return "'" + text
	}
	return text
}
