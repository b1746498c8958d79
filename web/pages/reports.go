package pages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/reports"
	"github.com/klingwatch/klingwatch/web/pages/show"
)

// reportRows is how many rows of a report the page shows; the CSV has more.
const reportRows = 200

// reportDays are the ranges that can be chosen, in days, and which is chosen by default.
// Of times to come a day is looked at, since there may be very many files.
func reportDays(view reports.View) (choices []int, usual int) {
	if view.Ahead {
		return []int{1, 7, 30}, 1
	}
	return []int{7, 30, 90}, 30
}

// hiddenColumns are for calculations, not for people.
var hiddenColumns = []string{"durations"}

// reportsPage is a report, or the list of all where Name is "".
type reportsPage struct {
	shell
	Name  string
	Views []reports.View
	readReport
	At     time.Time // when it was read
	SQL    string
	CSV    string   // its address
	Days   []int    // that can be chosen; none: the report has no times
	Chosen int      // of them
	Relays []string // that can be chosen; none: the report knows no relays
	Relay  string
}

// readReport is what a page shows of a report that was read.
type readReport struct {
	Charts  []chart
	Columns []reportColumn
	Rows    [][]reportCell
	Read    int  // rows that the charts are made of
	More    bool // there are more than that
	TooLong bool // the report could not be read in time
}

const (
	// A report is of days: it is read anew at most every reportFresh while somebody looks,
	// and one that is older than reportStale is not shown.
	reportFresh = 10 * time.Second
	reportStale = 5 * time.Minute
	// mostReports are remembered, by their choice and language.
	mostReports = 100
)

// report returns what was read of a view lately, for all who look at it.
func (v *visit) report(ctx context.Context, view reports.View, c reports.Choice, days int) (readReport, time.Time, error) {
	key := fmt.Sprintf("%s %s %d %q", v.lang, view.Name, days, c.Relay)
	return v.reports.Get(ctx, key, func(ctx context.Context) (readReport, error) {
		report, err := reports.Read(ctx, v.Pool, view.Name, c)
		switch {
		case errors.Is(err, reports.ErrTooLong):
			return readReport{TooLong: true}, nil
		case err != nil:
			return readReport{}, err
		}
		rows := decoded(report.Rows)
		read := readReport{Read: len(rows), More: report.More, Charts: drawReport(v.lang, view.Name, rows)}
		read.Columns, read.Rows = table(report.Columns, rows[:min(len(rows), reportRows)])
		return read, nil
	})
}

// reportColumn is a column of the table.
type reportColumn struct {
	Name    string
	Numbers bool
}

// reportCell is a value of the table.
type reportCell struct {
	Text    string
	Numbers bool
	Time    time.Time // zero: it is none
	Link    string    // ""; none
}

// longText is how many bytes a cell shows in one line.
const longText = 40

// Long tells whether the text needs several lines.
func (c reportCell) Long() bool { return len(c.Text) > longText }

// reportChoice reads what a form chooses.
func reportChoice(view reports.View, form url.Values, now time.Time) (c reports.Choice, days int) {
	days, _ = strconv.Atoi(form.Get("days"))
	if choices, usual := reportDays(view); !slices.Contains(choices, days) {
		days = usual
	}
	c.Limit = reports.MostRows
	switch today := now.UTC().Truncate(24 * time.Hour); {
	case view.Ahead:
		c.Since, c.Until = now, now.AddDate(0, 0, days)
	case view.Time != "":
		c.Since = today.AddDate(0, 0, 1-days)
	}
	if view.Relay != "" {
		c.Relay = form.Get("relay")
	}
	return c, days
}

func (p *Pages) listReports(v *visit) error {
	ctx, cancel := v.within()
	defer cancel()
	view := reports.Views[0]
	choice, days := reportChoice(view, nil, time.Now())
	page := reportsPage{shell: v.shell("reports"), Views: reports.Views}
	var err error
	if page.readReport, page.At, err = v.report(ctx, view, choice, days); err != nil {
		return err
	}
	return v.render(http.StatusOK, "reports", page)
}

