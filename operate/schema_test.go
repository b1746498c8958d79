package operate_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/webhook/webhooktest"
)

func TestATestWebhookFitsTheSchema(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	if err := ledger.PrepareKeys(t.Context(), pool, nil); err != nil {
		t.Fatal(err)
	}
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
	defer receiver.Close()
	client := webhook.NewClient(webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	defer client.Close()
	result, err := operate.Ping(t.Context(), pool, nil, client, receiver.URL)
	if err != nil || !result.Delivered {
		t.Fatalf("%+v, %v", result, err)
	}
	if err := webhooktest.Check(webhooktest.Test, body); err != nil {
		t.Error(err)
	}
}
