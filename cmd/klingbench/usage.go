package main

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// usage is what was used up to a moment, or between two.
type usage struct {
	at       time.Time
	elapsed  time.Duration // between two
	requests float64
	client   time.Duration // CPU of the process that sends them
	postgres time.Duration // CPU of all processes of the server
	server   time.Duration // CPU of the process that answers them: the stub of the relay, or the receivers
	own      time.Duration // CPU of the measuring process
	machine  time.Duration // CPU of the whole machine, others' work included
	wal      float64       // bytes
}

// usage reads all counters; client is the process that asks the relay.
func (b *bench) usage(ctx context.Context, client *child) (usage, error) {
	counts, err := b.relay.counts(ctx)
	if err != nil {
		return usage{}, err
	}
	return b.usageOf(ctx, client, b.relay.child, counts.Polls)
}

// usageOf reads the other counters; server has answered so many requests.
func (b *bench) usageOf(ctx context.Context, client, server *child, requests int64) (u usage, err error) {
	wal, err := walPosition(ctx, b.admin)
	if err != nil {
		return u, err
	}
	u = usage{at: time.Now(), requests: float64(requests), wal: float64(wal)}
	if u.client, err = cpuOf(client.pid()); err != nil {
		return u, err
	}
	if u.server, err = cpuOf(server.pid()); err != nil {
		return u, err
	}
	if u.postgres, err = cpuOfFamily(b.postmaster); err != nil {
		return u, err
	}
	if u.own, err = cpuOf(os.Getpid()); err != nil {
		return u, err
	}
	u.machine, err = cpuOfMachine()
	return u, err
}

// since is what was used after another moment.
func (u usage) since(v usage) usage {
	return usage{
		at: u.at, elapsed: u.at.Sub(v.at), requests: u.requests - v.requests, client: u.client - v.client,
		postgres: u.postgres - v.postgres, server: u.server - v.server,
		own: u.own - v.own, machine: u.machine - v.machine, wal: u.wal - v.wal,
	}
}

// rate is in requests per second.
func (u usage) rate() float64 { return figures.Ratio(u.requests, u.elapsed.Seconds()) }

// others is the part of the machine's CPU that other work took meanwhile, in
// percent: figures are of little worth when it is large.
func (u usage) others() float64 {
	theirs := u.machine - u.client - u.postgres - u.server - u.own
	return max(0, 100*figures.Ratio(theirs.Seconds(), u.elapsed.Seconds()*float64(runtime.NumCPU())))
}

// cpuPerRequest of a part, in microseconds.
func (u usage) cpuPerRequest(part time.Duration) float64 {
	return figures.Ratio(figures.Microseconds(part), u.requests)
}

// walPerRequest is in bytes.
func (u usage) walPerRequest() float64 { return figures.Ratio(u.wal, u.requests) }
