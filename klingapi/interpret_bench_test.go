package klingapi

import (
	"net/http"
	"os"
	"testing"
)

// BenchmarkInterpret is the decoding of an answer alone.
func BenchmarkInterpret(b *testing.B) {
	ref := Ref{Action: "videos", Action2: "text2video", TaskID: "867283741759111202"}
	for name, file := range map[string]string{"running": "official-processing-null-result.json", "ended": "official-video.json"} {
		body, err := os.ReadFile("testdata/" + file)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := interpret(ref, &http.Response{StatusCode: 200, Header: http.Header{}}, body, "relay.example"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
