package webhook_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/webhook"
)

// A webhook is sent to a receiver, which verifies its signature with a library of
// Standard Webhooks.
func ExampleClient_Send() {
	secret := webhook.NewSecret()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil || verifier.Verify(body, r.Header) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Println("received", string(body))
	}))
	defer receiver.Close()

	networks, err := outbound.ParseNetworks("127.0.0.0/8, ::1") // without them only public addresses are reached
	if err != nil {
		log.Fatal(err)
	}
	client := webhook.NewClient(webhook.Config{AllowNetworks: networks})
	defer client.Close()
	result := client.Send(context.Background(), webhook.Message{
		URL:     receiver.URL,
		ID:      webhook.NewEventID(),
		Body:    []byte(`{"type":"task.succeeded"}`),
		Secrets: []string{secret},
	})
	fmt.Println(result.Delivered(), result.StatusCode)
	// Output:
	// received {"type":"task.succeeded"}
	// true 200
}

// The signature of a body, by the shared key and the id and time of the attempt.
func ExampleSign() {
	signature, err := webhook.Sign([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		"msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	fmt.Println(signature, err)
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= <nil>
}