func (p *Pages) showReport(v *visit) error {
	view, known := reports.Find(v.r.PathValue("name"))
	if !known {
		return db.ErrNotFound
	}
	ctx, cancel := v.within()
	defer cancel()
	query := v.r.URL.Query()
	choice, days := reportChoice(view, query, time.Now())
	page := reportsPage{shell: v.shell("reports"), Name: view.Name, SQL: view.SQL(choice), Relay: choice.Relay}
	page.CSV = reportCSV(view, days, choice.Relay)
	if view.Time != "" {
		page.Days, _ = reportDays(view)
		page.Chosen = days
	}
	if view.Relay != "" {
		relays, err := db.Relays(ctx, p.Pool)
		if err != nil {
			return err
		}
		for _, relay := range relays {
			page.Relays = append(page.Relays, relay.Name)
		}
	}
	var err error
	if page.readReport, page.At, err = v.report(ctx, view, choice, days); err != nil {
		return err
	}
	return v.render(http.StatusOK, "reports", page)
}

// reportCSV is the address of the same report for spreadsheets.
func reportCSV(view reports.View, days int, relay string) string {
	query := url.Values{}
	if view.Time != "" {
		query.Set("days", strconv.Itoa(days))
	}
	if relay != "" {
		query.Set("relay", relay)
	}
	return address("/reports/"+view.Name+"/csv", query)
}

func (p *Pages) downloadReport(v *visit) error {
	view, known := reports.Find(v.r.PathValue("name"))
	if !known {
		return db.ErrNotFound
	}
	ctx, cancel := v.within()
	defer cancel()
	choice, _ := reportChoice(view, v.r.URL.Query(), time.Now())
	report, err := reports.Read(ctx, p.Pool, view.Name, choice)
	if errors.Is(err, reports.ErrTooLong) {
		return &refusal{http.StatusServiceUnavailable, "error.unavailable"}
	}
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="klingwatch-%s.csv"`, view.Name))
	v.send(http.StatusOK, "text/csv; charset=utf-8", report.CSV())
	return nil
}

// Left is how many rows the table leaves out of those that were read.
func (p reportsPage) Left() int { return p.Read - len(p.Rows) }

// reportRow is a row of a report, by column.
type reportRow map[string]any

func decoded(rows []json.RawMessage) []reportRow {
	list := make([]reportRow, len(rows))
	for i, row := range rows {
		_ = json.Unmarshal(row, &list[i]) // made by the database
	}
	return list
}

func (r reportRow) text(column string) string {
	text, _ := r[column].(string)
	return text
}

func (r reportRow) number(column string) float64 {
	n, _ := r[column].(float64)
	return n
}

func (r reportRow) at(column string) time.Time {
	at, _ := time.Parse(time.RFC3339, r.text(column))
	return at.UTC()
}

// table is what people see of rows.
func table(names []string, rows []reportRow) (columns []reportColumn, cells [][]reportCell) {
	for _, name := range names {
		if slices.Contains(hiddenColumns, name) {
			continue
		}
		numbers := slices.ContainsFunc(rows, func(row reportRow) bool { _, is := row[name].(float64); return is })
		columns = append(columns, reportColumn{name, numbers})
	}
	for _, row := range rows {
		line := make([]reportCell, len(columns))
		for i, column := range columns {
			line[i] = cellOf(column, row)
		}
		cells = append(cells, line)
	}
	return columns, cells
}

// linked are the pages of what stands in a column.
var linked = map[string]string{"id": "/tasks/", "task": "/tasks/", "example": "/tasks/", "delivery": "/deliveries/", "endpoint": "/endpoints/"}

func cellOf(column reportColumn, row reportRow) reportCell {
	cell := reportCell{Numbers: column.Numbers}
	switch value := row[column.Name].(type) {
	case nil:
		cell.Text = show.None
	case float64:
		cell.Text = strconv.FormatFloat(math.Round(value*1000)/1000, 'f', -1, 64)
		if page, is := linked[column.Name]; is {
			cell.Link = page + cell.Text
		} else if value == float64(int64(value)) {
			cell.Text = show.Number(int64(value))
		} else {
			cell.Text = strconv.FormatFloat(value, 'f', 3, 64) // what is more is in the CSV
		}
	case string:
		cell.Text = value
		if at := row.at(column.Name); !at.IsZero() {
			cell.Time = at
		}
	default:
		cell.Text = fmt.Sprint(value)
	}
	return cell
}
