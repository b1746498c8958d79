package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
)

// CSV is the report with a line of names; null is empty.
func (r Report) CSV() []byte {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	_ = w.Write(r.Columns)
	for _, row := range r.Rows {
		var values map[string]json.RawMessage
		_ = json.Unmarshal(row, &values) // made by the database
		record := make([]string, len(r.Columns))
		for i, column := range r.Columns {
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
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
