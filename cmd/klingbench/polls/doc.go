// Package polls measures how tasks get into klingwatch and are polled:
//
//	poll     throughput and cost, compared with the HTTP client alone and naive River,
//	         over plain HTTP/1.1, over TLS and HTTP/2, and several tasks in a request
//	late     how exactly polls keep their time
//	insert   bulk and single inserts, from the insert to the first poll and to the webhook
//	crash    taking over after kill -9
package polls
