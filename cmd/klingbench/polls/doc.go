// Package polls measures how tasks get into klingwatch and are polled:
//
//	poll     throughput and cost, compared with the HTTP client alone and naive River
//	late     how exactly polls keep their time
//	insert   bulk and single inserts, from the insert to the first poll and to the webhook
//	crash    taking over after kill -9
package polls
