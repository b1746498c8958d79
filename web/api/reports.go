package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/reports"
)

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
	report, err := reports.Read(ctx, a.Pool, in.Name, reports.Choice{Since: in.Since, Until: in.Until, Limit: reports.MostRows})
	if err != nil {
		return nil, fmt.Errorf("reading report_%s: %w", in.Name, err)
	}
	media, body, err := "application/json", []byte(nil), error(nil)
	if in.Format == "csv" {
		media, body = "text/csv; charset=utf-8", report.CSV()
	} else {
		body, err = json.Marshal(Page[json.RawMessage]{Data: orNone(report.Rows)})
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", media)
		_, _ = ctx.BodyWriter().Write(body)
	}}, err
}
